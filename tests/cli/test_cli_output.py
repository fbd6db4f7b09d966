"""How numbers, times and texts are shown."""

from __future__ import annotations

import pytest
from cli_support import command, on_terminal

from sessiondir.cli import output
from sessiondir.cli.show import cut_short


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (9949, "9.9 kB"), (9951, "10 kB"), (999_499, "999 kB"),
        (999_500, "1.0 MB"), (20_000_000, "20 MB"), (5_000_000_000_000, "5000 GB"), (None, ""),
    ],
)  # fmt: skip
def test_sizes(size: int | None, text: str) -> None:
    """Two digits at least, a unit with a thousand to the step."""
    assert output.size_text(size) == text


@pytest.mark.parametrize(
    ("at_ms", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1767225600999, "2026-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59Z"),
        (None, ""),
    ],
)
def test_times(at_ms: int | None, text: str) -> None:
    """UTC, whatever the time zone of the machine."""
    assert output.time_text(at_ms) == text


@pytest.mark.parametrize("at_ms", [1e300, -1e300, 10**30, 253402300800000])
def test_numbers_that_are_no_time(at_ms: float) -> None:
    """They stay numbers; nothing fails."""
    assert output.time_text(at_ms) == str(at_ms)


@pytest.mark.parametrize(
    ("ago_s", "text"),
    [(0, "0 s ago"), (119, "119 s ago"), (120, "2 min ago"), (7200, "2 h ago"), (200_000, "2 days ago"),
     (-300, "in 5 min"), (1e12, "")],
)  # fmt: skip
def test_ages(ago_s: float, text: str) -> None:
    """The largest unit of which there are at least two; the future is said to be one."""
    assert output.age_text(0, ago_s * 1000) == text


def test_clean_text_keeps_what_people_write() -> None:
    """Letters of any script and joined emoji stay; what steers is escaped."""
    text = "Grüße, 日本, שלום, 👩\u200d💻"
    assert output.clean(text) == text
    assert output.clean("a\tb\x1b\x7f\u2028\ud800") == "a\\u0009b\\u001b\\u007f\\u2028\\ud800"


def test_short_values() -> None:
    """One line, and how long it really is."""
    assert output.short({"a": [1, "x"]}) == '{"a":[1,"x"]}'
    assert output.short("x" * 1000).endswith("... (1,002 characters)")
    assert cut_short({"a": ["y" * 600]}) == {"a": ["y" * 500 + "... (100 more characters)"]}


def test_keys_are_not_cut_on_a_narrow_terminal(store_path: str) -> None:
    """On 80 columns the session id gives way, the key does not."""
    from sessiondir import SessionStore

    key = "agent:main:telegram:direct:987654321"
    with SessionStore.open(store_path) as store:
        store.put(key, {"sessionId": "0f8fad5b-d9cb-469f-a165-70867728950e", "updatedAt": 1767225600000})
    shown = on_terminal(command("list", "--store", store_path), COLUMNS="90", NO_COLOR="1")
    assert key in shown
    assert "0f8fad5b" in shown
    assert "70867728950e" not in shown
