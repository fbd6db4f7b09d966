"""What an entry of a session store means to an agent gateway.

The store keeps JSON objects and does not ask what is in them. This package knows: session keys,
delivery routes, what an inbound message tells, how deep a sub-agent is nested, and by which
rules entries are merged, loaded and saved. It does to the data exactly what the legacy program
does, so both can work on the same state.

    from sessiondir import SessionStore
    from sessiondir.sessions import record_inbound, update_last_route

    with SessionStore.open("sessions.d") as store:
        record_inbound(store, key, {"From": "telegram:42", "ChatType": "direct", "Surface": "telegram"})
        update_last_route(store, key, channel="telegram", to="42")

Functions that take an entry are pure and leave it as it is; ``hot`` and ``whole`` change stores,
``state``, ``summary`` and ``combined`` read them without a lock.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sessiondir.sessions.acp import acp_data, preserve_acp
    from sessiondir.sessions.canonical import (
        agent_key,
        explicit_key,
        imported_key,
        main_alias,
        message_key,
        request_key,
    )
    from sessiondir.sessions.changes import inbound_change, patch_change, route_change
    from sessiondir.sessions.channels import BUILT_IN_CHANNELS, SHIPPED_CHANNELS, Channels, Plugin
    from sessiondir.sessions.combined import combined_entries, read_combined
    from sessiondir.sessions.depth import by_agent, session_depth
    from sessiondir.sessions.entry import SessionEntry, field, fresh_total_tokens, misfits
    from sessiondir.sessions.group import Group, chat_type, group_display_name, group_of
    from sessiondir.sessions.hot import read_updated_at, record_inbound, update_entry, update_last_route
    from sessiondir.sessions.ids import account_id, account_or_default, agent_id, is_agent_id
    from sessiondir.sessions.inbound import (
        InboundMessage,
        conversation_label,
        group_patch,
        inbound_patch,
        merge_origins,
        origin_of,
    )
    from sessiondir.sessions.keybuild import (
        acp_key,
        agent_scoped_key,
        cron_failure_key,
        cron_key,
        direct_key,
        group_key,
        heartbeat_key,
        hook_key,
        main_key,
        main_name,
        subagent_key,
        thread_key,
    )
    from sessiondir.sessions.keys import (
        AgentKey,
        ThreadKey,
        chat_kind,
        is_acp_key,
        is_cron_key,
        is_cron_run_key,
        is_subagent_key,
        list_kind,
        parse_key,
        split_thread,
        store_key,
        subagent_marks,
        thread_parent,
    )
    from sessiondir.sessions.lookup import Found, Place, find_entry, find_in_stores
    from sessiondir.sessions.merge import merge_entry
    from sessiondir.sessions.normalise import loaded, normal_entry, normal_entry_route, normal_runtime_model
    from sessiondir.sessions.numbers import phone_number
    from sessiondir.sessions.recipients import Recipients, SessionRecipient, choose_recipients, session_recipients
    from sessiondir.sessions.route import Route, merge_routes, normal_route, route_key, route_of, session_route
    from sessiondir.sessions.state import read_entries
    from sessiondir.sessions.summary import Summary, read_summary
    from sessiondir.sessions.whole import normal_entries, save_sessions, update_sessions

__all__ = [
    "BUILT_IN_CHANNELS",
    "SHIPPED_CHANNELS",
    "AgentKey",
    "Channels",
    "Found",
    "Group",
    "InboundMessage",
    "Place",
    "Plugin",
    "Recipients",
    "Route",
    "SessionEntry",
    "SessionRecipient",
    "Summary",
    "ThreadKey",
    "account_id",
    "account_or_default",
    "acp_data",
    "acp_key",
    "agent_id",
    "agent_key",
    "agent_scoped_key",
    "by_agent",
    "chat_kind",
    "chat_type",
    "choose_recipients",
    "combined_entries",
    "conversation_label",
    "cron_failure_key",
    "cron_key",
    "direct_key",
    "explicit_key",
    "field",
    "find_entry",
    "find_in_stores",
    "fresh_total_tokens",
    "group_display_name",
    "group_key",
    "group_of",
    "group_patch",
    "heartbeat_key",
    "hook_key",
    "imported_key",
    "inbound_change",
    "inbound_patch",
    "is_acp_key",
    "is_agent_id",
    "is_cron_key",
    "is_cron_run_key",
    "is_subagent_key",
    "list_kind",
    "loaded",
    "main_alias",
    "main_key",
    "main_name",
    "merge_entry",
    "merge_origins",
    "merge_routes",
    "message_key",
    "misfits",
    "normal_entries",
    "normal_entry",
    "normal_entry_route",
    "normal_route",
    "normal_runtime_model",
    "origin_of",
    "parse_key",
    "patch_change",
    "phone_number",
    "preserve_acp",
    "read_combined",
    "read_entries",
    "read_summary",
    "read_updated_at",
    "record_inbound",
    "request_key",
    "route_change",
    "route_key",
    "route_of",
    "save_sessions",
    "session_depth",
    "session_recipients",
    "session_route",
    "split_thread",
    "store_key",
    "subagent_key",
    "subagent_marks",
    "thread_key",
    "thread_parent",
    "update_entry",
    "update_last_route",
    "update_sessions",
]

# Loaded when first used: a program that only builds keys needs nothing of the rest.
_HOMES = {
    "acp": ("acp_data", "preserve_acp"),
    "canonical": ("agent_key", "explicit_key", "imported_key", "main_alias", "message_key", "request_key"),
    "changes": ("inbound_change", "patch_change", "route_change"),
    "channels": ("BUILT_IN_CHANNELS", "SHIPPED_CHANNELS", "Channels", "Plugin"),
    "combined": ("combined_entries", "read_combined"),
    "depth": ("by_agent", "session_depth"),
    "entry": ("SessionEntry", "field", "fresh_total_tokens", "misfits"),
    "group": ("Group", "chat_type", "group_display_name", "group_of"),
    "hot": ("read_updated_at", "record_inbound", "update_entry", "update_last_route"),
    "ids": ("account_id", "account_or_default", "agent_id", "is_agent_id"),
    "inbound": (
        "InboundMessage",
        "conversation_label",
        "group_patch",
        "inbound_patch",
        "merge_origins",
        "origin_of",
    ),
    "keybuild": (
        "acp_key",
        "agent_scoped_key",
        "cron_failure_key",
        "cron_key",
        "direct_key",
        "group_key",
        "heartbeat_key",
        "hook_key",
        "main_key",
        "main_name",
        "subagent_key",
        "thread_key",
    ),
    "keys": (
        "AgentKey",
        "ThreadKey",
        "chat_kind",
        "is_acp_key",
        "is_cron_key",
        "is_cron_run_key",
        "is_subagent_key",
        "list_kind",
        "parse_key",
        "split_thread",
        "store_key",
        "subagent_marks",
        "thread_parent",
    ),
    "lookup": ("Found", "Place", "find_entry", "find_in_stores"),
    "merge": ("merge_entry",),
    "normalise": ("loaded", "normal_entry", "normal_entry_route", "normal_runtime_model"),
    "numbers": ("phone_number",),
    "recipients": ("Recipients", "SessionRecipient", "choose_recipients", "session_recipients"),
    "route": ("Route", "merge_routes", "normal_route", "route_key", "route_of", "session_route"),
    "state": ("read_entries",),
    "summary": ("Summary", "read_summary"),
    "whole": ("normal_entries", "save_sessions", "update_sessions"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
