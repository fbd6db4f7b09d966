"""Stores of a few sessions have a listing file here."""

from __future__ import annotations

import pytest

from sessiondir import listkeeping


@pytest.fixture(autouse=True)
def few_sessions_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing file for two sessions."""
    monkeypatch.setattr(listkeeping, "FEWEST_SESSIONS", 2)
