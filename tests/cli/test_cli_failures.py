"""Mistakes and failures: the exit code, one line on standard error, never a traceback."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cli_support import SOURCE, Run, command, environment, on_terminal, run_process
from click.testing import CliRunner

from sessiondir import SessionStore
from sessiondir.cli import main
from sessiondir.cli.app import COMMANDS
from sessiondir.errors import DiskFull

MAIN = "agent:main:main"


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("list",), 10, "StoreNotFound"),
        (("migrate",), 2, "UsageError"),
        (("list", "--store", ""), 2, "BadParameter"),
        (("delete", "k", "--store", " "), 2, "BadParameter"),
        (("list", "--store", "{tmp}/none.d"), 10, "StoreNotFound"),
        (("list", "--store", "{tmp}/none.json"), 10, "StoreNotFound"),
        (("list", "--store", "{tmp}"), 2, "InvalidPath"),
        (("list", "--store", "/etc/passwd"), 2, "InvalidPath"),
        (("list", "--store", "{store}", "--order", "size"), 2, "BadParameter"),
        (("list", "--store", "{store}", "--limit", "0"), 2, "BadParameter"),
        (("list", "--store", "{store}", "--cursor", "nonsense"), 2, "InvalidOption"),
        (("list", "--store", "{store}", "--nope"), 2, "NoSuchOption"),
        (("nope",), 2, None),
        (("get", "--store", "{store}"), 2, "MissingParameter"),
        (("get", "nope", "--store", "{store}"), 10, "SessionNotFound"),
        (("get", "", "--store", "{store}"), 10, "SessionNotFound"),
        (("show", "__proto__", "--store", "{store}"), 10, "SessionNotFound"),
        (("set", " ", "a=1", "--create", "--store", "{store}"), 2, "InvalidKey"),
        (("set", "__proto__", "a=1", "--create", "--store", "{store}"), 2, "InvalidKey"),
        (("set", "k" * 5000, "a=1", "--create", "--store", "{store}"), 2, "InvalidKey"),
        (("set", MAIN, 'a={"b"', "--store", "{store}"), 2, "UsageError"),
        (("set", MAIN, "a=1", "--lock-timeout", "-1", "--store", "{store}"), 2, "BadParameter"),
        (("delete", "nope", "--store", "{store}"), 10, "SessionNotFound"),
        (("watch", "--since", "x", "--store", "{store}"), 2, "BadParameter"),
    ],
)
def test_mistakes(
    run: Run, store_path: str, tmp_path: Path, arguments: tuple[str, ...], code: int, error: str
) -> None:
    """One line for people, one object for programs, nothing on standard output."""
    filled = [
        text.format(tmp=tmp_path, store=store_path) if "{" in text[:7] and "}" in text else text
        for text in arguments
    ]
    plain = run(*filled, code=code)
    assert plain.stdout == ""
    assert plain.stderr.count("\n") == 1
    assert plain.stderr.startswith("sessiondir: ")
    told = run(*filled, "--json", code=code)
    assert told.stdout == ""
    found = json.loads(told.stderr)
    assert found["exitCode"] == code
    assert found["message"] in plain.stderr
    if error is not None:
        assert found["error"] == error


def test_where_the_store_comes_from(run: Run, store_path: str, legacy_path: str, tmp_path: Path) -> None:
    """The command's own --store, else the one before the command, else the variable."""
    missing = str(tmp_path / "none.d")
    run("list", env={"SESSIONDIR_STORE": store_path})
    run("migrate", env={"SESSIONDIR_STORE": ""}, code=2)
    for arguments in (("list",), ("get", "k"), ("set", "k", "a=1"), ("trash", "empty")):
        told = run(*arguments, env={"SESSIONDIR_STORE": ""}, code=10).stderr
        assert "--store" in told and "SESSIONDIR_STORE" in told, arguments
    run("--store", store_path, "list", env={"SESSIONDIR_STORE": missing})
    run("--store", missing, "list", "--store", store_path)
    run("--store", missing, "list", env={"SESSIONDIR_STORE": store_path}, code=10)
    assert json.loads(run("--json", "--store", store_path, "list").stdout)["nextCursor"] is None


def test_a_session_held_by_someone_else(run: Run, store_path: str) -> None:
    """Exit code 11 after the timeout, naming session and holder; other sessions go on."""
    holds, done = threading.Event(), threading.Event()

    def hold(entry: dict[str, object]) -> None:
        holds.set()
        done.wait(30)

    with SessionStore.open(store_path) as store:
        thread = threading.Thread(target=store.update, args=(MAIN, hold))
        thread.start()
        holds.wait(30)
        try:
            result = run_process("set", MAIN, "a=1", "--lock-timeout", "0.05", "--json", "--store", store_path)
            assert run_process("set", "bot:old", "a=1", "--store", store_path).returncode == 0
        finally:
            done.set()
            thread.join()
    assert result.returncode == 11
    told = json.loads(result.stderr)
    assert (told["error"], told["session"], told["retryable"]) == ("LockTimeout", MAIN, True)
    assert told["holderPid"] == os.getpid()


@pytest.mark.expect_findings("FormatTooNew")
def test_a_store_of_a_newer_release(run: Run, store_path: str) -> None:
    """Exit code 14, and nothing is touched."""
    state = Path(store_path) / "state.json"
    text = json.dumps({**json.loads(state.read_text()), "layoutVersion": 99})
    state.write_text(text)
    told = json.loads(run("list", "--store", store_path, "--json", code=14).stderr)
    assert (told["error"], told["found"]) == ("FormatTooNew", 99)
    run("set", MAIN, "a=1", "--store", store_path, code=14)
    assert state.read_text() == text


@pytest.mark.expect_findings("mode 0777")
@pytest.mark.any_modes("the directory is open to everybody")
def test_a_directory_that_others_may_change(run: Run, store_path: str) -> None:
    """Writing is refused with exit code 15; the finding shows in check."""
    Path(store_path).chmod(0o777)
    told = json.loads(run("set", MAIN, "a=1", "--store", store_path, "--json", code=15).stderr)
    assert told["error"] == "UnsafeDirectory"
    assert "UnsafeDirectory" not in run("check", "--store", store_path).output


@pytest.mark.expect_findings(".")
@pytest.mark.any_modes("no store at all")
def test_a_file_where_the_directory_should_be(run: Run, tmp_path: Path) -> None:
    """Not a store: refused, and not replaced."""
    path = tmp_path / "x.d"
    path.write_text("text")
    result = CliRunner().invoke(main, ["list", "--store", str(path)])
    assert result.exit_code in (15, 30)
    assert result.stderr.count("\n") == 1
    assert path.read_text() == "text"


def test_a_damaged_legacy_file_is_not_empty(run: Run, legacy_path: str) -> None:
    """Reading it ends with 20, not with an empty list."""
    Path(legacy_path).write_text('{"a": {')
    for arguments in (("list",), ("get", MAIN), ("info",)):
        told = json.loads(run(*arguments, "--store", legacy_path, "--json", code=20).stderr)
        assert (told["error"], told["path"]) == ("CorruptFile", legacy_path)


def test_a_defect_is_one_line_and_the_traceback_is_to_be_had(
    run: Run, store_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody expected ends with 1; SESSIONDIR_DEBUG=1 shows where."""

    def fail(*args: object, **options: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(SessionStore, "info", fail)
    result = run("info", "--store", store_path, code=1)
    assert result.stderr.count("\n") == 1
    assert "boom" in result.stderr
    shown = CliRunner().invoke(main, ["info", "--store", store_path], env={"SESSIONDIR_DEBUG": "1"})
    assert shown.exit_code == 1
    assert "Traceback" in shown.stderr
    shown = CliRunner().invoke(main, ["list", "--store", "/none.d"], env={"SESSIONDIR_DEBUG": "1"})
    assert "StoreNotFound" in shown.stderr
    assert "Traceback" in shown.stderr


def test_a_reader_that_goes_away(store_path: str) -> None:
    """`sessiondir ... | head -1` is quiet, for much output and for little."""
    with SessionStore.open(store_path) as store:
        store.put("long", {"lines": ["x" * 50] * 20_000})
    for arguments in (("get", "long"), ("get", "bot:old"), ("--help",)):
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "w") as gone:
            result = subprocess.run(
                command(*arguments, "--store", store_path) if arguments != ("--help",) else command("--help"),
                stdout=gone, stderr=subprocess.PIPE, text=True, check=False, timeout=60, env=environment(),
            )  # fmt: skip
        assert result.stderr == ""
        assert result.returncode == 141


def test_nothing_steers_the_terminal(run: Run, store_path: str) -> None:
    """Keys and values of chat users are shown, not obeyed: controls and reordering marks are escaped."""
    key = "evil\x1b[31m\u202egnp\x9b[red]\n"
    with SessionStore.open(store_path) as store:
        store.put(key, {"label": "\x1b]0;title\x07\x9b31m\u2066\ud800", "sessionId": "a\tb", "updatedAt": 1e300})
    found = ""
    for arguments in (
        ("list",), ("list", "--json"), ("show", key), ("get", key), ("watch", "--since", "0", "--timeout", "0"),
        ("set", key, "--unset", "nope"), ("set", key, "x=\x1b[0m"), ("delete", key, "--dry-run"),
    ):  # fmt: skip
        found += run(*arguments, "--store", store_path).output
    found += run("get", "\x1b[0m", "--store", store_path, code=10).output
    found += run("get", key, "\x1b[0m", "--store", store_path, code=10).output
    assert not set(found) & set("\x1b\x07\x9b\u202e\u2066\ud800")
    value = json.loads(run("get", key, "label", "--store", store_path).stdout)
    assert value == "\x1b]0;title\x07\x9b31m\u2066\ud800"


def test_a_terminal_that_is_not_utf_8(store_path: str) -> None:
    """Output stays valid JSON, and nothing fails, whatever the encoding."""
    with SessionStore.open(store_path) as store:
        store.put("kaffee-ö", {"label": "ö日本"})
    for arguments in (
        ("list",),
        ("show", "bot:old"),
        ("list", "--json"),
        ("info",),
        ("watch", "--since", "0", "--timeout", "0"),
    ):
        result = run_process(*arguments, "--store", store_path, PYTHONIOENCODING="ascii")
        assert (result.returncode, result.stderr) == (0, "")
    result = run_process("list", "--json", "--store", store_path, PYTHONIOENCODING="ascii")
    assert "kaffee-ö" in {item["key"] for item in json.loads(result.stdout)["items"]}


def test_no_colour_through_a_pipe_and_colour_on_a_terminal(store_path: str) -> None:
    """Escape codes only where a terminal reads them; NO_COLOR is respected there, too."""
    for arguments in (("list",), ("show", MAIN), ("info",), ("check",), ("list", "--json")):
        result = run_process(*arguments, "--store", store_path, FORCE_COLOR="1", TERM="xterm-256color")
        assert "\x1b" not in result.stdout + result.stderr
    assert "\x1b[" in on_terminal(command("list", "--store", store_path))
    assert "SESSION ID" in on_terminal(command("list", "--store", store_path))
    assert "\x1b[" in on_terminal(command("show", MAIN, "--store", store_path))
    assert "\x1b[" not in on_terminal(command("list", "--store", store_path), NO_COLOR="1")
    assert "\x1b[" not in on_terminal(command("show", MAIN, "--store", store_path), NO_COLOR="1")


def test_help_imports_no_more_than_it_must() -> None:
    """rich and the commands are loaded when used, so that help is quick."""
    code = (
        "import sys\n"
        "from sessiondir.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "loaded = [name for name in sys.modules if name.split('.')[0] in ('rich', 'asyncio')]\n"
        f"loaded += [name for name in {[place.partition(':')[0] for place, _ in COMMANDS.values()]!r}"
        " if name in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        stdout=subprocess.DEVNULL,
        env=environment(),
        cwd=SOURCE,
        timeout=60,
    )


def test_a_commit_that_stands_is_not_called_failed(
    run: Run, store_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk that stops the levelling at close is a warning; the commit is in the journal."""
    close = SessionStore.close

    def close_on_a_full_disk(store: SessionStore) -> None:
        close(store)
        raise DiskFull("nothing was changed", path=store.path, errno=errno.ENOSPC)

    monkeypatch.setattr(SessionStore, "close", close_on_a_full_disk)
    result = run("set", "bot:old", "label=x", "--store", store_path, "--json")
    assert json.loads(result.stdout)["changes"] == [{"field": "label", "before": "no time", "after": "x"}]
    assert "committed" in json.loads(result.stderr)["warning"]
    assert "No space left" in run("delete", "bot:old", "--store", store_path).stderr
    # A change that did fail is reported for its own reason.
    assert "no session" in run("delete", "bot:old", "--store", store_path, code=10).stderr
    monkeypatch.undo()
    run("get", "bot:old", "--store", store_path, code=10)


def test_warnings_are_json_with_json(run: Run, store_path: str) -> None:
    """Each line of standard error is an object."""
    result = run("set", MAIN, "model=1", "--store", store_path, "--json")
    assert "model was text" in json.loads(result.stderr)["warning"]
    assert run("set", MAIN, "model=m", "--store", store_path, "--json").stderr == ""
