"""Threads of one program share a handle: each answers in its own session, all count in one.

Run it: python examples/threads.py
"""

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from sessiondir import SessionStore

CHATS = [f"agent:main:telegram:direct:{number}" for number in range(8)]
TURNS = 25


def answer(store: SessionStore, key: str) -> None:
    """One turn of a conversation, and a note of it in the main session."""

    def after_turn(entry: dict) -> dict:
        entry["outputTokens"] = entry.get("outputTokens", 0) + 120
        entry["updatedAt"] = int(time.time() * 1000)
        return entry

    def count(entry: dict) -> dict:
        entry["turns"] = entry.get("turns", 0) + 1
        return entry

    for _ in range(TURNS):
        store.update(key, after_turn, create=True)
        store.update("agent:main:main", count, create=True)


def main() -> None:
    """Let eight chats go on at once, and look at what is stored."""
    with tempfile.TemporaryDirectory() as place, SessionStore.open(f"{place}/sessions.d") as store:
        with ThreadPoolExecutor(len(CHATS)) as pool:
            for done in [pool.submit(answer, store, key) for key in CHATS]:
                done.result()
        print(f"turns counted: {store['agent:main:main']['turns']} of {len(CHATS) * TURNS}")
        for item in store.list(prefix="agent:main:telegram:", order="key").items:
            print(f"{item.key}: {store[item.key]['outputTokens']} tokens")


if __name__ == "__main__":
    main()
