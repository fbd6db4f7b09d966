"""``logs``, ``usage`` and ``search``: what they print, for whom, and what they leave alone."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from cli_support import Run, command, environment, on_terminal, run_process
from support.files import listing

from sessiondir.transcripts import TranscriptFolder


def record(day: int, role: str, content: Any, **more: Any) -> dict[str, Any]:
    """A message of a day in March 2026."""
    stamp = f"2026-03-{day:02d}T12:00:00.000Z"
    return {"type": "message", "timestamp": stamp, "message": {"role": role, "content": content, **more}}


def answer(day: int, model: str, cost: float, text: str = "fine") -> dict[str, Any]:
    """An answer with usage."""
    usage = {
        "input": 100,
        "output": 10,
        "cacheRead": 5,
        "cacheWrite": 0,
        "totalTokens": 115,
        "cost": {"total": cost},
    }
    return record(day, "assistant", [{"type": "text", "text": text}], provider="acme", model=model, usage=usage)


CALL = record(3, "assistant", [{"type": "toolCall", "name": "exec", "arguments": {"cmd": "ls \x1b[31m"}}])
RESULT = record(3, "toolResult", [{"type": "text", "text": "a.txt"}], toolName="exec")


@pytest.fixture
def folder(store_path: str) -> Path:
    """Transcripts beside the store: one of ``agent:main:main``, one that was reset, one of no session."""
    with TranscriptFolder.beside(store_path, durability="process") as folder:
        old = folder.transcript("s-main")
        old.extend([record(1, "user", "before the Überreset"), answer(1, "small", 0.25)])
        old.clear()
        main = folder.transcript("s-main")
        main.begin(cwd="/w")
        main.extend([record(2, "user", "hello\nthere"), answer(2, "large", 1.0, "General Kenobi"), CALL, RESULT])
        folder.transcript("nobody").append(answer(3, "large", 0.5))
        return Path(folder.path)


def lines(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines()]


def test_logs_through_a_pipe(run: Run, store_path: str, folder: Path) -> None:
    """A line a record, with nothing that could steer a terminal."""
    shown = lines(run("logs", "agent:main:main", "--store", store_path).stdout)
    assert [line[1] for line in shown] == ["session", "user", "assistant", "assistant", "toolResult"]
    assert shown[1] == ["2026-03-02T12:00:00Z", "user", "hello\\u000athere"]
    assert shown[3][2] == '[exec {"cmd":"ls \\u001b[31m"}]'


@pytest.mark.parametrize(
    ("options", "roles"),
    [
        (["--tail", "2"], ["assistant", "toolResult"]),
        (["--tail", "0"], []),
        (["--tail", "99"], ["session", "user", "assistant", "assistant", "toolResult"]),
        (["--role", "assistant", "--tail", "1"], ["assistant"]),
        (["--role", "user", "--role", "session"], ["session", "user"]),
        (["--tool", "exec"], ["assistant", "toolResult"]),
        (["--tool", "exec", "--role", "toolResult"], ["toolResult"]),
        (["--tool", "nothing"], []),
    ],
)  # fmt: skip
def test_logs_that_match(run: Run, store_path: str, folder: Path, options: list[str], roles: list[str]) -> None:
    """--tail counts what matches."""
    assert [line[1] for line in lines(run("logs", "s-main", *options, "--store", store_path).stdout)] == roles


def test_logs_as_json_are_the_records(run: Run, store_path: str, folder: Path) -> None:
    """Each on a line, unchanged; also those of an archive, named by its file."""
    shown = run("logs", "agent:main:main", "--json", "--store", store_path).stdout
    assert [json.loads(line) for line in shown.splitlines()][3:] == [CALL, RESULT]
    archived = next(path.name for path in folder.iterdir() if ".reset." in path.name)
    assert "before the Überreset" in run("logs", archived, "--store", store_path).stdout


def test_logs_of_a_compressed_archive(run: Run, store_path: str, folder: Path) -> None:
    """It is read as any other."""
    pytest.importorskip("zstandard", reason="the package zstandard is not installed")
    with TranscriptFolder.open(folder) as opened:
        packed = opened.compress(next(path.name for path in folder.iterdir() if ".reset." in path.name))
    assert len(lines(run("logs", packed, "--store", store_path).stdout)) == 2
    assert [line[1] for line in lines(run("logs", packed, "--tail", "1", "--store", store_path).stdout)] == [
        "assistant"
    ]
    assert "Überreset" in run("search", "Überreset", "--store", store_path).stdout


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["logs", "nope"], 10, "there is no session 'nope'"),
        (["logs", "agent:main:telegram:direct:42"], 10, "has no transcript"),
        (["logs", "agent:main:main", "--timeout", "1"], 2, "--timeout goes with --follow"),
        (["search", ""], 2, "TEXT is empty"),
        (["search", "x", "--since", "yesterday"], 2, "neither a time span"),
        (["search", "x", "--session", "nope"], 10, "there is no session"),
        (["usage", "--csv", "--json"], 2, "exclude"),
        (["usage", "--by", "hour"], 2, "by"),
        (["usage", "--since", "99999999d"], 2, "neither a time span"),
    ],
)  # fmt: skip
def test_mistakes(run: Run, store_path: str, folder: Path, args: list[str], code: int, message: str) -> None:
    """A message and a documented code."""
    assert message in run(*args, "--store", store_path, code=code).stderr


def test_a_session_that_leads_out_of_the_folder(run: Run, store_path: str, folder: Path, tmp_path: Path) -> None:
    """G10: what an entry names elsewhere is not read; a link in the folder is refused."""
    from sessiondir import SessionStore

    secret = tmp_path / "in" / "secret.jsonl"
    secret.parent.mkdir()
    secret.write_text('{"type":"message","message":{"role":"user","content":"SECRET"}}\n', encoding="utf-8")
    (folder / "s-link.jsonl").symlink_to(secret)
    with SessionStore.open(store_path) as store:
        store.put("up", {"sessionId": "x", "sessionFile": "../secret.jsonl"})
        store.put("away", {"sessionId": "x", "sessionFile": "/etc/passwd"})
        store.put("link", {"sessionId": "s-link"})
    assert "leads out of the folder" in run("logs", "up", "--store", store_path, code=2).stderr
    assert "has no transcript" in run("logs", "away", "--store", store_path, code=10).stderr
    assert "not a regular file" in run("logs", "link", "--store", store_path, code=20).stderr
    assert "nothing found" in run("search", "SECRET", "--store", store_path).stderr


def test_following(store_path: str, folder: Path) -> None:
    """What is there, then what comes, each once and at once; an interrupt ends it with 130."""
    with subprocess.Popen(
        command("logs", "agent:main:main", "-f", "--tail", "1", "--role", "user", "--json", "--store", store_path),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["message"]["content"] == "hello\nthere"
        with TranscriptFolder.open(folder) as opened:
            opened.transcript("s-main").append(record(4, "assistant", "no"))
            opened.transcript("s-main").append(record(4, "user", "yes"))
            assert json.loads(process.stdout.readline())["message"]["content"] == "yes"
            opened.transcript("s-main").clear()
            opened.transcript("s-main").append(record(5, "user", "anew"))
        assert json.loads(process.stdout.readline())["message"]["content"] == "anew"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


def test_following_what_is_not_there_yet(run: Run, store_path: str) -> None:
    """A session without a transcript is waited for."""
    assert run("logs", "agent:main:main", "--follow", "--timeout", "0", "--store", store_path).stdout == ""


def test_usage_by_day_model_and_session(run: Run, store_path: str, folder: Path) -> None:
    """Live and reset transcripts count, each answer once."""
    shown = run("usage", "--store", store_path).stdout
    assert lines(shown) == [
        ["2026-03-01", "1", "100", "10", "5", "115", "0.250000"],
        ["2026-03-02", "1", "100", "10", "5", "115", "1.000000"],
        ["2026-03-03", "1", "100", "10", "5", "115", "0.500000"],
    ]
    told = json.loads(run("usage", "--by", "model", "--json", "--store", store_path).stdout)
    assert [(item["model"], item["answers"], item["cost"]) for item in told["items"]] == [
        ("acme/large", 2, 1.5), ("acme/small", 1, 0.25),
    ]  # fmt: skip
    assert told["total"] == {
        "answers": 3, "input": 300, "output": 30, "cacheRead": 15, "cacheWrite": 0, "totalTokens": 345,
        "cost": 1.75,
    }  # fmt: skip
    assert (told["records"], told["tools"]) == (8, {"exec": 1})
    assert told["roles"] == {"user": 2, "assistant": 4, "toolResult": 1}
    rows = list(csv.reader(io.StringIO(run("usage", "--by", "session", "--csv", "--store", store_path).stdout)))
    assert rows[0] == ["session", "answers", "input", "output", "cacheRead", "cacheWrite", "totalTokens", "cost"]
    assert [(row[0], row[-1]) for row in rows[1:]] == [("agent:main:main", "1.25"), ("nobody", "0.5")]


def test_usage_since(run: Run, store_path: str, folder: Path) -> None:
    """Dates, times and time spans; nothing is said plainly."""
    for since, days in (
        ("2026-03-02", 2),
        ("2026-03-02T12:00:01", 1),
        ("2026-03-02T13:00:00+01:00", 2),
        ("9999d", 3),
    ):
        assert len(lines(run("usage", "--since", since, "--store", store_path).stdout)) == days
    empty = run("usage", "--since", "1s", "--store", store_path)
    assert (empty.stdout, empty.stderr) == ("", "no answers with usage in these transcripts\n")


def test_usage_on_a_terminal_has_bars(store_path: str, folder: Path) -> None:
    """The longest is full, half the cost is half as long; plain characters where there are no blocks."""
    shown = on_terminal(command("usage", "--store", store_path), NO_COLOR="1", PYTHONIOENCODING="utf-8")
    rows = [line for line in shown.splitlines() if line.startswith("2026")]
    assert [row.count("█") for row in rows] == [6, 24, 12]
    assert "total" in shown
    plain = on_terminal(command("usage", "--store", store_path), NO_COLOR="1", PYTHONIOENCODING="ascii")
    assert "█" not in plain
    assert "#" * 24 in plain


def test_usage_on_a_narrow_terminal(store_path: str, folder: Path) -> None:
    """The bars get shorter and go; nothing is folded, and no number is cut so that it looks like another."""
    for width, bars in ((75, [4, 16, 8]), (60, [0, 0, 0]), (40, [0, 0, 0])):
        shown = on_terminal(
            command("usage", "--store", store_path), NO_COLOR="1", PYTHONIOENCODING="utf-8", COLUMNS=str(width)
        )
        rows = shown.splitlines()[-4:-1]  # between the titles and the total
        assert all(len(row.rstrip()) <= width for row in rows)
        if width > 50:
            assert [row.split()[0] for row in rows] == ["2026-03-01", "2026-03-02", "2026-03-03"]
            assert [row.count("█") for row in rows] == bars
            assert [row.split()[6] for row in rows] == ["$0.25", "$1.00", "$0.50"]
        else:
            assert all("…" in row for row in rows)


def test_names_that_a_spreadsheet_would_run(run: Run, store_path: str, folder: Path) -> None:
    """CSV cells that look like formulas are marked as text."""
    from sessiondir import SessionStore

    with SessionStore.open(store_path) as store:
        store.put("=cmd|'/c calc'!A1", {"sessionId": "nobody"})
    shown = run("usage", "--by", "session", "--csv", "--store", store_path).stdout
    assert "\n'=cmd|" in shown


def test_search(run: Run, store_path: str, folder: Path) -> None:
    """Session, time, role and the text around it."""
    assert lines(run("search", "hello", "--store", store_path).stdout) == [
        ["agent:main:main", "2026-03-02T12:00:00Z", "user", "hello there"]
    ]
    assert run("search", "nowhere", "--store", store_path).stderr == "nothing found\n"
    found = json.loads(run("search", "a.txt", "--json", "--store", store_path).stdout)
    assert (found["session"], found["file"], found["role"], found["text"]) == (
        "agent:main:main", "s-main.jsonl", "toolResult", "a.txt",
    )  # fmt: skip
    with (folder / found["file"]).open("rb") as file:
        file.seek(found["offset"])
        assert json.loads(file.readline()) == RESULT


@pytest.mark.parametrize(
    ("args", "found"),
    [
        (["kenobi"], True), (["Kenobi"], True), (["KENOBI"], False), (["-i", "KENOBI"], True),
        (["-s", "kenobi"], False), (["-s", "Kenobi"], True), (["überreset"], True), (["überRESET"], False),
        (["-i", "überRESET"], True), (["-s", "überreset"], False), (["general kenobi"], True),
    ],
)  # fmt: skip
def test_case_counts_where_text_has_upper_case(
    run: Run, store_path: str, folder: Path, args: list[str], found: bool
) -> None:
    """`rome` finds Rome; whoever writes an upper-case letter means it; both can be told otherwise."""
    result = run("search", *args, "--store", store_path)
    assert len(lines(result.stdout)) == found
    if not found:
        assert "case counted" in result.stderr


def test_letters_that_have_ascii_in_another_case(run: Run, store_path: str, folder: Path) -> None:
    """The quick look at the bytes of a line overlooks nothing that looking at its text finds."""
    content = "\u212aelvin, lo\u017ft, \u0130stanbul"
    (folder / "odd.jsonl").write_text(
        json.dumps(record(5, "user", content), ensure_ascii=False) + "\n", encoding="utf-8"
    )
    for text in ("kelvin", "lost", "istanbul"):
        assert [line[0] for line in lines(run("search", text, "--store", store_path).stdout)] == ["odd"], text
    run("search", "-i", "-s", "x", "--store", store_path, code=2)


def test_search_finds_what_json_escapes(run: Run, store_path: str, folder: Path) -> None:
    """Texts are compared, not bytes: escapes of any writer, quotes and line ends."""
    (folder / "odd.jsonl").write_text(
        '{"type":"message",'
        '"message":{"role":"user","content":"\\u0068idden \\"quoted\\" \\u00e9t\\u00e9\\nnext"}}\n',
        encoding="utf-8",
    )
    for text in ("hidden", '"quoted"', "été", "quoted", "next", "ÉTÉ"):
        shown = lines(run("search", "-i", text, "--store", store_path).stdout)
        assert [line[0] for line in shown] == ["odd"], text


def test_search_within(run: Run, store_path: str, folder: Path) -> None:
    """One session, one role, a limit, a time."""
    everything = lines(run("search", "e", "--store", store_path).stdout)
    assert len(everything) > 4
    assert len(lines(run("search", "e", "--limit", "2", "--store", store_path).stdout)) == 2
    assert {line[2] for line in lines(run("search", "e", "--role", "user", "--store", store_path).stdout)} == {
        "user"
    }
    assert [
        line[0] for line in lines(run("search", "fine", "--session", "nobody", "--store", store_path).stdout)
    ] == ["nobody"]
    assert len(lines(run("search", "fine", "--since", "2026-03-02", "--store", store_path).stdout)) == 1


def test_one_bad_file_costs_itself(run: Run, store_path: str, folder: Path) -> None:
    """G8: a damaged archive and damaged lines are told, the rest is searched and counted."""
    (folder / "bad.jsonl.reset.2026-01-01T00-00-00.000Z.zst").write_bytes(b"rubbish")
    with (folder / "s-main.jsonl").open("ab") as file:
        file.write(b"rubbish\n")
    for args in (["search", "hello"], ["usage"]):
        result = run(*args, "--store", store_path)
        assert "bad.jsonl.reset" in result.stderr
        assert result.stdout
    assert "1 lines were not counted: damaged" in run("usage", "--store", store_path).stderr


def test_reading_changes_nothing(run: Run, store_path: str, folder: Path) -> None:
    """None of the three writes anything."""
    before = listing(folder)
    for args in (["logs", "agent:main:main"], ["usage"], ["search", "hello"], ["usage", "--by", "session"]):
        run(*args, "--store", store_path)
    assert listing(folder) == before


def test_a_progress_bar_is_for_people(store_path: str, folder: Path) -> None:
    """It is drawn on a terminal and never mixed into data."""
    big = folder / "big.jsonl"
    line = json.dumps(record(6, "user", "x" * 1000)) + "\n"
    big.write_text(line * 6000, encoding="utf-8")
    assert "searching" in on_terminal(command("search", "nothing like it", "--store", store_path))
    piped = run_process("search", "hello", "--store", store_path)
    assert (piped.stderr, len(piped.stdout.splitlines())) == ("", 1)
    shown = on_terminal(["sh", "-c", f"{' '.join(command('search', 'hello', '--store', store_path))} | cat"])
    assert "hello there" in shown


def test_an_unmigrated_store_has_transcripts_too(run: Run, legacy_path: str) -> None:
    """They lie beside the legacy file, and nothing is migrated."""
    with TranscriptFolder.beside(legacy_path) as folder:
        folder.transcript("s-main").append(answer(1, "m", 2.0))
    before = listing(os.path.dirname(legacy_path))
    assert "assistant" in run("logs", "agent:main:main", "--store", legacy_path).stdout
    assert "agent:main:main" in run("usage", "--by", "session", "--store", legacy_path).stdout
    assert listing(os.path.dirname(legacy_path)) == before


def test_a_large_transcript_is_tailed_at_once(run: Run, store_path: str, folder: Path) -> None:
    """W11: the last record behind a gigabyte."""
    path = folder / "s-42.jsonl"
    with path.open("wb") as file:
        file.seek(1 << 30)
        file.write(b"\n" + json.dumps(record(7, "user", "the end")).encode() + b"\n")
    started = time.monotonic()
    shown = run("logs", "s-42", "--tail", "1", "--store", store_path).stdout
    assert lines(shown)[0][2] == "the end"
    assert time.monotonic() - started < 30
