"""Sub-agents never wait for their parent.

A parent leases its session and holds it inside `update` while it works. Three children, each a
process, do their own work, announce their results to the parent's inbox and end; one of them
announces twice, because it cannot know whether the first time counted. The first helper of the
parent takes a message and dies over it: the message is delivered again.
"""

import multiprocessing
import os
import tempfile
import threading
import time

from sessiondir import SessionStore

PARENT = "agent:main:main"
CHILDREN = ("weather", "news", "mail")
HELD_S = 2.0


def child(path: str, name: str) -> None:
    """Work in a session of its own, then announce the result: one append, whoever holds the parent."""
    with SessionStore.open(path) as store:
        for step in range(20):
            store.update(f"agent:child:{name}", lambda entry, step=step: {**entry, "step": step}, create=True)
        begun = time.monotonic()
        for _ in range(2 if name == "mail" else 1):
            store.post(PARENT, {"from": name, "at": begun}, id=f"{name} run-1")
        waited_ms = (time.monotonic() - begun) * 1000
        assert waited_ms < HELD_S * 1000, "waited for the parent"


def careless_helper(path: str) -> None:
    """Take one message and die before it is dealt with."""
    store = SessionStore.open(path)
    while not store.take(PARENT, limit=1):
        time.sleep(0.01)
    os._exit(1)


def main(path: str) -> None:
    """Run the story and print what the parent got."""
    start = multiprocessing.get_context("spawn").Process
    with (
        SessionStore.open(path) as store,
        store.lease(PARENT, owner="gateway-1/run-42", ttl=30, keep=True) as lease,
    ):
        done = threading.Event()

        def work(entry: dict) -> dict:
            done.wait(HELD_S * 10)  # the model thinks; the session is held all the while
            return {**entry, "turns": entry.get("turns", 0) + 1}

        turn = threading.Thread(target=store.update, args=(PARENT, work, True), kwargs={"fence": lease})
        turn.start()
        helper = start(target=careless_helper, args=(path,))
        helper.start()
        children = [start(target=child, args=(path, name)) for name in CHILDREN]
        for one in children:
            one.start()
        helper.join()

        results: dict[str, int] = {}
        while len(results) < len(CHILDREN):
            store.wait_inbox(PARENT, timeout=30)
            with store.taking(PARENT) as messages:
                for message in messages:
                    results[message.body["from"]] = message.deliveries
        for one in children:
            one.join()
        print("while the session was held by", store.lease_of(PARENT).owner)
        print("results from", ", ".join(sorted(results)))
        print("delivered again after its consumer died:", sum(count > 1 for count in results.values()))
        done.set()
        turn.join()
    with SessionStore.open(path, read_only=True) as store:
        print("the parent's entry:", store[PARENT], "and", len(store.peek(PARENT, taken=True)), "messages left")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(os.path.join(folder, "sessions.d"))
