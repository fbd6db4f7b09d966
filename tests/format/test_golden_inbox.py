"""The bytes of leases and inboxes on disk, exactly; see ``test_golden``.

``golden/inbox.d`` was written once and is never regenerated.
"""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path
from typing import Any

import pytest
from support.factories import Opener
from support.files import read_layout1
from support.seams import FixedClock

from sessiondir import journal, opening, procfs
from sessiondir.aside import Ack, LeaseChange, Post, Take
from sessiondir.terms import Holder, Term

from .test_golden import STORE_ID, content

GOLDEN = Path(__file__).parent / "golden" / "inbox.d"
BOOT = "11111111-2222-4333-8444-555555555555"


class StandingClock(FixedClock):
    """A clock on which no time passes."""

    def up(self) -> float:  # type: ignore[override]
        return 5000.0


@pytest.fixture(autouse=True)
def known_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a holder says of itself."""
    monkeypatch.setattr(procfs, "boot_id", lambda: BOOT)
    monkeypatch.setattr(procfs, "process_identity", lambda: (42, 777, "4026531836"))
    monkeypatch.setattr(opening, "new_store_id", lambda: STORE_ID)


def write_all(store: Any) -> None:
    """The commits that made the golden store."""
    store.put("leased", {"n": 1})
    store.post(["leased", "nobody"], {"é": [1, None, "\ud83d"]}, id="child-7")
    store.post("leased", "soon over", ttl=60)
    store.post("leased", 1.5, id="gone")
    store.take("leased", 2, ttl=300)
    store.ack("leased", "gone")
    store.lease("leased", "gateway-1/run-42", ttl=60).renew(30)
    store.lease("only leased", "me", ttl=60)
    store.lease("let go", "me", ttl=60).release()


def test_the_store_at_rest_has_these_bytes(open_directory: Opener, store_path: str) -> None:
    """The same commits, made at the same time, leave the same files."""
    store = open_directory(clock=StandingClock())
    write_all(store)
    store.close()
    assert content(Path(store_path)) == content(GOLDEN)


def test_the_golden_store_reads_as_it_was_written(open_directory: Opener, store_path: str) -> None:
    """The checked-in store opens, holds its messages and leases, and can be changed; layout 1 sees the entry."""
    shutil.copytree(GOLDEN, store_path)
    for path in [Path(store_path), *Path(store_path).rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)
    assert read_layout1(store_path) == {"leased": {"n": 1}}
    store = open_directory(clock=StandingClock())
    assert store.check() == []
    assert [(one.id, one.body, one.deliveries) for one in store.peek("leased", taken=True)] == [
        ("child-7", {"é": [1, None, "\ud83d"]}, 1),
        ("@3", "soon over", 1),
    ]
    assert [one.id for one in store.peek("nobody")] == ["child-7"]
    assert store.leases() == []
    assert {one.free for one in store.leases(free=True)} == {"owner died"}
    assert [(one.key, one.owner, one.token, one.ttl_s, one.ends_in_s) for one in store.leases(free=True)] == [
        ("leased", "gateway-1/run-42", 7, 30, 30),
        ("only leased", "me", 9, 60, 60),
    ]
    version = store.version
    store.post("leased", "again", id="gone")
    assert (store.version, store.version_of("leased")) == (version, 1)
    assert store.put("leased", {"n": 2}, if_version=1) == version + 1


def test_the_bytes_of_the_operations() -> None:
    """Each of the four, with and without what may be left out."""
    holder = Holder(60000, 1700000060000, 5060000, BOOT, 42, 777, "4026531836")
    term = Term(10, 20, 30, BOOT)
    text = journal.encode_operations(
        [
            Post("k", 5, b'{"a":[1]}', "id", term),
            Post('k"\ud800', 5, b'"\\ud800"'),
            Take("k", (57, 58), holder),
            Take("k", (57,), None),
            Ack("k", (57,)),
            LeaseChange("k", None, holder, "owner", 5),
            LeaseChange("k", 50, holder),
            LeaseChange("k", 50, None),
        ]
    )
    held = (
        f'{{"ttl":60000,"ends":1700000060000,"until":5060000,"boot":"{BOOT}",'
        '"pid":42,"start":777,"space":"4026531836"}'
    )
    ended = f'{{"ttl":10,"ends":20,"until":30,"boot":"{BOOT}"}}'
    wanted = ",".join(
        [
            f'{{"op":"post","key":"k","at":5,"id":"id","term":{ended},"message":{{"a":[1]}}}}',
            '{"op":"post","key":"k\\"\\ud800","at":5,"message":"\\ud800"}',
            f'{{"op":"take","key":"k","messages":[57,58],"holder":{held}}}',
            '{"op":"take","key":"k","messages":[57]}',
            '{"op":"ack","key":"k","messages":[57]}',
            f'{{"op":"lease","key":"k","at":5,"owner":"owner","holder":{held}}}',
            f'{{"op":"lease","key":"k","token":50,"holder":{held}}}',
            '{"op":"lease","key":"k","token":50}',
        ]
    ).encode()
    assert text == wanted
    body = b'{"v":1,"t":5,"ops":[%b]' % wanted
    line = journal.parse_line(body + b',"crc":"%08x"}\n' % zlib.crc32(body))
    assert journal.encode_operations(line.operations()) == wanted
