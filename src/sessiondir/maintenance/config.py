"""Reading the settings out of a legacy configuration file, forgivingly."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sessiondir.configfile import load_config
from sessiondir.errors import CorruptFile, InvalidOption, InvalidPath, UnreadableFile
from sessiondir.fs import SYSTEM_FS, FileSystem
from sessiondir.maintenance.policy import NAMES, Policy
from sessiondir.maintenance.units import is_unset


@dataclass(frozen=True, slots=True)
class ConfigReading:
    """What a configuration says: the policy, and what could not be used for it, one sentence each.

    ``settings`` are those that were used, as ``Policy.from_config`` takes them.
    """

    policy: Policy
    problems: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


def read_config(path: str, *, env: Mapping[str, str] | None = None, fs: FileSystem = SYSTEM_FS) -> ConfigReading:
    """The policy of a legacy configuration file (JSON5), such as ``openclaw.json``, with what it includes.

    ``env`` is what variables in it stand for; none are set if it is left out.

    Taken are ``session.maintenance`` and, if it is there, ``cron.sessionRetention``. As the
    legacy program does, what is missing or cannot be understood takes its default, and a file
    that cannot be read counts as empty; but everything that was not used is in ``problems``.
    Nothing raises but ``InvalidPath`` for a path that is no text.
    """
    if not isinstance(path, str) or not path or "\0" in path:
        raise InvalidPath("the path of a configuration file must be text", path=repr(path))
    try:
        value = load_config(os.path.expanduser(path), env or {}, fs)
    except (CorruptFile, UnreadableFile) as exc:
        return ConfigReading(Policy(), (f"{exc}; the defaults are used",))
    if value is None:
        return ConfigReading(Policy(), (f"{path}: there is no such file; the defaults are used",))
    return policy_in(value)


def policy_in(config: object) -> ConfigReading:
    """The policy in a parsed configuration; as ``read_config``."""
    problems: list[str] = []
    block = _block(config, ("session", "maintenance"), problems)
    given = {name: value for name, value in block.items() if not is_unset(value)}
    retention = _block(config, ("cron",), problems).get("sessionRetention")
    if retention is not None:
        given["cronRetention"] = retention
    usable: dict[str, Any] = {}
    for name, value in given.items():
        try:
            if name not in NAMES:
                raise InvalidOption(f"{name} is no setting of session.maintenance")
            # highWaterBytes means nothing alone, and each value is judged alone here.
            alone = {name: value} if name != "highWaterBytes" else {name: value, "maxDiskBytes": "1tb"}
            Policy.from_config(alone)
        except InvalidOption as exc:
            problems.append(f"{exc}; it was not used")
        else:
            usable[name] = value
    if "pruneAfter" in given and "pruneAfter" not in usable:
        usable.pop("pruneDays", None)  # it stands in for a setting that is not given, not for a bad one
    if "highWaterBytes" in usable and "maxDiskBytes" not in usable:
        del usable["highWaterBytes"]
        problems.append("highWaterBytes has no meaning without maxDiskBytes; it was not used")
    return ConfigReading(Policy.from_config(usable), tuple(problems), usable)


def _block(config: object, path: tuple[str, ...], problems: list[str]) -> Mapping[str, Any]:
    found, where = config, "the configuration"
    for name in path:
        if not isinstance(found, dict):
            problems.append(f"{where} is not an object; the defaults are used")
            return {}
        found, where = found.get(name), name if where == "the configuration" else f"{where}.{name}"
        if found is None:
            return {}
    if not isinstance(found, dict):
        problems.append(f"{where} is not an object; the defaults are used")
        return {}
    return found
