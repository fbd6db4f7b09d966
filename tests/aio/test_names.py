"""The asynchronous store has the names and the arguments of the synchronous one."""

from __future__ import annotations

import inspect

import pytest

from sessiondir import AsyncLease, AsyncSessionStore, SessionStore
from sessiondir.leasing import Lease

STORE = sorted(name for name in dir(SessionStore) if not name.startswith("_"))
PLAIN = {"open", "transaction", "edit", "lease", "watch", "taking"}
"""Called without ``await``: what they return is awaited, entered or iterated over."""


@pytest.mark.parametrize("name", STORE)
def test_every_method_is_there_with_its_arguments(name: str) -> None:
    """Every public method exists with all its arguments, in order and with their defaults, as a coroutine."""
    theirs, ours = getattr(SessionStore, name), getattr(AsyncSessionStore, name)
    if name not in PLAIN:
        assert inspect.iscoroutinefunction(ours)
    if isinstance(theirs, property):
        theirs = theirs.fget
    wanted = {key: (one.kind, one.default) for key, one in inspect.signature(theirs).parameters.items()}
    found = {key: (one.kind, one.default) for key, one in inspect.signature(ours).parameters.items()}
    added = found.keys() - wanted.keys()
    assert {key: found[key] for key in found if key in wanted} == wanted
    assert added <= {"timeout"}
    if name == "edit":
        return  # its blocks wait for nothing but the commit lock
    assert [key for key in found if key in wanted] == list(wanted)


@pytest.mark.parametrize(
    "name", sorted(name for name in dir(Lease) if not name.startswith("_") and name != "keep")
)
def test_a_lease_has_the_names_of_a_lease(name: str) -> None:
    """What can be asked of a lease can be asked of an asynchronous one."""
    assert hasattr(AsyncLease, name)
