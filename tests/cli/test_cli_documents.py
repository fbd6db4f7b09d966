"""What is written about the command is true: help texts, docs/cli.md, exit codes."""

from __future__ import annotations

import doctest
import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli_support import Run, environment, on_terminal

from sessiondir import errors
from sessiondir.cli import main
from sessiondir.cli.app import COMMANDS
from sessiondir.cli.exit_codes import EXIT_CODES

DOCUMENT = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
CLASSES = [
    value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, errors.StoreError)
]


def load(name: str) -> click.Command:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    return command


def section(name: str) -> str:
    match = re.search(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert match is not None, f"docs/cli.md has no section {name!r}"
    return match[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command(run: Run, name: str) -> None:
    """It says what the command does and gives examples that name it."""
    shown = run(name, "--help").stdout
    assert run(name, "-h").stdout == shown
    assert f"$ sessiondir {name}" in shown
    assert load(name).name == name
    assert load(name).help


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_in_a_help_text_would_be_understood(name: str) -> None:
    """The options and arguments of the examples exist."""
    for line in re.findall(r"^ *\$ (sessiondir .*)$", load(name).epilog or "", re.MULTILINE):
        words = shlex.split(line.split(" | ")[0].split(" > ")[0])
        command = load(words[1])
        # Parsing alone: a store is named so that its absence is no mistake.
        context = command.make_context(
            words[1], ["--store", "x.d", *words[2:]] if _takes_store(command) else words[2:]
        )
        context.close()


def _takes_store(command: click.Command) -> bool:
    return any("--store" in parameter.opts for parameter in command.params)


def test_the_overview_lists_commands_and_exit_codes(run: Run) -> None:
    """What a person sees first."""
    shown = run("--help").stdout
    for name, (_, line) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(line)}$", shown, re.MULTILINE)
    for code, meaning in EXIT_CODES.items():
        assert f"{code:>3}  {meaning}" in shown
    assert run("--version").stdout.startswith("sessiondir ")


def test_every_error_has_a_documented_exit_code() -> None:
    """No class ends with a code that the table leaves out."""
    assert {cls.exit_code for cls in CLASSES} <= EXIT_CODES.keys()


def test_the_document_has_the_table_of_exit_codes() -> None:
    """The same codes with the same meanings, and the names of the errors beside them."""
    rows = dict(re.findall(r"^\| (\d+) \| (.+?) \| .*\|$", section("Exit codes"), re.MULTILINE))
    assert {int(code): meaning.replace("`", "") for code, meaning in rows.items()} == EXIT_CODES
    for cls in CLASSES:
        row = next(line for line in section("Exit codes").splitlines() if line.startswith(f"| {cls.exit_code} |"))
        assert cls.__subclasses__() or f"`{cls.__name__}`" in row, cls


@pytest.mark.parametrize("name", COMMANDS)
def test_the_document_describes_every_command_and_option(name: str) -> None:
    """A section for each command, a mention of each of its options."""
    text = section(f"sessiondir {name}") + section("Which store")
    for parameter in load(name).params:
        for option in parameter.opts:
            if option.startswith("--") and option not in ("--store", "--json", "--help"):
                assert f"`{option}" in text, (name, option)
    assert "```console" in text


def test_the_document_describes_the_environment() -> None:
    """Every variable that the command reads."""
    source = "".join(path.read_text() for path in (Path(inspect.getfile(main.__class__)).parent).glob("*.py"))
    for name in {*re.findall(r"SESSIONDIR_[A-Z]+", source), "NO_COLOR"}:
        assert f"`{name}`" in section("Environment"), name


def examples() -> list[tuple[str, str]]:
    """The commands of the document's console blocks, each with the output that should follow."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"^```console\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL):
        for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            found.append((command, output))
    return found


def test_the_examples_in_the_document_give_what_it_shows(tmp_path: Path) -> None:
    """They are run one after the other, on a terminal; ``...`` stands for what differs each time."""
    work = tmp_path / "work"
    work.mkdir(mode=0o700)
    legacy = re.search(r"^```json\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert legacy is not None
    (work / "sessions.json").write_text(legacy[1])
    (work / "sessions.json").chmod(0o600)
    programs = tmp_path / "bin"
    programs.mkdir()
    shim = programs / "sessiondir"
    shim.write_text(
        f"#!{sys.executable}\nfrom sessiondir.cli import main\nif __name__ == '__main__':\n    main()\n"
    )
    shim.chmod(0o755)
    settings = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "NO_COLOR": "1",
        "COLUMNS": "100",
        "TERM": "dumb",
        "SESSIONDIR_STORE": "sessions.json",
    }
    checker = doctest.OutputChecker()
    found = examples()
    assert len(found) > 15
    for command, expected in found:
        shown = on_terminal(["sh", "-c", f"exec 2>&1; {command}"], cwd=str(work), check=False, **settings)
        shown = shown.replace("\r\n", "\n").replace(str(work), "/srv/bot")
        shown = "\n".join(line.rstrip() for line in shown.splitlines()) + ("\n" if shown else "")
        assert checker.check_output(expected, shown, doctest.ELLIPSIS), f"$ {command}\n{shown}"


def test_as_a_module() -> None:
    """``python -m sessiondir`` is the same command."""
    result = subprocess.run(
        [sys.executable, "-m", "sessiondir", "--help"],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
        check=True,
    )
    assert "Exit codes" in result.stdout
