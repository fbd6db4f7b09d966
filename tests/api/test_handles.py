"""Handles: sharing, closing, and what is left at rest (F8, F17)."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.factories import Opener
from support.files import read_layout1, umask
from support.processes import Peer, run_python
from support.seams import RuledFileSystem
from support.soundness import leaked, loose_modes, open_descriptors

from sessiondir import InvalidOption, SessionStore, StoreClosed, registry

CALLS: dict[str, Callable[[Any], Any]] = {
    "get": lambda store: store.get("a"),
    "getitem": lambda store: store["a"],
    "contains": lambda store: "a" in store,
    "len": len,
    "iter": list,
    "keys": lambda store: store.keys(),
    "updated_at": lambda store: store.updated_at("a"),
    "version": lambda store: store.version,
    "version_of": lambda store: store.version_of("a"),
    "list": lambda store: store.list(),
    "snapshot": lambda store: store.snapshot(),
    "changes": lambda store: store.changes(0),
    "watch": lambda store: next(store.watch()),
    "info": lambda store: store.info(),
    "check": lambda store: store.check(),
    "put": lambda store: store.put("a", {}),
    "patch": lambda store: store.patch("a", {}),
    "update": lambda store: store.update("a", lambda entry: entry),
    "delete": lambda store: store.delete("a"),
    "transaction": lambda store: store.transaction("a").__enter__(),
    "edit": lambda store: store.edit().__enter__(),
    "edit fn": lambda store: store.edit(lambda sessions: None),
    "replace": lambda store: store.replace({}),
    "flush": lambda store: store.flush(),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("used", [True, False], ids=["used", "unused"])
def test_a_closed_handle_refuses_everything(open_store: Opener, name: str, used: bool) -> None:
    """Every method of a closed handle raises StoreClosed; closing it again does nothing."""
    store = open_store()
    if used:
        store.put("a", {})
    store.close()
    store.close()
    with pytest.raises(StoreClosed):
        CALLS[name](store)


def test_with_closes_the_handle(open_store: Opener) -> None:
    """Leaving the with block closes the handle, after an exception too."""
    with contextlib.suppress(ZeroDivisionError), open_store() as store:
        store.put("a", {"n": 1})
        raise ZeroDivisionError
    with pytest.raises(StoreClosed):
        store.get("a")
    assert open_store()["a"] == {"n": 1}


def test_closing_one_handle_leaves_the_others(open_store: Opener) -> None:
    """Two handles of one process see each other's commits, and each closes for itself."""
    one, two = open_store(), open_store()
    one.put("a", {"n": 1})
    assert two["a"] == {"n": 1}
    two.put("a", {"n": 2})
    one.close()
    two.put("b", {})
    assert two["a"] == {"n": 2}


def test_two_spellings_of_a_path_are_one_store(open_directory: Opener, store_path: str, tmp_path: Path) -> None:
    """Handles that reach one directory over different paths share what they know."""
    one = open_directory()
    one.put("a", {"n": 1})
    (tmp_path / "elsewhere").symlink_to(tmp_path)
    two = open_directory(f"{tmp_path}/elsewhere/sessions.d")
    three = open_directory(f"{tmp_path}/./sessions.json")
    two.put("a", {"n": 2})
    three.put("b", {"n": 3})
    assert len(registry._cores) == 1
    assert dict(one.snapshot()) == {"a": {"n": 2}, "b": {"n": 3}}


def test_g12_an_unclosed_handle_is_warned_about_and_levelled_at_exit(store_path: str) -> None:
    """G12: a forgotten handle warns as an open file does, and the end of the program levels its files."""
    told = run_python(
        """
        import sys, warnings
        from sessiondir import SessionStore
        store = SessionStore.open(sys.argv[1])
        store.put("a", {"n": 1})
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del store
        print([(one.category.__name__, "not closed" in str(one.message)) for one in caught])
        """,
        store_path,
    )
    assert told == "[('ResourceWarning', True)]\n"
    assert read_layout1(store_path) == {"a": {"n": 1}}


def test_threads_may_share_a_handle_from_its_first_use(open_directory: Opener, store_path: str) -> None:
    """If two threads use a new handle at the same moment, one close closes everything."""
    open_directory().put("a", {"n": 1})
    open_directory.close_all()
    meeting = threading.Barrier(2)

    def meet(name: str, args: tuple[Any, ...]) -> None:
        if name == "open" and args[0] == store_path:
            with contextlib.suppress(threading.BrokenBarrierError):
                meeting.wait(timeout=0.3)

    store = open_directory.elsewhere(fs=RuledFileSystem(meet))
    # Opening has found the store already, so begin once more as a handle on a missing store does.
    store._core, first = None, store._core
    meeting.reset()
    threads = [threading.Thread(target=store.get, args=("a",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    registry.release_core(first)
    store.close()
    assert registry._cores == {}


def test_g12_at_rest_it_is_plain_files(open_directory: Opener, store_path: str) -> None:
    """G12: after the last close every session is in its own file and nothing temporary is left."""
    one, two = open_directory(), open_directory.elsewhere()
    for number in range(20):
        (one if number % 2 else two).put(f"k{number}", {"n": number})
    one.patch("k0", {"more": True})
    two.delete("k1")
    one.close()
    two.close()
    wanted: dict[str, Any] = {f"k{number}": {"n": number} for number in range(20) if number != 1}
    wanted["k0"]["more"] = True
    assert read_layout1(store_path) == wanted
    assert {name for name in os.listdir(store_path) if not name.startswith("journal-")} == {
        "state.json", "lock", "entries",
    }  # fmt: skip


def test_a_long_journal_is_replaced_at_close(open_directory: Opener, store_path: str) -> None:
    """Closing leaves a short journal behind, however much was written."""
    store = open_directory()
    for number in range(40):
        store.put("k", {"n": number, "x": f"{number:010}" * 1000})
    store.close()
    (journal,) = Path(store_path).glob("journal-*")
    assert journal.name == "journal-2.jsonl"
    assert journal.stat().st_size < 4096
    assert open_directory()["k"]["n"] == 39


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o777], ids=oct)
def test_modes_do_not_depend_on_the_umask(open_directory: Opener, tmp_path: Path, mask: int) -> None:
    """Directories are 0700 and files 0600, whatever the umask says."""
    with umask(mask):
        store = open_directory(f"{tmp_path}/a/b/sessions.d")
        store.put("a", {"x": "y" * 300_000})
        store.put("k" * 200, {"n": 1})
        store.close()
        store = open_directory(f"{tmp_path}/a/b/sessions.d")
        store.put("a", {"n": 1})
        store.close()
    found = loose_modes(tmp_path)
    assert found == []
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "options",
    [
        {"durability": "perhaps"}, {"durability": None}, {"keys": "upper"}, {"lock_timeout": -1},
        {"lock_timeout": float("nan")}, {"lock_timeout": "1"}, {"lock_timeout": True},
        {"checkpoint_interval": -0.1}, {"checkpoint_interval": None},
    ],
    ids=str,
)  # fmt: skip
def test_impossible_options_are_refused(open_store: Opener, options: dict[str, Any]) -> None:
    """An option outside its range is refused when the store is opened."""
    with pytest.raises(InvalidOption):
        open_store(**options)


def test_any_lock_timeout_that_is_accepted_works(open_store: Opener) -> None:
    """Waiting for ever, or for longer than the machine can count, is refused at open or works."""
    for timeout in (float("inf"), 1e12):
        try:
            store = open_store(lock_timeout=timeout)
        except InvalidOption:
            continue
        store.put("a", {"n": timeout > 1e11})
        assert store.update("a", lambda entry: {"n": 2}) == {"n": 2}


def test_a_key_rule_that_is_not_the_stores_is_refused(open_store: Opener) -> None:
    """Opening with another key rule than the store's is refused, and leaves nothing open."""
    open_store(keys="lowercase").put("A", {})
    open_store.close_all()
    with pytest.raises(InvalidOption):
        open_store(keys="exact")
    assert open_store(keys="lowercase").info().key_rule == open_store().info().key_rule == "lowercase"


def test_info_tells_the_key_rule_of_a_store_not_made_yet(store_path: str) -> None:
    """What a handle was opened with is what the store will have."""
    with SessionStore.open(store_path, keys="lowercase") as store:
        assert store.info().key_rule == "lowercase"
        store.put("A", {})
        assert store.info().key_rule == "lowercase"
        assert store.keys() == ["a"]


def test_info_tells_the_facts(open_directory: Opener, store_path: str) -> None:
    """info counts sessions, versions and bytes as they are on disk."""
    store = open_directory()
    assert (store.info().sessions, store.info().version, store.info().layout_version) == (0, 0, 0)
    store.replace({"a": {"n": 1}, "b": {}})
    store.delete("b")
    store.flush()
    info = store.info()
    assert (info.path, info.sessions, info.version, info.checkpoint_version) == (store_path, 1, 2, 2)
    assert (info.layout_version, info.key_rule, info.quarantined) == (1, "exact", 0)
    assert info.session_bytes == sum(path.stat().st_size for path in (Path(store_path) / "entries").iterdir())
    assert len(info.store_id) == 36
    assert store.check() == []


@pytest.mark.expect_findings("damaged line")
def test_check_leaves_no_descriptor_open(
    open_directory: Opener, store_path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Verifying a damaged store closes what it opened, even while a log handler keeps the errors it was told."""
    open_directory().replace({"a": {"n": 1}, "b": {"n": 2}})
    open_directory().put("a", {"n": 3})
    open_directory.close_all()
    journal = Path(store_path) / "journal-1.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"n":1', b'"n":7'))
    store = open_directory(read_only=True)
    before = open_descriptors()
    assert [finding.level for finding in store.check()] == ["error"]
    assert caplog.records
    assert leaked(before) == []


def test_only_the_last_writer_to_close_tidies_the_journal(open_directory: Opener, store_path: str) -> None:
    """G12: who ends before the others leaves their journal as it is; one that was killed holds nobody up."""
    stays, goes, reads = open_directory(), open_directory.elsewhere(), open_directory.elsewhere(read_only=True)
    for store in (stays, goes):
        for number in range(40):
            store.put("k", {"n": number, "x": f"{number:010}" * 1000})
    assert reads.get("k") is not None
    journal = Path(store_path, "journal-1.jsonl")
    size = journal.stat().st_size
    goes.close()
    assert journal.stat().st_size == size
    assert read_layout1(store_path)["k"]["n"] == 39
    with Peer(store_path) as peer:
        peer.do("store.put('k', {'n': 40})")
        peer.kill()
    stays.close()
    (journal,) = Path(store_path).glob("journal-*")
    assert journal.name == "journal-2.jsonl"
    assert b"\0" not in journal.read_bytes()
    assert read_layout1(store_path)["k"] == {"n": 40}
