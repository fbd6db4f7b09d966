"""No public call is left out of the enumerations that interrupt calls (F18)."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

from aio.beside import BESIDE, set_up
from aio.test_cancellation import CALLS, OLD
from sessiondir import AsyncSessionStore, SessionStore, aio

HERE = os.path.dirname(__file__)
CLASSES = [getattr(aio, name) for name in aio.__all__]
# test_interrupted_while_opening_nothing_is_open, test_interrupted_while_closing_it_is_closed
ELSEWHERE = {f"AsyncSessionStore.{name}" for name in ("open", "close", "__aenter__", "__aexit__")}


def waiting_calls(cls: type) -> dict[str, Any]:
    """The public methods of a class that may wait, or give something that is awaited, entered or iterated over."""
    found = {}
    for name in dir(cls):
        if name.startswith("_") and not (name.startswith("__") and name.endswith("__")):
            continue
        member = inspect.getattr_static(cls, name)
        function = getattr(member, "__func__", member)
        if not inspect.isfunction(function):
            continue
        text = str(inspect.signature(function).return_annotation)
        waits = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        if waits or any(hasattr(one, special) for one in _named(text) for special in ("__await__", "__aenter__")):
            found[name] = member
    return found


def _named(annotation: str) -> list[type]:
    """Classes of ``aio`` and what is awaitable, as far as an annotation names them."""
    from collections.abc import Awaitable

    from sessiondir.aio import handle, leasing, messaging, store, transaction, watch

    names: dict[str, Any] = {"Awaitable": Awaitable}
    for module in (handle, leasing, messaging, store, transaction, watch):
        names |= {name: one for name, one in vars(module).items() if inspect.isclass(one)}
    outer = annotation.replace("|", " ").split("[")[0].split()
    return [names[word] for word in outer if word in names]


def test_the_introspection_finds_each_kind_of_call() -> None:
    """Coroutines, blocks and iterations are found; what only reads attributes is not."""
    found = waiting_calls(AsyncSessionStore)
    assert {"get", "open", "lease", "taking", "transaction", "edit", "watch", "__getitem__", "__aiter__"} <= set(
        found
    )
    assert "__repr__" not in found
    assert set(waiting_calls(aio.AsyncWatch)) >= {"__anext__", "__aexit__", "aclose"}
    assert set(waiting_calls(aio.AsyncLease)) >= {"is_held", "renew", "release", "__aexit__"}
    # Whatever the synchronous store can do waits, or is named here.
    assert {name for name in dir(SessionStore) if not name.startswith("_")} <= set(found)


def test_f18_every_public_call_is_among_those_that_are_interrupted(
    store_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F18: the calls that the enumerations make are, together, all that can be awaited."""
    made: set[str] = set()
    enumerated: set[str] = set()

    def noted(name: str, method: Any) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if sys._getframe(1).f_code.co_filename.startswith(HERE):  # not by another method
                made.add(name)
            return method(*args, **options)

        return call

    wanted = set()
    for cls in CLASSES:
        for name, member in waiting_calls(cls).items():
            wanted.add(f"{cls.__name__}.{name}")
            if not isinstance(member, classmethod):
                monkeypatch.setattr(cls, name, noted(f"{cls.__name__}.{name}", member))

    async def run() -> None:
        async with AsyncSessionStore.open(store_path, checkpoint_interval=3600) as store:
            for make, _ in CALLS.values():
                await store.replace(OLD)
                made.clear()
                await _awaited(make(store))
                enumerated.update(made)
            for call in BESIDE.values():
                stage = await set_up(store)
                made.clear()
                await _awaited(call.make(stage))
                enumerated.update(made)

    asyncio.run(run())
    assert wanted - ELSEWHERE - enumerated == set()
    assert wanted >= ELSEWHERE


async def _awaited(awaitable: Any) -> Any:
    return await awaitable
