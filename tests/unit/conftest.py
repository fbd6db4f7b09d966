"""Nothing here crashes by accident: even a note of ``check`` has to be declared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.places import Place


@pytest.fixture
def forgiven_levels() -> frozenset[str]:
    """No level of findings goes undeclared."""
    return frozenset()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """An empty store directory, not named as one, so that its parts can be looked at alone."""
    place = Place(tmp_path / "parts")
    yield place
    place.close()
