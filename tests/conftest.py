"""Fixtures for all tests: opening stores, and judging what a test leaves behind.

After every test nothing of the package may be open, no descriptor may have leaked, every
store directory below the test's ``tmp_path`` must pass ``check``, and its modes must be
0700 and 0600. Markers say what a test leaves on purpose:

    expect_findings(*patterns)   findings (as ``level name: reason``) that may appear
    any_modes(reason)            the test makes files with modes of its own
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import soundness
from support.factories import FACTORIES, DirectoryFactory, Opener
from support.seed import SEED

from sessiondir import registry

FAILED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "expect_findings(*patterns): findings of check that the test leaves")
    config.addinivalue_line("markers", "any_modes(reason): the test makes files with modes of its own")


def pytest_report_header() -> str:
    return f"SESSIONDIR_SEED={SEED}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    if report.failed:
        item.stash[FAILED] = True
        report.sections.append(("seed", f"SESSIONDIR_SEED={SEED}"))


@pytest.fixture
def store_path(tmp_path: Path) -> str:
    """The path of the test's store; nothing is there yet."""
    return str(tmp_path / "sessions.d")


@pytest.fixture(params=FACTORIES, ids=lambda factory: factory.name)
def factory(request: pytest.FixtureRequest) -> Any:
    """What opens stores in the public-API tests."""
    return request.param


@pytest.fixture
def open_store(factory: Any, store_path: str) -> Iterator[Opener]:
    """Opens stores of every backend: ``open_store(**options)``, ``open_store.elsewhere(**options)``."""
    opener = Opener(factory, store_path)
    yield opener
    opener.close_all()


@pytest.fixture
def open_directory(store_path: str) -> Iterator[Opener]:
    """As ``open_store``, for promises about the directory store alone."""
    opener = Opener(DirectoryFactory(), store_path)
    yield opener
    opener.close_all()


@pytest.fixture
def forgiven_levels() -> frozenset[str]:
    """Levels of findings that need no declaration: what is normal after a crash."""
    return frozenset({"note"})


@pytest.fixture
def expect_findings(request: pytest.FixtureRequest) -> list[str]:
    """Patterns of findings that may appear; a test may add to them while it runs."""
    return [text for mark in request.node.iter_markers("expect_findings") for text in mark.args]


@pytest.fixture(autouse=True)
def leaves_things_in_order(
    request: pytest.FixtureRequest, expect_findings: list[str], forgiven_levels: frozenset[str]
) -> Iterator[None]:
    """Fails a test that leaves a damaged store, an open handle, a descriptor or a loose mode."""
    # Asked for here, so that the directory is still there when this fixture ends.
    root: Path | None = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    before = soundness.open_descriptors()
    yield
    left = []
    for one in list(registry._cores.values()):
        left.append(f"open handle on {one.directory.path}")
        one.close()
    registry._cores.clear()
    if root is not None:
        left += soundness.unexpected(root, expect_findings, forgiven_levels)
        if request.node.get_closest_marker("any_modes") is None:
            left += soundness.loose_modes(root)
    if not request.node.stash.get(FAILED, False):  # what failed keeps its frames, and what they have open
        left += [f"leaked descriptor {text}" for text in soundness.leaked(before)]
    if left:
        pytest.fail("left behind:\n  " + "\n  ".join(left), pytrace=False)
