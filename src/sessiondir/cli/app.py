"""The command line as a whole: which commands there are, and what a failure turns into."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import click

from sessiondir import __version__
from sessiondir.cli import exit_codes, failure, output
from sessiondir.cli.options import STORE_VARIABLE, Common

# Name -> where the command is, and its line in the overview. The modules are imported only when
# called, so that the overview, which shells and people ask for often, is quick.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "list": ("sessiondir.cli.list:list_sessions", "List sessions, the latest first."),
    "show": ("sessiondir.cli.show:show", "Show one session to people."),
    "get": ("sessiondir.cli.get:get", "Print an entry, or one field of it, as JSON."),
    "set": ("sessiondir.cli.set:set_fields", "Change fields of one session."),
    "delete": ("sessiondir.cli.delete:delete", "Remove one session."),
    "logs": ("sessiondir.cli.logs:logs", "Print the transcript of a session."),
    "search": ("sessiondir.cli.search:search", "Look for a text in the transcripts."),
    "usage": ("sessiondir.cli.usage:usage", "Tokens and cost per day, model or session."),
    "inbox": ("sessiondir.cli.inbox:inbox", "Show the messages that wait for sessions."),
    "leases": ("sessiondir.cli.leases:leases", "Show who holds which session."),
    "post": ("sessiondir.cli.post:post", "Add a message to the inbox of a session."),
    "watch": ("sessiondir.cli.watch:watch", "Print changes as they are committed."),
    "sessions": ("sessiondir.cli.sessions:sessions", "List what the gateway knows of its sessions."),
    "route": ("sessiondir.cli.route:route", "Show where replies of a session go."),
    "depth": ("sessiondir.cli.depth:depth", "Tell how deep a session is nested."),
    "recipients": ("sessiondir.cli.recipients:recipients", "Tell who would get a heartbeat message."),
    "info": ("sessiondir.cli.info:info", "Print facts about the store."),
    "check": ("sessiondir.cli.check:check", "Look for damage; changes nothing."),
    "cleanup": ("sessiondir.cli.cleanup:cleanup", "Remove what is old or too much, into the trash."),
    "trash": ("sessiondir.cli.trash:trash", "List, restore or delete removed sessions."),
    "migrate": ("sessiondir.cli.migrate:migrate", "Take over from a legacy sessions.json."),
    "rollback": ("sessiondir.cli.rollback:rollback", "Go back to a single sessions.json."),
    "demo": ("sessiondir.cli.demo:demo", "See the store at work, in a directory of its own."),
}


class Commands(click.Group):
    """The group of all commands; loads each when it is needed, and catches every failure."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        """The names, in the order of the overview."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command called ``cmd_name``, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The overview, without importing what it lists."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def main(  # type: ignore[override]  # ends the process or returns the code, nothing else
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        *,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> int:
        """Run one command line; end the process with its exit code.

        With ``standalone_mode=False`` the code is returned instead.
        """
        args = list(sys.argv[1:] if args is None else args)
        as_json = "--json" in args
        printer = failure.WarningPrinter(as_json=as_json)
        logger = logging.getLogger("sessiondir")
        logger.addHandler(printer)
        try:
            code = self._run(args, prog_name, as_json=as_json, **extra)
        finally:
            logger.removeHandler(printer)
        if standalone_mode:
            _end(code)
        return code

    def _run(self, args: list[str], prog_name: str | None, *, as_json: bool, **extra: Any) -> int:
        stdout = sys.stdout
        try:
            result = super().main(args, prog_name or "sessiondir", standalone_mode=False, **extra)
            return result if isinstance(result, int) else exit_codes.OK
        except SystemExit:
            # When nobody reads the help text that click prints, it wraps the stream and exits with 1.
            if sys.stdout is not stdout:
                return exit_codes.READER_GONE
            raise
        except (Exception, KeyboardInterrupt) as exc:  # the one place where a traceback turns into a message
            return failure.report(exc, as_json=as_json)


def _end(code: int) -> NoReturn:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        output.drop_stdout()
        code = exit_codes.READER_GONE
    sys.exit(code)


def _print_version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    from sessiondir.compiled import is_compiled

    output.echo(f"sessiondir {__version__} ({'compiled' if is_compiled() else 'interpreted'})")
    context.exit()


@click.group(
    cls=Commands,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
    epilog=exit_codes.epilog(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--store",
    metavar="PATH",
    envvar=STORE_VARIABLE,
    help=f"The store: .../NAME.d, or a legacy .../NAME.json.  [default: ${STORE_VARIABLE}]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; errors as a JSON object, too.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
@click.pass_context
def main(context: click.Context, store: str | None, as_json: bool) -> None:
    """Look at a store of agent sessions, change it by hand, check it, migrate it.

    A store is a directory NAME.d with one readable JSON file per session; it stands for a
    legacy NAME.json. Any number of programs may be using it meanwhile.
    """
    context.obj = Common(store, as_json)
    if context.invoked_subcommand is None:
        if not as_json:
            output.note(f"{context.get_help()}\n")
        raise click.UsageError("no command given", context)
