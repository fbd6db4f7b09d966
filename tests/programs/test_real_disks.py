"""G1, G2, G8: a disk that is really full, of bytes or of inodes, and a real ext4 (F6, F25)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harness.processes import Worker
from harness.story import errors_of

from programs.mounts import ext4, mounted
from sessiondir import DiskFull, SessionStore

TMPFS = {"bytes": "size=2m,mode=700", "inodes": "size=64m,nr_inodes=40,mode=700"}


def _fill(store: SessionStore, kept: dict[str, dict[str, object]]) -> None:
    """Commit until the disk refuses several times in a row; what was acknowledged goes to ``kept``."""
    refused = number = 0
    while refused < 5 and number < 600:
        number += 1
        key, entry = f"session {number}", {"n": number, "pad": "x" * 4000}
        try:
            store.put(key, entry)
            kept[key] = entry
            if number % 10 == 0:
                store.flush()
            refused = 0
        except DiskFull:
            refused += 1


@pytest.mark.parametrize("what", TMPFS)
def test_g1_a_full_disk(tmp_path: Path, what: str) -> None:
    """Full of bytes or of inodes: typed errors, every acknowledged commit stays, room is all it takes."""
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", TMPFS[what], "tmpfs") as where:
        path = str(where / "sessions.d")
        ballast = [where / f"ballast {number}" for number in range(10)]
        for one in ballast:
            one.write_bytes(b"x" * 4096)
        kept: dict[str, dict[str, object]] = {}
        store = SessionStore.open(path, durability="power", checkpoint_interval=3600)
        try:
            _fill(store, kept)
            with pytest.raises(DiskFull):
                while True:
                    store.put("last", {"pad": os.urandom(300_000).hex()})
                    store.flush()
                    store.put(f"more {store.version}", {"n": 1})
                    store.flush()
            assert {key: store[key] for key in kept} == kept, "reading goes on"
            for one in ballast:
                one.unlink()
            assert store.delete("session 1")
            kept.pop("session 1")
        finally:
            try:
                store.close()
            except DiskFull:
                pass  # the journal has what the files lack
        with SessionStore.open(path, read_only=True) as again:
            found = again.snapshot()
            assert {key: found[key] for key in kept} == kept
            assert "session 1" not in found
            assert not found.damaged
        assert not [text for text in errors_of(path) if "error" in text]


def test_g2_a_real_ext4(tmp_path: Path) -> None:
    """On ext4 in an image, writers are killed with real syncs, the image is mounted again, and all is there."""
    with ext4(tmp_path, 64) as where:
        path = str(where / "sessions.d")
        acknowledged = 0
        for round_ in range(3):
            with Worker("acknowledged", path, name="w", seed=round_, durability="power", **{"from": 0}) as worker:
                acknowledged = max(acknowledged, worker.next()["ready"])
                for _ in range(20):
                    acknowledged = max(acknowledged, worker.next()["n"])
                acknowledged = max([acknowledged, *(said["n"] for said in worker.kill())])
        assert not errors_of(path)
        with SessionStore.open(path) as store:
            assert store["w last"]["n"] in (acknowledged, acknowledged + 1)
            assert acknowledged >= 60
