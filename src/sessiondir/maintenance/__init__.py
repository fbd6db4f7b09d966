"""Retention: what goes, when, and how it comes back. Off unless asked for.

    policy = Policy.from_config({"mode": "enforce", "pruneAfter": "30d", "maxEntries": 500})
    planned = plan(store, policy, active=["agent:main:main"])     # changes nothing
    report = apply(store, planned)                                # removed sessions go to the trash
    restore(store, "agent:main:telegram:direct:42")

``Keeper`` does the same in the background of a program that has the store open.
"""

from __future__ import annotations

from sessiondir.maintenance.config import ConfigReading, policy_in, read_config
from sessiondir.maintenance.keeper import Keeper
from sessiondir.maintenance.plan import Outcome, Plan, PlannedFile, PlannedSession, Report, Unmet, Usage
from sessiondir.maintenance.policy import Policy
from sessiondir.maintenance.restoring import Emptied, Restored, TrashListing, empty_trash, list_trash, restore
from sessiondir.maintenance.running import apply, plan
from sessiondir.maintenance.telling import Notice
from sessiondir.trash import Note, TrashItem

__all__ = (
    "ConfigReading",
    "Emptied",
    "Keeper",
    "Note",
    "Notice",
    "Outcome",
    "Plan",
    "PlannedFile",
    "PlannedSession",
    "Policy",
    "Report",
    "Restored",
    "TrashItem",
    "TrashListing",
    "Unmet",
    "Usage",
    "apply",
    "empty_trash",
    "list_trash",
    "plan",
    "policy_in",
    "read_config",
    "restore",
)
