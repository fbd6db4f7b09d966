"""A gateway as an asyncio program: chats are answered at the same time, each in its own session.

Every chat is a task. While one waits for the model, its session is held, and only that one;
a task that is cancelled leaves no half-made answer. Another task watches what is stored.

Run it: python examples/asyncio_gateway.py
"""

import asyncio
import random
import tempfile

from sessiondir import AsyncSessionStore

CHATS = [f"agent:main:telegram:direct:{number}" for number in range(6)]
TURNS = 5


async def ask_the_model(entry: dict) -> str:
    """Stands in for a model that takes its time."""
    await asyncio.sleep(random.uniform(0.001, 0.01))
    return f"answer {len(entry['messages']) // 2 + 1}"


async def chat(store: AsyncSessionStore, key: str) -> None:
    """Some turns of one conversation."""
    for turn in range(TURNS):

        async def answer(entry: dict, question: str = f"question {turn + 1}") -> dict:
            messages = entry.setdefault("messages", [])
            messages += [question, await ask_the_model(entry)]
            return entry

        await store.update(key, answer, create=True)


async def count_changes(store: AsyncSessionStore) -> int:
    """How many commits there were, until nothing has changed for a while."""
    count = 0
    async for _change in store.watch(since=0, timeout=0.3):
        count += 1
    return count


async def main() -> None:
    """Let the chats go on at once, hang up on one, and look at what is stored."""
    with tempfile.TemporaryDirectory() as place:
        async with AsyncSessionStore.open(f"{place}/sessions.d", durability="process") as store:
            counting = asyncio.create_task(count_changes(store))
            chats = [asyncio.create_task(chat(store, key)) for key in CHATS]
            impatient = asyncio.create_task(chat(store, "agent:main:telegram:direct:impatient"))
            await asyncio.sleep(0.005)
            impatient.cancel()
            await asyncio.gather(*chats)
            for item in (await store.list(prefix="agent:main:telegram:", order="key")).items:
                entry = await store[item.key]
                print(f"{item.key}: {len(entry['messages'])} messages, the last is {entry['messages'][-1]!r}")
            whole = all(len(entry["messages"]) % 2 == 0 for entry in (await store.snapshot()).values())
            print(
                f"every question has its answer: {whole}; more than {TURNS * len(CHATS) - 1} changes seen: ",
                end="",
            )
            print(await counting >= TURNS * len(CHATS))


if __name__ == "__main__":
    asyncio.run(main())
