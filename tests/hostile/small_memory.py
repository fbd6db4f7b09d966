"""A program with little memory: ``python -m hostile.small_memory MIB STORE STEP...``.

Does steps on a store with so much address space as it has now, and MIB more; prints for each what
came of it: a value, or the kind of the ``StoreError``.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from typing import Any

from sessiondir import SessionStore, StoreError


def _put(store: SessionStore) -> Any:
    store.put("mine", {"n": 1})
    store.flush()
    return store.get("mine")


STEPS: dict[str, Callable[[SessionStore], Any]] = {
    "get": lambda store: store.get("a"),
    "other": lambda store: store.get("b"),
    "snapshot": lambda store: (len(store.snapshot()), sorted(store.snapshot().damaged)),
    "put": _put,
    "check": lambda store: sorted({one.level for one in store.check()}),
}


def main() -> None:
    """Do the steps."""
    import sessiondir.check
    import sessiondir.inbox
    import sessiondir.store  # noqa: F401

    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[0])
    bound = pages * resource.getpagesize() + (int(sys.argv[1]) << 20)
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
    with SessionStore.open(sys.argv[2], durability="process") as store:
        for step in sys.argv[3:]:
            try:
                print(STEPS[step](store))
            except StoreError as exc:
                print(type(exc).__name__)


if __name__ == "__main__":
    main()
