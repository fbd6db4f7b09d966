"""Several processes finish work for one parent session; a watcher sees each result as it arrives.

Run it: python examples/processes.py
"""

import multiprocessing
import tempfile

from sessiondir import SessionStore

PARENT = "agent:main:main"
WORKERS = 4
RESULTS_EACH = 10


def work(path: str, number: int) -> None:
    """A sub-agent: keeps its own state, and adds its results to the parent's."""
    with SessionStore.open(path) as store:
        own = f"agent:main:subagent:{number}"
        store.put(own, {"spawnedBy": PARENT, "status": "running"})
        for step in range(RESULTS_EACH):

            def add_result(entry: dict, result: str = f"{number}.{step}") -> dict:
                entry["results"].append(result)
                return entry

            store.update(PARENT, add_result)
        store.patch(own, {"status": "done"})


def main() -> None:
    """Start the workers, watch them, and verify that no result was lost."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as place, SessionStore.open(f"{place}/sessions.d") as store:
        store.put(PARENT, {"results": []})
        begun_at = store.version
        workers = [context.Process(target=work, args=(store.path, number)) for number in range(WORKERS)]
        for worker in workers:
            worker.start()

        results = finished = 0
        for change in store.watch(since=begun_at, timeout=30):
            results += change.key == PARENT
            finished += change.key != PARENT and "status" in change.fields and change.kind == "patch"
            if finished == WORKERS:
                break
        for worker in workers:
            worker.join()

        stored = store[PARENT]["results"]
        print(f"results: {len(stored)} stored, {len(set(stored))} different, {results} seen by the watcher")
        print("states:", ", ".join(store[f"agent:main:subagent:{number}"]["status"] for number in range(WORKERS)))


if __name__ == "__main__":
    main()
