"""Names of chat channels: which there are, and which other names they go by.

A process knows the built-in channels. A gateway with plugins knows more; tell it with
``BUILT_IN_CHANNELS.with_plugins(...)``, or take ``SHIPPED_CHANNELS``. A name that nobody knows is kept, in lower
case: another process may know it, so stored names are not to be judged by one's own table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from sessiondir.layout import js_trim
from sessiondir.sessions.values import lowered

INTERNAL: Final = "webchat"
"""The gateway's own channel."""

BUILT_IN_IDS: Final = (
    "telegram", "whatsapp", "discord", "irc", "googlechat", "slack", "signal", "imessage", "line",
)  # fmt: skip
BUILT_IN_ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {"imsg": "imessage", "internet-relay-chat": "irc", "google-chat": "googlechat", "gchat": "googlechat"}
)


@dataclass(frozen=True, slots=True)
class Plugin:
    """A channel that a plugin serves.

    ``has_channels`` says that the plugin knows chats of the kind "channel", as Discord has them.
    A plugin may serve a built-in channel; that is how a process learns ``has_channels`` of it.
    """

    id: str
    aliases: tuple[str, ...] = ()
    has_channels: bool = False


@dataclass(frozen=True)
class Channels:
    """The channels that a process knows. Immutable."""

    plugins: tuple[Plugin, ...] = ()
    _by_name: Mapping[str, Plugin] = field(init=False, repr=False, compare=False)
    _surfaces: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name: dict[str, Plugin] = {}
        for plugin in self.plugins:
            for name in (plugin.id, *plugin.aliases):
                by_name.setdefault(lowered(name), plugin)
        by_name.pop("", None)
        object.__setattr__(self, "_by_name", by_name)
        ids = {js_trim(plugin.id) for plugin in self.plugins}
        object.__setattr__(self, "_surfaces", frozenset({*BUILT_IN_IDS, *ids, INTERNAL} - {""}))

    def with_plugins(self, *plugins: Plugin) -> Channels:
        """These channels and more; where two plugins claim a name, the earlier one has it."""
        return Channels((*self.plugins, *plugins))

    def name(self, raw: object) -> str | None:
        """The channel's own name for what ``raw`` calls it; None for blank text and what is no text."""
        text = lowered(raw)
        if not text:
            return None
        if text == INTERNAL:
            return text
        built_in = self.built_in(text)
        if built_in is not None:
            return built_in
        plugin = self._by_name.get(text)
        return plugin.id if plugin is not None else text

    @staticmethod
    def built_in(raw: object) -> str | None:
        """The built-in channel that ``raw`` names; None for any other."""
        text = lowered(raw)
        name = BUILT_IN_ALIASES.get(text, text)
        return name if name in BUILT_IN_IDS else None

    def is_surface(self, name: str) -> bool:
        """Whether ``name`` is a channel's own name, not an alias, in lower case."""
        return name in self._surfaces

    def has_channels(self, name: str) -> bool:
        """Whether a plugin serves ``name`` (an id or an alias) and knows chats of the kind "channel"."""
        plugin = self._by_name.get(lowered(name))
        return plugin is not None and plugin.has_channels


BUILT_IN_CHANNELS: Final = Channels()
SHIPPED_CHANNELS: Final = BUILT_IN_CHANNELS.with_plugins(
    Plugin("telegram", has_channels=True),
    Plugin("whatsapp"),
    Plugin("discord", has_channels=True),
    Plugin("irc", ("internet-relay-chat",)),
    Plugin("googlechat", ("gchat", "google-chat")),
    Plugin("slack", has_channels=True),
    Plugin("signal"),
    Plugin("imessage", ("imsg",)),
    Plugin("line"),
    Plugin("bluebubbles", ("bb",)),
    Plugin("feishu", ("lark",), has_channels=True),
    Plugin("matrix"),
    Plugin("mattermost", has_channels=True),
    Plugin("msteams", ("teams",), has_channels=True),
    Plugin("nextcloud-talk", ("nc-talk", "nc")),
    Plugin("nostr"),
    Plugin("synology-chat"),
    Plugin("tlon"),
    Plugin("twitch", ("twitch-chat",)),
    Plugin("zalo", ("zl",)),
    Plugin("zalouser", ("zlu",)),
)
"""The plugins that the legacy gateway shipped with in March 2026."""
