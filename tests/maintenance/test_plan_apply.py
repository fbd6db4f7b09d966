"""Planning and applying on real stores: what goes, what stays, what is told (F11)."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sessiondir import InvalidKey, InvalidOption, LockTimeout, SessionStore, deciding, maintenance
from sessiondir.core import Core
from sessiondir.leasing import Lease
from sessiondir.maintenance import Policy, apply, list_trash, plan
from sessiondir.testing import WatchedFileSystem, read_tree

from .stores import (
    DAY,
    HOUR,
    NOW,
    Today,
    actions,
    enforce,
    entry,
    fill,
    names,
    open_store,
    trashed,
    write_transcript,
)

OLD = {f"old:{number}": entry(40 * DAY + number, f"o{number}") for number in range(5)}
_NEXT = str.maketrans("01234", "12340")
NEW = {f"new:{number}": entry(number * DAY, f"n{number}") for number in range(5)}


@pytest.fixture
def store(store_path: str) -> Iterator[SessionStore]:
    """Five stale sessions and five others."""
    with open_store(store_path) as opened:
        fill(opened, OLD | NEW)
        yield opened


def test_a_plan_changes_nothing(store_path: str, tmp_path: Path) -> None:
    """G9: planning makes no call that alters anything, and the bytes stay."""
    with open_store(store_path) as store:
        fill(store, OLD | NEW)
    write_transcript(str(tmp_path), "o1.jsonl")
    before = read_tree(str(tmp_path))
    fs = WatchedFileSystem()
    with open_store(store_path, fs=fs, read_only=True) as store:
        found = plan(store, enforce(maxEntries=1, maxDiskBytes=1), fix_missing=True, archive_orphans=True)
    assert found.removals
    assert fs.altering == []
    assert read_tree(str(tmp_path)) == before


def test_stale_sessions_go_to_the_trash(store: SessionStore) -> None:
    """G9: what the plan says is done, told, and in the trash with its reason."""
    found = plan(store, enforce())
    assert actions(found) == dict.fromkeys(OLD, "prune-stale")
    assert (found.before_count, found.after_count, found.stopped, found.problems) == (10, 5, None, ())
    report = apply(store, found)
    assert sorted(report.removed) == sorted(OLD)
    assert (report.refused, report.error) == ((), None)
    assert {key: store.get(key) for key in store} == NEW
    for item in list_trash(store).items:
        assert (item.note.at_ms, item.note.rule) == (NOW, "prune-stale")
        assert "the limit is 30 days" in item.note.reason
    assert plan(store, enforce()).removals == ()


def test_trash_files_are_readable_and_safely_named(store: SessionStore, store_path: str) -> None:
    """G10, G12: plain JSON with the session and a note; the name holds nothing of the key."""
    evil = "../../etc/passwd\n\x1b[31m/..%2f" + "k" * 300
    store.put(evil, entry(50 * DAY))
    apply(store, plan(store, enforce()))
    found = {}
    for name in os.listdir(f"{store_path}/trash"):
        assert name.startswith(f"removed-{NOW}-")
        assert len(name) < 60
        text = Path(f"{store_path}/trash/{name}").read_text()
        assert text.startswith('{\n  "sessionKey"')
        value = json.loads(text)
        found[value["sessionKey"]] = value
    assert found.keys() == {*OLD, evil}
    value = found["old:1"]
    assert value["entry"] == OLD["old:1"]
    assert value["removed"] == {
        "at": NOW,
        "rule": "prune-stale",
        "reason": "not updated for 40 days, the limit is 30 days",
        "transcripts": [],
    }


def test_the_mode_warn_changes_nothing(store: SessionStore) -> None:
    """G9: off by default; the plan still tells what enforcing would do."""
    found = plan(store, Policy())
    assert len(found.removals) == 5
    report = apply(store, found)
    assert report.removed == ()
    assert len(store) == 10
    assert not os.path.exists(f"{store.path}/trash")


def test_the_bound_at_its_edge(store: SessionStore) -> None:
    """F21: exactly at the cap nothing goes, one above one goes, the oldest."""
    assert actions(plan(store, enforce(pruneAfter="99d", maxEntries=10))) == {}
    assert actions(plan(store, enforce(pruneAfter="99d", maxEntries=9))) == {"old:4": "cap-overflow"}
    everything = plan(store, enforce(pruneAfter="99d", maxEntries=1))
    assert everything.after_count == 1
    assert everything.unmet == ()


def test_protected_sessions_stay_and_the_unmet_bound_is_told(store: SessionStore) -> None:
    """G9, F21: active, pinned, running and just updated ones stay; the bound that cannot hold is reported."""
    store.put("p:1", entry(50 * DAY, pinned=True))
    store.put("p:2", entry(50 * DAY, pinnedAt=5))
    store.put("r:1", entry(HOUR * 5, status="running"))
    store.put("r:2", entry(50 * DAY, status="running"))
    policy = enforce(maxEntries=1, pinned=["old:1", "new:2", "new:3*"])
    found = plan(store, policy, active=["old:0"])
    kept = {session.key: session.reason for session in found.sessions if session.action == "keep"}
    assert kept.keys() == {"p:1", "p:2", "r:1", "old:0", "old:1", "new:0", "new:2", "new:3"}
    assert "but it is active" in kept["old:0"]
    assert "but pinned" in kept["p:1"]
    assert "run is in progress" in kept["r:1"]
    assert "updated within 1 h" in kept["new:0"] or "updated within 60 min" in kept["new:0"]
    (unmet,) = found.unmet
    assert (unmet.setting, unmet.limit, unmet.would_be) == ("maxEntries", 1, 8)
    assert "pinned (5)" in unmet.reason
    assert "old:0" not in apply(store, found).removed
    assert "old:0" in store


def test_an_active_key_is_compared_under_the_key_rule(store_path: str) -> None:
    """What names the session for reading names it here; an impossible key is an error."""
    with open_store(store_path, keys="lowercase") as store:
        store.put("Agent:Main", entry(40 * DAY))
        assert plan(store, enforce(), active=[" AGENT:main "]).removals == ()
        with pytest.raises(InvalidKey):
            plan(store, enforce(), active=[""])
        with pytest.raises(InvalidOption):
            plan(store, enforce(), active="agent:main")


def test_a_leased_session_stays(store: SessionStore) -> None:
    """G9: a lease protects when the plan is made, and again when it is applied."""
    with store.lease("old:1", "gateway-1"):
        found = plan(store, enforce())
        assert "old:1" not in actions(found)
        with store.lease("old:2", "gateway-2"):
            report = apply(store, found)
    assert {one.name: one.why_not for one in report.refused} == {"old:2": "it is leased to gateway-2"}
    assert trashed(store) == ["old:0", "old:3", "old:4"]
    assert sorted(apply(store, plan(store, enforce())).removed) == ["old:1", "old:2"]


def test_a_lease_that_is_granted_at_the_last_moment_protects(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G9: whether a session is leased is looked at under the lock under which it is deleted."""
    found = plan(store, enforce())
    commit = deciding.commit_decided
    leases: list[Lease] = []

    def commit_late(core: Core, keys: Sequence[str], *more: Any) -> Any:
        if not leases:
            leases.append(store.lease("old:2", "late"))
        return commit(core, keys, *more)

    monkeypatch.setattr(deciding, "commit_decided", commit_late)
    report = apply(store, found)
    assert {one.name: one.why_not for one in report.refused} == {"old:2": "it is leased to late"}
    assert store.get("old:2") is not None
    assert "old:2" not in trashed(store)
    leases[0].release()


def test_messages_that_wait_for_a_session_outlive_it(store: SessionStore) -> None:
    """G9: removing a session takes nothing out of its inbox, and restoring it neither."""
    store.post("old:1", {"text": "hello"})
    apply(store, plan(store, enforce()))
    assert "old:1" not in store
    maintenance.restore(store, "old:1")
    assert [message.body for message in store.take("old:1", ack=True)] == [{"text": "hello"}]


def test_what_changed_since_the_plan_stays(store: SessionStore, open_directory: Any) -> None:
    """G3, G9: each session is checked against its version; the rest goes."""
    found = plan(store, enforce())
    open_directory.elsewhere(clock=Today()).patch("old:1", {"n": 1})
    store.delete("old:2")
    report = apply(store, found)
    assert {one.name: one.why_not for one in report.refused} == {
        "old:1": "it changed since the plan was made",
        "old:2": "it is not there any more",
    }
    assert sorted(report.removed) == ["old:0", "old:3", "old:4"]
    assert store.get("old:1") == OLD["old:1"] | {"n": 1}
    assert trashed(store) == ["old:0", "old:3", "old:4"]


def test_a_session_that_is_being_updated_stays(store: SessionStore) -> None:
    """G4, F20: nobody is waited for, and the update in progress succeeds."""
    found = plan(store, enforce())
    inside, go_on = threading.Event(), threading.Event()

    def slow(value: dict[str, Any]) -> dict[str, Any]:
        inside.set()
        assert go_on.wait(30)
        return value | {"n": 1}

    thread = threading.Thread(target=store.update, args=("old:3", slow))
    thread.start()
    assert inside.wait(30)
    report = apply(store, found)
    go_on.set()
    thread.join()
    assert [(one.name, one.why_not) for one in report.refused] == [("old:3", "somebody is working on it")]
    assert store["old:3"]["n"] == 1
    assert trashed(store) == ["old:0", "old:1", "old:2", "old:4"]


def test_from_inside_an_update_its_session_stays(store: SessionStore) -> None:
    """Applying within a callback does not wait for itself."""
    found = plan(store, enforce())
    store.update("old:3", lambda value: (apply(store, found), value | {"n": 1})[1])
    assert store["old:3"]["n"] == 1
    assert trashed(store) == ["old:0", "old:1", "old:2", "old:4"]


def test_a_change_between_reading_and_deleting_is_noticed(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G3: a whole-store edit takes no lock of a session; the version tells, and no copy stays in the trash."""
    from sessiondir.maintenance import applying

    found = plan(store, enforce())
    real = applying.trash.keep

    def keep(*args: Any) -> Any:
        kept = real(*args)
        store.edit(lambda sessions: sessions.update({"old:1": entry(0)}))
        return kept

    monkeypatch.setattr(applying.trash, "keep", keep)
    report = apply(store, found)
    assert [one.name for one in report.refused] == ["old:1"]
    assert store["old:1"] == entry(0)
    assert trashed(store) == ["old:0", "old:2", "old:3", "old:4"]


def test_a_plan_of_another_store_is_refused(store: SessionStore, tmp_path: Path) -> None:
    """F20: the wrong directory."""
    with open_store(str(tmp_path / "other.d")) as other, pytest.raises(InvalidOption):
        apply(other, plan(store, enforce()))
    assert len(store) == 10


def test_two_maintenances_at_once(store: SessionStore, open_directory: Any) -> None:
    """F20: the second waits for the first, and then finds nothing left to do."""
    from sessiondir import trash
    from sessiondir.clock import SYSTEM_CLOCK
    from sessiondir.directory import StoreDirectory
    from sessiondir.fs import SYSTEM_FS

    found = plan(store, enforce())
    other = open_directory.elsewhere(clock=Today(), lock_timeout=0.1)
    directory = StoreDirectory(SYSTEM_FS, store.path)
    with trash.locked(directory, SYSTEM_CLOCK, 1), pytest.raises(LockTimeout, match="trash"):
        apply(other, found)
    directory.close()
    assert len(apply(store, found).removed) == 5
    assert {one.why_not for one in apply(other, found).refused} == {"it is not there any more"}
    assert len(trashed(store)) == 5


@pytest.mark.parametrize("change", [{"commit": 8 * DAY}, {"commit": -HOUR}, {"entry": -HOUR}])
def test_a_clock_that_jumped_stops_everything(store_path: str, change: dict[str, int]) -> None:
    """G9, F20: a now far from the last commit, or entries from the future: nothing goes unless told to."""
    with open_store(store_path, Today(NOW - change.get("commit", 0))) as store:
        fill(store, OLD | {"new": entry(change.get("commit", 0) + change.get("entry", 0))})
    with open_store(store_path) as store:
        found = plan(store, enforce(maxEntries=1, maxDiskBytes=1))
        assert found.stopped is not None
        assert (found.removals, found.changes) == ((), ())
        assert {unmet.setting for unmet in found.unmet} == {"maxEntries", "maxDiskBytes"}
        assert apply(store, found).removed == ()
        assert len(plan(store, enforce(), trust_clock=True).removals) == 5


def test_a_legacy_file_is_planned_for_as_it_is(tmp_path: Path) -> None:
    """The plan does not migrate; applying it is the first change and does."""
    path = tmp_path / "sessions.json"
    path.write_text(json.dumps(OLD | NEW))
    path.chmod(0o600)
    with open_store(str(path)) as store:
        found = plan(store, enforce())
        assert len(found.removals) == 5
        assert names(str(tmp_path)) == ["sessions.json"]
        assert len(apply(store, found).removed) == 5
        assert sorted(store) == sorted(NEW)
        assert len(trashed(store)) == 5


def test_warning_does_not_migrate(tmp_path: Path) -> None:
    """G9: what only warns touches nothing, not even by getting ready; every refusal is told."""
    path = tmp_path / "sessions.json"
    path.write_text(json.dumps(OLD | NEW))
    path.chmod(0o600)
    write_transcript(str(tmp_path), f"o1.jsonl.reset.{stamp(60)}")
    before = names(str(tmp_path))
    with open_store(str(path)) as store:
        found = plan(store, Policy(max_disk_bytes=1))
        assert {file.kind for file in found.changes} == {"archive"}
        report = apply(store, found)
        assert (report.removed, len(report.refused)) == ((), len(found.removals) + len(found.changes))
        assert {one.why_not for one in report.refused} == {"the mode is warn"}
    assert names(str(tmp_path)) == before


def test_what_the_legacy_program_saved_since_the_plan_stays(tmp_path: Path) -> None:
    """G9: the plan of a legacy file holds for the entries that are as they were, and for no other."""
    path = tmp_path / "sessions.json"
    path.write_text(json.dumps(OLD | NEW))
    path.chmod(0o600)
    with open_store(str(path)) as store:
        found = plan(store, enforce())
        used = {"old:1": OLD["old:1"] | {"updatedAt": NOW, "pad": "in use again"}}
        path.write_text(json.dumps(OLD | NEW | used))
        report = apply(store, found)
        assert sorted(report.removed) == sorted(set(OLD) - {"old:1"})
        assert [(one.name, one.why_not) for one in report.refused] == [
            ("old:1", "it changed since the plan was made")
        ]
        assert store["old:1"]["pad"] == "in use again"


def test_an_empty_place(store_path: str) -> None:
    """No store, nothing to do, and none is made."""
    with open_store(store_path) as store:
        found = plan(store, enforce())
        assert (found.sessions, found.files) == ((), ())
        apply(store, found)
        assert list_trash(store).items == ()
    assert not os.path.exists(store_path)


# -- transcripts and archives ---------------------------------------------------------------


def test_the_transcript_goes_with_its_last_session(store: SessionStore, tmp_path: Path) -> None:
    """G9: a cron base and its run share an id: the transcript stays until both are gone; topics go along."""
    folder = str(tmp_path)
    store.put("agent:main:cron:j", entry(DAY, "shared"))
    store.put("agent:main:cron:j:run:shared", entry(3 * DAY, "shared"))
    for name in ("o1.jsonl", "o1-topic-5.jsonl", "o1.trajectory.jsonl", "o2x.jsonl", "shared.jsonl", "n1.jsonl"):
        write_transcript(folder, name)
    store.patch("old:2", {"sessionFile": "o2x.jsonl"})
    found = plan(store, enforce(cronRetention="1d"))
    assert actions(found)["agent:main:cron:j:run:shared"] == "prune-cron"
    report = apply(store, found)
    assert report.refused == ()
    archived = {name.partition(".deleted.")[0] for name in names(folder, ".deleted.")}
    assert archived == {"o1.jsonl", "o1-topic-5.jsonl", "o1.trajectory.jsonl", "o2x.jsonl"}
    assert names(folder, "shared") == ["shared.jsonl"]
    store.delete("agent:main:cron:j")
    store.put("agent:main:cron:j", entry(40 * DAY, "shared"))
    apply(store, plan(store, enforce()))
    assert names(folder, "shared")[0].startswith("shared.jsonl.deleted.")


def test_a_transcript_that_got_another_user_since_the_plan_stays(store: SessionStore, tmp_path: Path) -> None:
    """G9: references are counted again before a transcript is touched."""
    write_transcript(str(tmp_path), "o1.jsonl")
    found = plan(store, enforce())
    store.put("late", entry(0, "o1"))
    report = apply(store, found)
    assert [(one.name, one.why_not) for one in report.refused] == [("o1.jsonl", "a session uses it")]
    assert names(str(tmp_path), "o1") == ["o1.jsonl"]


@pytest.mark.parametrize("in_background", [False, True])
def test_a_transcript_that_gets_another_user_while_others_are_archived_stays(
    store: SessionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_background: bool
) -> None:
    """G9: a run over thousands of files takes seconds, in which conversations go on."""
    from sessiondir.maintenance.applying import Applier

    for number in range(5):
        write_transcript(str(tmp_path), f"o{number}.jsonl")
    real, archived = Applier._archive, []

    def archive(self: Applier, *args: Any) -> None:
        real(self, *args)
        archived.append(args[3])
        store.put("late", entry(0, archived[0].removesuffix(".jsonl").translate(_NEXT)))

    monkeypatch.setattr(Applier, "_archive", archive)
    if in_background:
        with contextlib.closing(maintenance.Keeper(store, enforce())) as keeper:
            report = keeper.round()
    else:
        report = apply(store, plan(store, enforce()))
    late = f"{store['late']['sessionId']}.jsonl"
    assert archived[0] != late
    assert [(one.name, one.why_not) for one in report.refused] == [(late, "a session uses it")]
    assert [name for name in names(str(tmp_path), ".jsonl") if name.endswith(".jsonl")] == [late]


def test_a_path_that_leads_elsewhere_takes_no_file_of_that_name_along(store: SessionStore, tmp_path: Path) -> None:
    """G10: only a file that the entry means goes with it; an orphan with the same name waits to be asked for."""
    for name in ("one.jsonl", "two.jsonl", "three.jsonl", "four.jsonl", "o3.jsonl"):
        write_transcript(str(tmp_path), name)
    store.patch("old:0", {"sessionFile": "/elsewhere/agents/a/sessions/one.jsonl"})
    store.patch("old:1", {"sessionFile": "two.jsonl"})
    store.patch("old:2", {"sessionFile": f"{tmp_path}/three.jsonl"})
    store.patch("old:3", {"sessionFile": "/elsewhere/agents/a/sessions/o3.jsonl"})
    store.patch("old:4", {"sessionFile": "/four.jsonl"})
    found = plan(store, enforce())
    taken = {session.key: session.transcripts for session in found.removals if session.transcripts}
    assert taken == {"old:1": ("two.jsonl",), "old:2": ("three.jsonl",), "old:3": ("o3.jsonl",)}
    assert apply(store, found).refused == ()
    assert [name for name in names(str(tmp_path), ".jsonl") if name.endswith(".jsonl")] == [
        "four.jsonl",
        "one.jsonl",
    ]


def test_what_stands_in_the_place_of_a_planned_file_stays_and_is_told(store: SessionStore, tmp_path: Path) -> None:
    """Nothing is reported as deleted that was not: it is gone, a link, or a directory by now."""
    gone, link, made = (f"{name}.jsonl.reset.{stamp(40)}" for name in ("gone", "link", "made"))
    for name in (gone, link, made):
        write_transcript(str(tmp_path), name)
    write_transcript(str(tmp_path), "target")
    found = plan(store, enforce())
    for name in (gone, link, made):
        (tmp_path / name).unlink()
    (tmp_path / link).symlink_to("target")
    (tmp_path / made).mkdir()
    report = apply(store, found)
    assert {one.name: one.why_not for one in report.files} == dict.fromkeys(
        (gone, link, made), "it is not there any more"
    )
    assert report.freed_bytes == 0
    assert (tmp_path / link).is_symlink()
    assert (tmp_path / made).is_dir()
    assert (tmp_path / "target").exists()


def test_orphans_are_listed_and_archived_on_request_only(store: SessionStore, tmp_path: Path) -> None:
    """P10: a transcript without a session is told of; it stays until somebody asks."""
    folder = str(tmp_path)
    write_transcript(folder, "lost.jsonl")
    write_transcript(folder, "n1.jsonl")
    found = plan(store, enforce(maxDiskBytes=1))
    assert [file.name for file in found.orphans] == ["lost.jsonl"]
    assert plan(store, enforce(maxDiskBytes=1)).orphans[0].action == "keep"
    asked = plan(store, Policy(), archive_orphans=True)
    assert [file.action for file in asked.orphans] == ["archive"]
    apply(store, asked)
    assert names(folder, "lost")[0].startswith("lost.jsonl.deleted.")
    assert names(folder, "n1") == ["n1.jsonl"]


def stamp(age_days: float) -> str:
    import time

    seconds = (NOW - age_days * DAY) / 1000
    return time.strftime("%Y-%m-%dT%H-%M-%S.000Z", time.gmtime(seconds))


def test_archives_go_by_the_time_in_their_name(store: SessionStore, tmp_path: Path) -> None:
    """G9: deleted after pruneAfter, reset after its own retention, bak never; modification times do not count."""
    folder = str(tmp_path)
    wanted = {
        f"a.jsonl.deleted.{stamp(31)}": "delete", f"b.jsonl.deleted.{stamp(29)}": "keep",
        f"c.jsonl.reset.{stamp(8)}": "delete", f"d.jsonl.reset.{stamp(6)}": "keep",
        f"e.jsonl.bak.{stamp(300)}": "keep", f"f.jsonl.deleted.{stamp(31)}.zst": "delete",
        f"g.jsonl.deleted.{stamp(-40)}": "keep", "h.jsonl.bak-12-1700000000000": "keep",
    }  # fmt: skip
    for name in wanted:
        write_transcript(folder, name)
    found = plan(store, enforce(resetArchiveRetention="7d"))
    assert {file.name: file.action for file in found.files if file.name in wanted} == wanted
    report = apply(store, found)
    assert report.freed_bytes > 100
    assert set(names(folder, ".jsonl.")) == {name for name, action in wanted.items() if action == "keep"}
    never = plan(store, enforce(resetArchiveRetention=False))
    assert {file.action for file in never.files if ".reset." in file.name} == {"keep"}


def test_the_trash_has_its_own_retention(store: SessionStore, tmp_path: Path) -> None:
    """G9: items and their archives go together when the trash's time is over, and not before."""
    write_transcript(str(tmp_path), "o1.jsonl")
    apply(store, plan(store, enforce(trashRetention="60d")))
    later = Today(NOW + 45 * DAY)
    store.close()
    with open_store(store.path, later) as store:
        store.put("now", {"updatedAt": later.at_ms})
        found = plan(store, enforce(trashRetention="60d"))
        assert {file.action for file in found.files if file.kind == "trash"} == {"keep"}
        assert [f.reason for f in found.files if f.name.startswith("o1.")] == ["its session is in the trash"]
        apply(store, plan(store, enforce(trashRetention="40d")))
        assert not {*OLD} & {*trashed(store)}
        assert names(str(tmp_path), "o1") == []


def test_a_short_age_given_once_leaves_the_trash_alone(store: SessionStore, tmp_path: Path) -> None:
    """G9: sessions removed by the usual age come back, with their transcripts, after a run with a shorter one."""
    write_transcript(str(tmp_path), "o1.jsonl")
    apply(store, plan(store, enforce()))
    later = Today(NOW + 5 * DAY)
    store.close()
    with open_store(store.path, later) as store:
        store.put("now", {"updatedAt": later.at_ms})
        apply(store, plan(store, enforce(pruneAfter="1d")))
        assert {*OLD} <= {*trashed(store)}
        assert maintenance.restore(store, "old:1").transcripts == ("o1.jsonl",)


def test_a_store_that_cannot_be_read_whole_keeps_all_transcripts(
    store: SessionStore, tmp_path: Path, expect_findings: list[str]
) -> None:
    """G8, P10: a damaged session may use any transcript, so none is judged; healthy stale sessions still go."""
    expect_findings += ["error entries/session-", "warning quarantine/"]
    write_transcript(str(tmp_path), "o1.jsonl")
    write_transcript(str(tmp_path), "lost.jsonl")
    store.flush()
    name = next(name for name in os.listdir(f"{store.path}/entries"))
    store.close()
    Path(f"{store.path}/entries/{name}").write_bytes(b"\0\0")
    with open_store(store.path) as store:
        found = plan(store, enforce(), archive_orphans=True)
        assert len(found.problems) == 1
        assert found.orphans == ()
        assert found.blind
        report = apply(store, found)
        assert report.removed
        assert {one.why_not for one in report.refused} <= {"a session that cannot be read may use it"}
        assert names(str(tmp_path), ".jsonl") == ["lost.jsonl", "o1.jsonl"]


def test_stores_that_share_a_folder_leave_each_other_alone(store: SessionStore, tmp_path: Path) -> None:
    """G10: what the store next door uses is not an orphan, and what nobody is known to own is left alone."""
    folder = str(tmp_path)
    for name in ("o1.jsonl", "o2.jsonl", "theirs.jsonl", f"theirs.jsonl.deleted.{stamp(99)}", "nobody.jsonl"):
        write_transcript(folder, name)
    with open_store(f"{folder}/sessions-work.d") as other:
        other.put("x", entry(0, "theirs"))
        other.put("y", entry(0, "o2"))
    (tmp_path / "notes.json").write_text("not a store")
    found = plan(store, enforce(maxDiskBytes=1), archive_orphans=True)
    assert found.orphans == ()
    apply(store, found)
    left = names(folder, ".jsonl")
    assert {"o2.jsonl", "theirs.jsonl", f"theirs.jsonl.deleted.{stamp(99)}", "nobody.jsonl"} <= set(left)
    assert "o1.jsonl" not in left


@pytest.mark.parametrize("asked_for", [False, True])
def test_a_transcript_that_a_store_next_door_got_to_use_since_the_plan_stays(
    store: SessionStore, tmp_path: Path, asked_for: bool
) -> None:
    """G10: as within the store; neither a removed session nor an orphan takes it along."""
    name = "orphan.jsonl" if asked_for else "o1.jsonl"
    write_transcript(str(tmp_path), name)
    found = plan(store, enforce(), archive_orphans=asked_for)
    with open_store(f"{tmp_path}/sessions-work.d") as other:
        other.put("x", entry(0, name.removesuffix(".jsonl")))
    (refused,) = apply(store, found).refused
    assert (refused.name, refused.why_not) == (name, "a session uses it")
    assert names(str(tmp_path), name) == [name]


def test_a_store_next_door_that_became_unreadable_since_the_plan_keeps_all_transcripts(
    store: SessionStore, tmp_path: Path
) -> None:
    """P6: it may have owned everything."""
    write_transcript(str(tmp_path), "o1.jsonl")
    found = plan(store, enforce())
    (tmp_path / "sessions-work.json").write_text("{")
    (refused,) = apply(store, found).refused
    assert (refused.name, refused.why_not) == ("o1.jsonl", "a session that cannot be read may use it")
    assert names(str(tmp_path), "o1") == ["o1.jsonl"]


def test_pointers_to_traces_are_no_stores(store: SessionStore, tmp_path: Path) -> None:
    """G4: a folder has one for each session, and each would be opened and parsed as if it were a legacy store."""
    for name in ("o1.trajectory-path.json", "n1.trajectory-path.json"):
        (tmp_path / name).write_text("rubbish, which as a store would keep all transcripts")
    write_transcript(str(tmp_path), "o1.jsonl")
    found = plan(store, enforce())
    assert found.problems == ()
    assert apply(store, found).refused == ()
    assert names(str(tmp_path), "o1.jsonl.deleted.") != []
    (tmp_path / "-.trajectory-path.json").write_text("rubbish in a file of another name")
    assert plan(store, enforce()).problems == ()  # its name is not that of a gateway's store
    (tmp_path / "sessions.other.json").write_text("rubbish")
    assert len(plan(store, enforce()).problems) == 1


def test_an_unreadable_store_next_door_keeps_all_transcripts(store: SessionStore, tmp_path: Path) -> None:
    """A legacy store of 0 bytes may have owned everything (P6)."""
    write_transcript(str(tmp_path), "o1.jsonl")
    (tmp_path / "sessions-work.json").write_text("")
    (tmp_path / "sessions-work2.json").write_text("{")
    found = plan(store, enforce(), archive_orphans=True)
    assert len(found.problems) == 1
    apply(store, found)
    assert names(str(tmp_path), "o1") == ["o1.jsonl"]


def test_fix_missing_works_in_the_mode_warn(store: SessionStore, tmp_path: Path) -> None:
    """As the legacy command does; a stored path that leads to something elsewhere is not missing."""
    for name in ("n0.jsonl", "n1.jsonl"):
        write_transcript(str(tmp_path), name)
    (tmp_path / "else").mkdir()
    write_transcript(str(tmp_path / "else"), "n2.jsonl")
    store.patch("new:2", {"sessionFile": str(tmp_path / "else" / "n2.jsonl")})
    store.patch("new:3", {"sessionId": "not/an id"})
    store.put("bare", {"updatedAt": NOW})
    found = plan(store, Policy(), fix_missing=True)
    gone = {*OLD, "new:4"}
    assert actions(found) == dict.fromkeys(gone, "prune-missing")
    assert set(apply(store, found).removed) == gone


def test_fix_missing_spares_a_session_that_waits_for_its_first_answer(store: SessionStore, tmp_path: Path) -> None:
    """Agent programs write the transcript with it; only a longer age takes the session."""
    write_transcript(str(tmp_path), "n0.jsonl")
    fill(store, {"first": entry(HOUR, "f"), "late": entry(HOUR + 1, "l")})
    found = plan(store, Policy(), fix_missing=True)
    assert "late" in actions(found)
    (spared,) = (session for session in found.sessions if session.key == "first")
    assert (spared.action, spared.reason) == ("keep", "its transcript is not there; updated within 1 h")
    assert "first" not in apply(store, found).removed
    assert "first" in actions(plan(store, Policy(grace_ms=0), fix_missing=True))
    assert actions(plan(store, Policy(prune_after_ms=HOUR - 1), fix_missing=True))["first"] == "prune-stale"


def test_fix_missing_deletes_nothing_for_good_in_the_mode_warn(store: SessionStore, tmp_path: Path) -> None:
    """A budget that only warns leaves what was removed, and its trace, to be restored."""
    write_transcript(str(tmp_path), "n4.trajectory.jsonl")
    found = plan(store, Policy(max_disk_bytes=1), fix_missing=True)
    assert set(apply(store, found).removed) == set(trashed(store)) >= {"new:4", *OLD}
    assert names(str(tmp_path), "n4.trajectory.jsonl.deleted.") != []
    assert maintenance.restore(store, "new:4").transcripts == ("n4.trajectory.jsonl",)
    found = plan(store, enforce(maxDiskBytes=1), fix_missing=True)
    assert all(session.for_good for session in found.removals)


# -- the disk budget ------------------------------------------------------------------------


def sized(store: SessionStore, folder: str) -> None:
    """Ten sessions of some 1,200 bytes with transcripts of 5,000, level on disk."""
    fill(store, {f"s:{number}": entry((20 - number) * DAY, f"s{number}", pad="x" * 1000) for number in range(10)})
    for number in range(10):
        write_transcript(folder, f"s{number}.jsonl", 5000)
    store.close()


def test_the_budget_takes_old_archives_first_then_sessions_for_good(tmp_path: Path, store_path: str) -> None:
    """P8: archives oldest first, then the least recently updated sessions, with their transcripts."""
    folder = str(tmp_path)
    with open_store(store_path) as store:
        sized(store, folder)
    for age in (3, 2, 1):
        write_transcript(folder, f"z.jsonl.reset.{stamp(age)}", 4000)
    with open_store(store_path) as store:
        total = plan(store, enforce()).usage.total
        assert total > 10 * 6200 + 3 * 4000
        assert plan(store, enforce(maxDiskBytes=total)).changes == ()
        found = plan(store, enforce(maxDiskBytes=total - 1, highWaterBytes=total - 4001))
        assert [file.name for file in found.changes] == [f"z.jsonl.reset.{stamp(3)}", f"z.jsonl.reset.{stamp(2)}"]
        assert found.removals == ()
        found = plan(store, enforce(maxDiskBytes=total - 12_000 - 7000), active=["s:0"])
        assert len(found.changes) == 3
        assert next(iter(actions(found).items())) == ("s:1", "evict-budget")
        assert all(session.for_good for session in found.removals)
        report = apply(store, found)
        assert report.refused == ()
        after = plan(store, enforce())
        assert after.usage.total <= found.policy.max_disk_bytes
        assert abs(after.usage.total - found.after_bytes) < 3000
        assert list_trash(store).items == ()
        assert "s0.jsonl" in names(folder, ".jsonl")
        assert names(folder, "s1.") == []


def test_the_budget_counts_everything_but_backups(tmp_path: Path, store_path: str) -> None:
    """P8: journal, session files, trash, quarantine, transcripts, archives; backups when told only."""
    folder = str(tmp_path)
    legacy = tmp_path / "sessions.json"
    legacy.write_text(json.dumps({f"s:{n}": entry(10 * DAY, pad="x" * 1000) for n in range(20)}))
    legacy.chmod(0o600)
    with open_store(store_path) as store:
        store.put("new", entry(0))
        write_transcript(folder, "t.jsonl", 500)
        write_transcript(folder, f"u.jsonl.bak.{stamp(5)}", 600)
        store.flush()
        found = plan(store, enforce())
        usage = found.usage
        inside = sum(os.path.getsize(f"{base}/{name}") for base, _, files in os.walk(store_path) for name in files)
        assert usage.total == inside + 1100
        (backup,) = names(folder, "json.bak.")
        assert usage.backups == os.path.getsize(f"{folder}/{backup}"), "once, although it has two names"
        policy = enforce(maxDiskBytes=usage.total + 100, highWaterBytes=usage.total + 100)
        assert plan(store, policy).changes == ()
        told = plan(store, policy, remove_backups=True)
        assert [file.kind for file in told.changes] == ["archive", "backup", "backup"]
        assert told.removals == ()
        apply(store, plan(store, enforce(maxDiskBytes=1)))
        assert names(folder, "json.bak.") != []
        apply(store, plan(store, policy, remove_backups=True))
        assert names(folder, "json.bak.") != []  # there is room again
        apply(store, plan(store, enforce(maxDiskBytes=1), remove_backups=True))
        assert names(folder, "sessions.json.") == [], "neither the backup nor its second name"


def test_no_session_goes_for_bytes_that_are_not_its_own(tmp_path: Path, store_path: str) -> None:
    """P7, P10: for orphans and other programs' backups a bound is unmet, which is told; sessions do not pay."""
    folder = str(tmp_path)
    with open_store(store_path) as store:
        sized(store, folder)
    write_transcript(folder, "lost.jsonl", 900_000)
    write_transcript(folder, "s1.jsonl.bak-1-1775922659821", 300_000)
    with open_store(store_path) as store:
        found = plan(store, enforce(maxDiskBytes="100kb"))
        assert (found.removals, found.changes) == ((), ())
        (unmet,) = found.unmet
        assert "transcripts that no session uses 878.9 KB" in unmet.reason
        assert "backups of transcripts that agent programs made 293.0 KB" in unmet.reason
        # Asked for, they are archived, and as archives they go before any session.
        asked = plan(store, enforce(maxDiskBytes="400kb"), archive_orphans=True)
        assert (asked.removals, [file.action for file in asked.changes]) == ((), ["archive"])
        assert apply(store, asked).refused == ()
        again = plan(store, enforce(maxDiskBytes="400kb"))
        assert [(file.action, file.kind) for file in again.changes] == [("delete", "archive")]
        assert (again.removals, again.unmet) == ((), ())
        # What is above the bound without them is the sessions' own, and they go for that.
        own = plan(store, enforce(maxDiskBytes="50kb", highWaterBytes="50kb"))
        assert 0 < len(own.removals) < 10


def test_a_long_journal_costs_no_session(store_path: str) -> None:
    """P7: bytes that the next checkpoint frees anyway are freed that way first."""
    with open_store(store_path) as store:
        fill(store, {f"s:{n}": entry(10 * DAY, pad="x" * 1000) for n in range(20)})
        for n in range(300):
            store.patch("s:1", {"pad": f"{n}" * 300, "updatedAt": NOW})
        found = plan(store, enforce(maxDiskBytes="100kb"))
        assert [file.action for file in found.changes] == ["renew"]
        assert found.removals == ()
        assert apply(store, found).refused == ()
        after = plan(store, enforce(maxDiskBytes="100kb"))
        assert after.usage.total < 100 << 10
        assert (after.changes, after.removals) == ((), ())


def test_a_budget_that_cannot_be_met_is_told(store: SessionStore) -> None:
    """F21: everything pinned."""
    found = plan(store, enforce(maxDiskBytes=10, maxEntries=1, pinned=["*"]))
    assert found.removals == ()
    assert {unmet.setting for unmet in found.unmet} == {"maxEntries", "maxDiskBytes"}


def test_sessions_planned_away_anyway_go_for_good_before_others_are_evicted(
    tmp_path: Path, store_path: str
) -> None:
    """The trash keeps nothing that the budget has no room for, and no healthy session pays for it."""
    with open_store(store_path) as store:
        sized(store, str(tmp_path))
    with open_store(store_path) as store:
        total = plan(store, enforce()).usage.total
        found = plan(store, enforce(pruneAfter="16d", maxDiskBytes=total - 1, highWaterBytes=total - 7000))
        assert [(s.key, s.action, s.for_good) for s in found.removals] == [
            ("s:0", "prune-stale", True), ("s:1", "prune-stale", True),
            ("s:2", "prune-stale", False), ("s:3", "prune-stale", False),
        ]  # fmt: skip
        apply(store, found)
        assert trashed(store) == ["s:2", "s:3"]


def test_a_symbolic_link_in_place_of_the_trash(
    store: SessionStore, tmp_path: Path, expect_findings: list[str]
) -> None:
    """G10: nothing is written through a planted link, and nothing is removed then."""
    expect_findings.append("warning trash: a symbolic link")
    (tmp_path / "outside").mkdir()
    os.symlink(tmp_path / "outside", f"{store.path}/trash")
    from sessiondir import UnsafeDirectory

    with pytest.raises(UnsafeDirectory):
        apply(store, maintenance.plan(store, enforce()))
    assert len(store) == 10
    assert os.listdir(tmp_path / "outside") == []


def test_links_and_directories_beside_the_store_are_left_alone(store: SessionStore, tmp_path: Path) -> None:
    """G10: planted names are neither followed, counted nor removed."""
    folder = str(tmp_path)
    (tmp_path / "target").write_text("precious")
    os.symlink(tmp_path / "target", f"{folder}/a.jsonl.deleted.{stamp(90)}")
    os.symlink(tmp_path / "target", f"{folder}/o1.jsonl")
    os.mkdir(f"{folder}/o2.jsonl")
    os.mkdir(f"{folder}/sessions.json.bak.123")
    os.symlink(tmp_path / "target", f"{folder}/sessions.json.bak.124")
    found = plan(store, enforce(maxDiskBytes=1), archive_orphans=True, remove_backups=True)
    apply(store, found)
    assert (tmp_path / "target").read_text() == "precious"
    assert {
        "o1.jsonl",
        "o2.jsonl",
        f"a.jsonl.deleted.{stamp(90)}",
        "sessions.json.bak.123",
        "sessions.json.bak.124",
    } <= set(os.listdir(folder))
    shutil.rmtree(f"{folder}/o2.jsonl")
