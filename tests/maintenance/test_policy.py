"""The settings: names, units, defaults, strict in our own interface and forgiving with legacy files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sessiondir import InvalidOption
from sessiondir.maintenance import Policy, read_config
from sessiondir.maintenance.units import beyond_text, duration_ms, duration_text, size_bytes, size_text

from .stores import DAY, HOUR


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("30d", 30 * DAY), ("12h", 12 * HOUR), ("90m", 90 * 60_000), ("1h30m", 90 * 60_000), ("1.5h", 90 * 60_000),
        ("250ms", 250), ("2.5ms", 3), ("7", 7 * DAY), (7, 7 * DAY), (0.5, DAY // 2), ("0", 0), (" 3D ", 3 * DAY),
        ("\ufeff1s", 1000), ("1m1ms", 60_001), (1e-05, 864),
    ],
)  # fmt: skip
def test_durations(value: object, wanted: int) -> None:
    """One number with a unit, or a chain without gaps; a bare number is days here; halves go up."""
    assert duration_ms(value, "d", "pruneAfter") == wanted


@pytest.mark.parametrize(
    "value",
    ["", "-1d", "+1d", "1w", "1h 30m", "1e3", "d", "1d2", "1.d", ".5d", "\u0661d", "1d\x85", True, None, [],
     float("nan"), float("inf"), "9" * 40 + "d", 2**60],
)  # fmt: skip
def test_what_is_no_duration(value: object) -> None:
    """Signs, exponents, weeks, blanks within, other digits, and what JavaScript does not trim."""
    with pytest.raises(InvalidOption, match="pruneAfter"):
        duration_ms(value, "d", "pruneAfter")


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("10mb", 10 << 20), ("10M", 10 << 20), ("1.5k", 1536), ("0.5b", 1), ("2tb", 2 << 40), (123, 123), ("12", 12),
     ("1gb", 1 << 30)],
)  # fmt: skip
def test_sizes(value: object, wanted: int) -> None:
    """Powers of 1024, decimals, rounded half up."""
    assert size_bytes(value, "maxDiskBytes") == wanted


@pytest.mark.parametrize("value", ["", "10 mb", "-1", "1kib", "mb", "1e3", True, None])
def test_what_is_no_size(value: object) -> None:
    """Nothing is guessed."""
    with pytest.raises(InvalidOption, match="maxDiskBytes"):
        size_bytes(value, "maxDiskBytes")


_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": HOUR, "d": DAY}
_UNITS_BYTES = {
    "": 1, "b": 1, "k": 2**10, "kb": 2**10, "m": 2**20, "mb": 2**20, "g": 2**30, "gb": 2**30, "t": 2**40,
    "tb": 2**40,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("pruneAfter", DAY), ("pruneDays", DAY), ("resetArchiveRetention", DAY), ("trashRetention", DAY),
        ("cronRetention", HOUR), ("grace", 60_000),
    ],
)  # fmt: skip
def test_every_duration_in_every_unit(name: str, bare: int) -> None:
    """Each setting takes each unit in either case; what a bare number counts is the setting's own."""
    attribute = {
        "pruneAfter": "prune_after_ms", "pruneDays": "prune_after_ms", "trashRetention": "trash_retention_ms",
        "resetArchiveRetention": "reset_archive_retention_ms", "cronRetention": "cron_retention_ms",
        "grace": "grace_ms",
    }[name]  # fmt: skip
    for unit, ms in _UNITS_MS.items():
        for text in (f"3{unit}", f"3{unit.upper()}", f" 3{unit} ", f"3.0{unit}"):
            assert getattr(Policy.from_config({name: text}), attribute) == 3 * ms, text
    for value in (3, 3.0, "3", " 3 "):
        assert getattr(Policy.from_config({name: value}), attribute) == 3 * bare, value


@pytest.mark.parametrize("name", ["maxDiskBytes", "highWaterBytes", "rotateBytes"])
def test_every_size_in_every_unit(name: str) -> None:
    """Powers of 1024, in either case, with decimals; a high-water mark is capped at the bound."""
    for unit, size in _UNITS_BYTES.items():
        for text, wanted in ((f"3{unit}", 3 * size), (f"3{unit.upper()}", 3 * size), (f"2.5{unit}", 2.5 * size)):
            given = {name: text} if name != "highWaterBytes" else {name: text, "maxDiskBytes": "100tb"}
            policy = Policy.from_config(given)
            if name == "rotateBytes":
                assert policy == Policy(), "checked, and of no effect"
                continue
            found = policy.max_disk_bytes if name == "maxDiskBytes" else policy.disk_target_bytes
            assert found == int(wanted + 0.5), text


@pytest.mark.parametrize("name", ["pruneAfter", "maxEntries", "maxDiskBytes", "highWaterBytes", "mode",
                                  "resetArchiveRetention", "rotateBytes", "pruneDays"])  # fmt: skip
def test_null_and_blank_stand_for_nothing_given(name: str) -> None:
    """As in the legacy configuration: null, absent and empty text are unset."""
    for value in (None, "", "  "):
        assert Policy.from_config({name: value}) == Policy()
    assert Policy.from_config({"pruneAfter": "", "pruneDays": 3}).prune_after_ms == 3 * DAY


def test_defaults() -> None:
    """Those of the legacy program; nothing is enforced."""
    for policy in (Policy(), Policy.from_config({}), Policy.from_config({"mode": None, "pruneAfter": " "})):
        assert (policy.mode, policy.prune_after_ms, policy.max_entries) == ("warn", 30 * DAY, 500)
        assert (policy.max_disk_bytes, policy.disk_target_bytes) == (None, None)
        assert policy.reset_archive_retention_ms == policy.trash_retention_ms == 30 * DAY
        assert (policy.cron_retention_ms, policy.grace_ms, policy.pinned) == (None, HOUR, ())


def test_every_setting() -> None:
    """Each is taken, and those that follow another do."""
    policy = Policy.from_config(
        {"mode": "enforce", "pruneAfter": "10d", "pruneDays": 99, "maxEntries": 7.0, "rotateBytes": "1mb",
         "resetArchiveRetention": False, "maxDiskBytes": "1kb", "highWaterBytes": "2kb", "cronRetention": 24,
         "trashRetention": "3d", "grace": 5, "pinned": ["a", "b:*"]}
    )  # fmt: skip
    assert policy == Policy(
        mode="enforce", prune_after_ms=10 * DAY, max_entries=7, max_disk_bytes=1024, high_water_bytes=1024,
        reset_archive_retention_ms=None, cron_retention_ms=DAY, trash_retention_ms=3 * DAY, grace_ms=5 * 60_000,
        pinned=("a", "b:*"),
    )  # fmt: skip
    assert Policy.from_config({"pruneDays": 3}).prune_after_ms == 3 * DAY
    assert Policy.from_config({"pruneAfter": "3d"}).reset_archive_retention_ms == 3 * DAY
    assert Policy.from_config({"maxDiskBytes": 1001}).disk_target_bytes == 800
    assert Policy.from_config({"maxDiskBytes": 1}).disk_target_bytes == 1
    assert Policy.from_config({"maxDiskBytes": 0}).disk_target_bytes == 0


@pytest.mark.parametrize(
    "settings",
    [{"mode": "on"}, {"pruneafter": "1d"}, {"maxEntries": 0}, {"maxEntries": "5"}, {"maxEntries": 1.5},
     {"maxEntries": True}, {"pruneAfter": -1}, {"pruneAfter": "soon"}, {"pruneDays": "x"}, {"rotateBytes": "x"},
     {"highWaterBytes": 1},
     {"resetArchiveRetention": True}, {"trashRetention": "x"}, {"pinned": "main"}, {"pinned": [1]}, {"grace": -1},
     {"cronRetention": "x"}, {"maxDiskBytes": "all"}],
)  # fmt: skip
def test_what_cannot_be_understood_is_an_error(settings: dict[str, Any]) -> None:
    """G9: an unknown name or an unparsable value is no silent default (P9)."""
    with pytest.raises(InvalidOption):
        Policy.from_config(settings)


@pytest.mark.parametrize(
    "options", [{"prune_after_ms": -1}, {"max_entries": 0}, {"grace_ms": 1.5}, {"max_disk_bytes": -1}]
)
def test_a_policy_made_by_hand_is_checked(options: dict[str, Any]) -> None:
    """The same holds for the class itself."""
    with pytest.raises(InvalidOption):
        Policy(**options)


def read(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "openclaw.json"
    path.write_text(text)
    return read_config(str(path))


def test_the_trash_is_kept_for_thirty_days_unless_told() -> None:
    """A longer ``pruneAfter`` lengthens it, a shorter one does not shorten it."""
    for prune_after, days in (("0", 30), ("1h", 30), ("30d", 30), ("90d", 90)):
        assert Policy.from_config({"pruneAfter": prune_after}).trash_retention_ms == days * DAY
    assert Policy.from_config({"pruneAfter": "90d", "trashRetention": "1h"}).trash_retention_ms == HOUR
    assert Policy.from_config({"pruneAfter": "1h", "trashRetention": False}).trash_retention_ms is None


def test_a_legacy_file_is_read_forgivingly(tmp_path: Path) -> None:
    """JSON5; what cannot be used takes its default and is told."""
    reading = read(
        tmp_path,
        """{ // of a person
          session: { maintenance: { mode: 'enforce', pruneAfter: '14d', maxEntries: 'many', tpyo: 1,
                                    rotateBytes: '', }, },
          cron: { sessionRetention: 48 }, }""",
    )
    assert reading.policy == Policy(
        mode="enforce", prune_after_ms=14 * DAY, cron_retention_ms=48 * HOUR,
        reset_archive_retention_ms=14 * DAY, trash_retention_ms=30 * DAY,
    )  # fmt: skip
    assert len(reading.problems) == 2
    assert "maxEntries" in reading.problems[0]
    assert "tpyo" in reading.problems[1]
    assert reading.settings.keys() == {"mode", "pruneAfter", "cronRetention"}


@pytest.mark.parametrize(
    ("text", "problems"),
    [("{}", 0), ("{session: null}", 0), ("[]", 1), ("{session: 1}", 1), ("", 1), ("{", 1), ("\0", 1),
     ("{session: {maintenance: {highWaterBytes: 1}}}", 1), ("{cron: {sessionRetention: false}}", 0)],
)  # fmt: skip
def test_odd_files_give_the_defaults(tmp_path: Path, text: str, problems: int) -> None:
    """Whatever is in the file, the defaults hold and what was wrong is said."""
    reading = read(tmp_path, text)
    assert reading.policy == Policy()
    assert len(reading.problems) == problems


def test_a_bad_prune_after_is_not_replaced_by_the_deprecated_setting(tmp_path: Path) -> None:
    """``pruneDays`` stands in for a setting that is not given only."""
    reading = read(tmp_path, "{session: {maintenance: {pruneAfter: 'x', pruneDays: 3}}}")
    assert reading.policy.prune_after_ms == 30 * DAY


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """No file, no settings, and a sentence."""
    reading = read_config(str(tmp_path / "nope.json"))
    assert (reading.policy, len(reading.problems)) == (Policy(), 1)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (DAY, "1 day"),
        (30 * DAY, "30 days"),
        (5_400_000, "90 min"),
        (36.5 * DAY, "36.5 days"),
        (999, "999 ms"),
        (0, "0 ms"),
    ],
)
def test_durations_for_people(ms: float, text: str) -> None:
    """The largest unit that gives at least two, or exactly one."""
    assert duration_text(ms) == text


def test_a_time_and_its_limit_never_look_the_same() -> None:
    """Nobody has to wonder why 30 days are more than 30 days."""
    limit_ms = 30 * 86_400_000
    assert beyond_text(limit_ms + 1, limit_ms) == "just over 30 days"
    assert beyond_text(limit_ms + 86_400_000, limit_ms) == "31 days"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KB"),
        (10 << 20, "10.0 MB"),
        (3 << 40, "3.0 TB"),
        (1 << 60, "1048576.0 TB"),
    ],
)
def test_sizes_for_people(size: int, text: str) -> None:
    """In the units that the settings count in."""
    assert size_text(size) == text


def test_included_files_and_variables_count(tmp_path: Path) -> None:
    """As where stores are looked for: settings may stand in a file that is included."""
    (tmp_path / "more.json5").write_text("{session: {maintenance: {maxEntries: 7, pruneAfter: '${AGE}'}}}")
    path = tmp_path / "openclaw.json"
    path.write_text("{$include: './more.json5', session: {maintenance: {mode: 'enforce'}}}")
    reading = read_config(str(path), env={"AGE": "3d"})
    assert (reading.policy.max_entries, reading.policy.mode, reading.problems) == (7, "enforce", ())
    assert reading.policy.prune_after_ms == 3 * DAY
    assert "pruneAfter" in read_config(str(path)).problems[0]
