"""G1-G6 as a game: random calls on a real store, beside a dict that knows what must be there."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support import soundness
from support.seed import SEED
from support.strategies import QUICK

from sessiondir import UNSET, ChangesUnavailable, Limits, SessionStore, registry
from sessiondir.fs import FileSystem

KEYS = st.sampled_from(["a", "b", 'c"quote', "d\\e", "é" * 61, "k" * 121, "agent:main:main"])
VALUES = st.sampled_from([None, True, 1, 1.0, "x", "\ud800", [1, {"y": []}], {"z": 2**70}, "long" * 100, 5, 6])
FIELDS = st.dictionaries(st.sampled_from(["updatedAt", "x", "y", ""]), VALUES, max_size=3)
PATCHES = st.dictionaries(st.sampled_from(["updatedAt", "x", "y", ""]), VALUES | st.just(UNSET), max_size=3)
PEERS = 3


class Machine(RuleBasedStateMachine):
    """Handles as of several processes on one store, and a model of its sessions and their versions."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="model-"))
        self.path = self.root / "s.d"
        self.handles: list[SessionStore] = []
        self.model: dict[str, Any] = {}
        self.versions: dict[str, int] = {}
        self.version = 0

    @initialize(
        cache_bytes=st.sampled_from([0, 2000, 1 << 20]),
        journal_bytes=st.sampled_from([300, 3000, 1 << 22]),
        interval=st.sampled_from([0, 3600.0]),
        durability=st.sampled_from(["power", "process"]),
    )
    def begin(self, **options: Any) -> None:
        self.options = {
            "cache_bytes": options["cache_bytes"],
            "limits": Limits(journal_bytes=options["journal_bytes"]),
            "checkpoint_interval": options["interval"],
            "durability": options["durability"],
            "lock_timeout": 5,
        }
        self.systems = [FileSystem() for _ in range(PEERS)]
        self.handles = [self.open(number) for number in range(PEERS)]

    def open(self, number: int) -> SessionStore:
        return SessionStore.open(str(self.path), fs=self.systems[number], **self.options)

    def committed(self, store: SessionStore, *keys: str) -> None:
        """One commit happened that changed these sessions."""
        self.version += 1
        assert store.version == self.version
        for key in keys:
            if key in self.model:
                self.versions[key] = self.version
            else:
                self.versions.pop(key, None)

    def changed(self, store: SessionStore, key: str, entry: Any) -> None:
        """The session shall hold ``entry`` now; None: it shall be gone."""
        if same(self.model.get(key), entry):
            assert store.version == self.version, "a commit without a change"
            return
        if entry is None:
            del self.model[key]
        else:
            self.model[key] = entry
        self.committed(store, key)

    # -- changes --------------------------------------------------------------------------

    @rule(number=st.integers(0, PEERS - 1), key=KEYS, entry=FIELDS, known=st.booleans())
    def put(self, number: int, key: str, entry: dict[str, Any], known: bool) -> None:
        store = self.handles[number]
        version = store.put(key, entry, if_version=self.versions.get(key, 0) if known else None)
        self.changed(store, key, entry)
        assert version == self.versions[key]

    @rule(number=st.integers(0, PEERS - 1), key=KEYS, fields=PATCHES, create=st.booleans())
    def patch(self, number: int, key: str, fields: dict[str, Any], create: bool) -> None:
        store = self.handles[number]
        found = store.patch(key, fields, create=create)
        if key not in self.model and not create:
            assert found is None
            return
        entry = {**self.model.get(key, {}), **fields}
        entry = {name: value for name, value in entry.items() if value is not UNSET}
        assert same(found, entry)
        self.changed(store, key, entry)

    @rule(number=st.integers(0, PEERS - 1), key=KEYS, value=VALUES, create=st.booleans(), fails=st.booleans())
    def update(self, number: int, key: str, value: Any, create: bool, fails: bool) -> None:
        store = self.handles[number]
        seen: list[Any] = []

        def change(entry: dict[str, Any]) -> dict[str, Any]:
            seen.append(json.loads(json.dumps(entry)))
            entry["updatedAt"] = value
            entry.pop("x", None)
            if fails:
                raise ZeroDivisionError
            return entry

        try:
            found = store.update(key, change, create=create)
        except ZeroDivisionError:
            found = self.model.get(key)
        before = self.model.get(key, {} if create else None)
        assert len(seen) == (before is not None)
        if before is None or fails:
            assert same(found, self.model.get(key))
            return
        assert same(seen[0], before)
        entry = {name: item for name, item in before.items() if name != "x"} | {"updatedAt": value}
        assert same(found, entry)
        self.changed(store, key, entry)

    @rule(number=st.integers(0, PEERS - 1), key=KEYS)
    def delete(self, number: int, key: str) -> None:
        store = self.handles[number]
        assert store.delete(key) is (key in self.model)
        self.changed(store, key, None)

    @rule(
        number=st.integers(0, PEERS - 1), keys=st.lists(KEYS, min_size=1, max_size=4, unique=True), data=st.data()
    )
    def transaction(self, number: int, keys: list[str], data: st.DataObject) -> None:
        store = self.handles[number]
        wanted = dict(self.model)
        with store.transaction(*keys) as txn:
            for key in keys:
                assert same(txn.get(key), self.model.get(key))
                entry = data.draw(st.none() | FIELDS)
                if entry is not None:
                    txn[key] = wanted[key] = entry
                elif key in txn:
                    del txn[key], wanted[key]
        self.become(store, wanted)

    @rule(number=st.integers(0, PEERS - 1), keep=st.lists(KEYS, max_size=4), entry=FIELDS, key=KEYS)
    def replace(self, number: int, keep: list[str], entry: dict[str, Any], key: str) -> None:
        store = self.handles[number]
        wanted = {name: self.model[name] for name in keep if name in self.model} | {key: entry}
        assert store.replace(wanted) >= self.version
        self.become(store, wanted)

    @rule(number=st.integers(0, PEERS - 1), key=KEYS, value=VALUES)
    def edit(self, number: int, key: str, value: Any) -> None:
        store = self.handles[number]
        wanted = json.loads(json.dumps(self.model))
        with store.edit() as sessions:
            for name in sorted(sessions):
                sessions[name]["y"] = wanted[name]["y"] = value
            sessions.pop(key, None)
            wanted.pop(key, None)
        self.become(store, wanted)

    def become(self, store: SessionStore, wanted: dict[str, Any]) -> None:
        """The store shall hold exactly ``wanted``, by one commit of what differs."""
        moved = [
            key for key in self.model.keys() | wanted.keys() if not same(self.model.get(key), wanted.get(key))
        ]
        self.model = wanted
        if moved:
            self.committed(store, *moved)

    # -- what must change nothing -------------------------------------------------------------

    @rule(number=st.integers(0, PEERS - 1))
    def flush(self, number: int) -> None:
        self.handles[number].flush()
        assert same(self.files(), self.model)

    @rule(number=st.integers(0, PEERS - 1))
    def reopen(self, number: int) -> None:
        self.handles[number].close()
        self.handles[number] = self.open(number)

    @rule()
    def rest(self) -> None:
        """Everybody closes: plain files remain (G12)."""
        for handle in self.handles:
            handle.close()
        assert same(self.files(), self.model)
        if self.path.exists():
            assert soundness.findings(self.path) == []
        self.handles = [self.open(number) for number in range(PEERS)]

    @precondition(lambda self: self.path.exists())
    @rule(torn=st.sampled_from([b"", b'{"v":', b'{"v":1}', b"\0garbage"]))
    def crash(self, torn: bytes) -> None:
        """The directory as it stands right now is what a crash leaves: every acknowledged commit is in it (G2)."""
        copied = self.root / "crashed.d"
        shutil.copytree(self.path, copied)
        newest = max(copied.glob("journal-*"), key=lambda path: int(path.stem.partition("-")[2]))
        newest.write_bytes(newest.read_bytes().rstrip(b"\0") + torn)
        store = SessionStore.open(str(copied), **self.options)
        assert same(dict(store.snapshot()), self.model)
        assert store.version == self.version
        store.put("after the crash", {"n": 1})
        store.close()
        store = SessionStore.open(str(copied), **self.options)
        assert same(dict(store.snapshot()), self.model | {"after the crash": {"n": 1}})
        store.close()
        errors = [text for text in soundness.findings(copied) if "quarantine" not in text]
        assert errors == []
        shutil.rmtree(copied)

    @precondition(lambda self: self.version > 0)
    @rule(number=st.integers(0, PEERS - 1), back=st.integers(0, 5))
    def changes(self, number: int, back: int) -> None:
        since = max(0, self.version - back)
        try:
            found = self.handles[number].changes(since)
        except ChangesUnavailable as exc:
            assert since < exc.oldest <= self.version
            return
        assert sorted({change.version for change in found}) == list(range(since + 1, self.version + 1))
        for key, version in self.versions.items():
            assert version <= since or (version, key) in {(change.version, change.key) for change in found}

    def files(self) -> dict[str, Any]:
        """What the session files alone say."""
        if not (self.path / "entries").exists():
            return {}
        documents = [json.loads(path.read_bytes()) for path in (self.path / "entries").iterdir()]
        return {document["sessionKey"]: document["entry"] for document in documents}

    # -- what must be so at all times ---------------------------------------------------------

    @invariant()
    def everybody_sees_the_same(self) -> None:
        for store in self.handles:
            assert store.version == self.version
            snapshot = store.snapshot()
            assert same(dict(snapshot), self.model)
            assert snapshot.version == self.version
            assert {key: snapshot.version_of(key) for key in snapshot} == self.versions
            assert sorted(store.keys()) == sorted(self.model)
            assert len(store) == len(self.model)
            listed = {info.key: (info.version, info.updated_at) for info in store.list()}
            assert listed == {key: (self.versions[key], time_of(entry)) for key, entry in self.model.items()}
            for key, entry in self.model.items():
                assert same(store.get(key), entry)
                assert store.version_of(key) == self.versions[key]
            assert store.get("missing") is None

    def teardown(self) -> None:
        for handle in self.handles:
            handle.close()
        left = list(registry._cores.values())
        for one in left:
            one.close()
        registry._cores.clear()
        shutil.rmtree(self.root)
        assert left == []


def same(one: Any, two: Any) -> bool:
    """Whether two values are equal as JSON."""
    return json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)


def time_of(entry: dict[str, Any]) -> Any:
    """What a listing tells of ``updatedAt``."""
    value = entry.get("updatedAt")
    return value if type(value) in (int, float) else None


def test_the_store_is_what_the_model_says() -> None:
    """G1-G6, G12: whatever is called in whatever order, every handle shows what the model holds."""
    examples = int(os.environ.get("SESSIONDIR_MODEL_EXAMPLES", "40"))
    machine = seed(SEED)(Machine)
    run_state_machine_as_test(machine, settings=settings(QUICK, max_examples=examples, stateful_step_count=25))
