"""Compare-and-set on one session, and two sessions changed together or not at all.

Run it: python examples/transactions.py
"""

import tempfile

from sessiondir import ConflictError, SessionStore

CHAT = "agent:main:telegram:direct:42"
HELPER = "agent:main:subagent:research"


def compare_and_set(store: SessionStore) -> None:
    """Write only if nobody else wrote since we read."""
    store.put(CHAT, {"model": "small", "budget": 100})
    seen = store.version_of(CHAT)

    store.patch(CHAT, {"label": "set by somebody else"})
    try:
        store.put(CHAT, {"model": "large", "budget": 100}, if_version=seen)
    except ConflictError:
        print(f"refused: the session moved on; it still has the model {store[CHAT]['model']!r}")

    store.put(CHAT, store[CHAT] | {"model": "large"}, if_version=store.version_of(CHAT))
    print(f"accepted: the model is {store[CHAT]['model']!r}")


def hand_over(store: SessionStore, tokens: int) -> None:
    """Move some budget from one session to another, as one commit."""
    with store.transaction(CHAT, HELPER) as txn:
        chat, helper = txn[CHAT], txn[HELPER]
        txn[HELPER] = helper | {"budget": helper["budget"] + tokens}
        if chat["budget"] < tokens:
            raise ValueError(f"only {chat['budget']} tokens are left")
        txn[CHAT] = chat | {"budget": chat["budget"] - tokens}


def main() -> None:
    """Show both."""
    with tempfile.TemporaryDirectory() as place, SessionStore.open(f"{place}/sessions.d") as store:
        compare_and_set(store)
        store.put(HELPER, {"budget": 0})
        for tokens in (30, 500):
            try:
                hand_over(store, tokens)
            except ValueError as exc:
                print(f"nothing changed: {exc}")
            print(f"budgets: {store[CHAT]['budget']} + {store[HELPER]['budget']}")


if __name__ == "__main__":
    main()
