"""What is to be kept and for how long: the settings of ``session.maintenance``, and four of our own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from sessiondir.errors import InvalidOption
from sessiondir.maintenance.units import duration_ms, is_unset, size_bytes

Mode = Literal["warn", "enforce"]

DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
_DEFAULT_AGE_MS: Final = 30 * DAY_MS
_LEGACY: Final = (
    "mode", "pruneAfter", "pruneDays", "maxEntries", "rotateBytes", "resetArchiveRetention", "maxDiskBytes",
    "highWaterBytes",
)  # fmt: skip
_OWN: Final = ("cronRetention", "trashRetention", "grace", "pinned")
NAMES: Final = (*_LEGACY, *_OWN)
"""The settings' names, as ``Policy.from_config`` takes them."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What may go and when. ``Policy()`` has the legacy program's defaults and removes nothing.

    Attributes:
        mode: "warn" only tells; "enforce" removes.
        prune_after_ms: sessions not updated for longer are stale.
        max_entries: sessions above this number go, the least recently updated first.
        max_disk_bytes: what the store may take on disk; None: no bound.
        high_water_bytes: where removing for ``max_disk_bytes`` ends; None: four fifths of it.
        reset_archive_retention_ms: age at which ``.reset.`` archives go; None: never.
        cron_retention_ms: age at which the sessions of single cron runs go; None: as others do.
        trash_retention_ms: how long removed sessions stay in the trash; None: for ever.
        grace_ms: a session updated within this time is not removed for ``max_entries``,
            ``max_disk_bytes`` or a missing transcript: conversations under way do not evict each
            other, and have their transcript with the first answer.
        pinned: keys that are never removed; one that ends in ``*`` stands for all that begin so.

    Raises ``InvalidOption`` for values that make no sense together.
    """

    mode: Mode = "warn"
    prune_after_ms: int = _DEFAULT_AGE_MS
    max_entries: int = 500
    max_disk_bytes: int | None = None
    high_water_bytes: int | None = None
    reset_archive_retention_ms: int | None = _DEFAULT_AGE_MS
    cron_retention_ms: int | None = None
    trash_retention_ms: int | None = _DEFAULT_AGE_MS
    grace_ms: int = HOUR_MS
    pinned: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise InvalidOption(f"mode must be 'warn' or 'enforce', not {self.mode!r:.80}")
        if not _is_whole(self.max_entries) or self.max_entries < 1:
            raise InvalidOption(f"maxEntries must be a whole number of at least 1, not {self.max_entries!r:.80}")
        for name in ("prune_after_ms", "grace_ms"):
            _require_amount(name, getattr(self, name), optional=False)
        for name in ("max_disk_bytes", "high_water_bytes", "reset_archive_retention_ms", "cron_retention_ms",
                     "trash_retention_ms"):  # fmt: skip
            _require_amount(name, getattr(self, name), optional=True)
        pinned: object = self.pinned
        if not isinstance(pinned, tuple) or not all(isinstance(key, str) and key for key in pinned):
            raise InvalidOption(f"pinned must be a list of session keys, not {self.pinned!r:.80}")

    @property
    def disk_target_bytes(self) -> int | None:
        """Where removing for the disk budget ends; None without a budget."""
        limit = self.max_disk_bytes
        if limit is None:
            return None
        if self.high_water_bytes is not None:
            return min(self.high_water_bytes, limit)
        return max(limit * 4 // 5, min(limit, 1))

    @classmethod
    def from_config(cls, settings: Mapping[str, Any]) -> Policy:
        """The policy that settings in the legacy form describe.

        Args:
            settings: ``mode``, ``pruneAfter``, ``pruneDays`` (used without ``pruneAfter`` only),
                ``maxEntries``, ``resetArchiveRetention`` (a duration or ``False`` for never),
                ``maxDiskBytes``, ``highWaterBytes``, ``rotateBytes`` (checked; a directory store
                has nothing to rotate); of our own ``cronRetention`` (bare number: hours),
                ``trashRetention`` (``False``: never; by default as ``pruneAfter``, at least 30 days),
                ``grace`` (bare number: minutes), ``pinned``.
                Bare numbers of the other durations are days, of sizes bytes.

        None and blank text mean "not given". Raises ``InvalidOption`` for any other name and for
        every value that cannot be understood; there is no silent default.
        """
        unknown = sorted(str(name) for name in settings if name not in NAMES)
        if unknown:
            raise InvalidOption(f"unknown maintenance setting {unknown[0]!r:.80}; known are {', '.join(NAMES)}")
        given = {name: value for name, value in settings.items() if not is_unset(value)}
        return cls(**_values(given))


def _values(given: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("mode", "pinned"):
        if name in given:
            found[name] = given[name]
    if isinstance(found.get("pinned"), list):
        found["pinned"] = tuple(found["pinned"])
    if "maxEntries" in given:
        found["max_entries"] = _entries(given["maxEntries"])
    for name in ("pruneDays", "pruneAfter"):
        if name in given:
            found["prune_after_ms"] = duration_ms(given[name], "d", name)
    age_ms = found.get("prune_after_ms", _DEFAULT_AGE_MS)
    found["reset_archive_retention_ms"] = _age_or_never(given, "resetArchiveRetention", age_ms)
    # A short age that is given once must not empty the trash of what went by a longer one.
    found["trash_retention_ms"] = _age_or_never(given, "trashRetention", max(age_ms, _DEFAULT_AGE_MS))
    if given.get("cronRetention", False) is not False:
        found["cron_retention_ms"] = duration_ms(given["cronRetention"], "h", "cronRetention")
    if "grace" in given:
        found["grace_ms"] = duration_ms(given["grace"], "m", "grace")
    if "rotateBytes" in given:
        size_bytes(given["rotateBytes"], "rotateBytes")
    if "maxDiskBytes" in given:
        limit = found["max_disk_bytes"] = size_bytes(given["maxDiskBytes"], "maxDiskBytes")
        if "highWaterBytes" in given:
            found["high_water_bytes"] = min(size_bytes(given["highWaterBytes"], "highWaterBytes"), limit)
    elif "highWaterBytes" in given:
        raise InvalidOption("highWaterBytes has no meaning without maxDiskBytes; give both or neither")
    return found


def _entries(value: object) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidOption(f"maxEntries must be a whole number of at least 1, not {value!r:.80}")
    return value


def _age_or_never(given: Mapping[str, Any], name: str, default_ms: int) -> int | None:
    value = given.get(name)
    if value is False:
        return None
    return default_ms if value is None else duration_ms(value, "d", name)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _require_amount(name: str, value: object, *, optional: bool) -> None:
    if (value is None and optional) or (isinstance(value, int) and _is_whole(value) and value >= 0):
        return
    raise InvalidOption(f"{name} must be a whole number of 0 or more, not {value!r:.80}")
