"""Errors as an interface: classes, facts, messages, pickling."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest
from support.factories import Opener

import sessiondir
from sessiondir import errors

CLASSES = sorted(
    (cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, errors.StoreError)),
    key=lambda cls: cls.__name__,
)
FACTS: dict[str, Any] = {
    "session": "agent:main", "holder_pid": 5, "holder": "process 5", "held_s": 1.5, "waited_s": 0.25,
    "expected": 3,
    "actual": 4, "since": 1, "oldest": 2, "path": "/x/y.d", "reason": "why", "where": "a.b[0]", "size": 10,
    "limit": 9, "found": 2, "supported": 1, "errno": 28,
}  # fmt: skip
BUILT_IN = {
    "LockTimeout": TimeoutError, "ReentrantUpdate": RuntimeError, "StoreClosed": ValueError,
    "ChangesUnavailable": LookupError, "StoreNotFound": FileNotFoundError, "SessionNotFound": KeyError,
    "InvalidKey": ValueError, "InvalidEntry": ValueError, "EntryTooLarge": ValueError, "InvalidPath": ValueError,
    "InvalidOption": ValueError, "UnsafeDirectory": PermissionError, "DiskFull": OSError, "ReadOnlyStore": OSError,
    "DurabilityUnknown": OSError, "UnreadableFile": OSError,
}  # fmt: skip


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_error_survives_pickling(cls: type[errors.StoreError], protocol: int) -> None:
    """An error sent to another process keeps its class, message and facts."""
    error = cls("the message; do this next", **FACTS)
    for again in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is cls
        assert str(again) == again.message == "the message; do this next"
        assert again.facts == FACTS
        for name, value in FACTS.items():
            assert getattr(again, name) == value


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_is_public_documented_and_has_an_exit_code(cls: type[errors.StoreError]) -> None:
    """Every error class can be imported from the package, says what it means, and maps to an exit code."""
    assert getattr(sessiondir, cls.__name__) is cls
    assert cls.__name__ in sessiondir.__all__
    assert inspect.getdoc(cls)
    assert cls.exit_code != 0
    assert isinstance(cls.retryable, bool)


@pytest.mark.parametrize("name", BUILT_IN)
def test_errors_are_also_what_python_calls_them(name: str) -> None:
    """Code that knows only Python's own exceptions catches the right ones."""
    assert issubclass(getattr(errors, name), BUILT_IN[name])


def test_the_number_of_the_system_is_kept() -> None:
    """Errors of the operating system carry its number, as OSError does."""
    error = errors.storage_error(OSError(28, "No space left on device"), "/x", "write")
    assert type(error) is errors.DiskFull
    assert (error.errno, error.path) == (28, "/x")
    assert pickle.loads(pickle.dumps(error)).errno == 28


def raised(open_store: Opener) -> list[errors.StoreError]:
    """Errors as the store really raises them."""
    store = open_store()
    store.put("a", {"n": 1})
    closed = open_store()
    closed.close()
    calls = (
        lambda: store["missing"],
        lambda: store.put(" ", {}),
        lambda: store.put("a", {"x": {1}}),
        lambda: store.put("a", {"x": "y" * (9 << 20)}),
        lambda: store.put("a", {}, if_version=9),
        lambda: store.update("a", lambda entry: store.put("a", {})),
        lambda: store.changes(-5),
        lambda: store.list(order="no"),
        lambda: closed.get("a"),
        lambda: open_store(read_only=True).put("a", {}),
        lambda: open_store(store.path.replace("sessions.d", "none.d"), create=False),
        lambda: open_store("/nowhere"),
    )
    found = []
    for call in calls:
        with pytest.raises(errors.StoreError) as caught:
            call()
        found.append(caught.value)
    return found


def test_raised_errors_keep_their_facts_and_say_what_to_do(open_store: Opener) -> None:
    """What the store raises pickles with all facts, each fact that its class names is there."""
    found = raised(open_store)
    assert len({type(error) for error in found}) >= 11
    for error in found:
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.facts) == (type(error), str(error), error.facts)
        named = {name for cls in type(error).__mro__ for name in vars(cls).get("__annotations__", {})}
        for name in named - {"exit_code", "retryable"}:
            assert hasattr(error, name), f"{type(error).__name__} lacks {name}"
