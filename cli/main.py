"""The `interlock` command: which commands there are, and how each of them ends.

Decides exit codes: 0 done; 1 it failed; 2 a user's mistake, told in one sentence; 130 interrupted;
141 the reader of its output went away. Operations of the pair end with 0 DONE, 3 REFUSED (nothing
was changed) or 4 UNKNOWN (it may have happened) besides. A traceback is left to bugs.

A command module is imported to build the help, so it imports what is heavy (sockets, nodes, the
SDK, rich) inside its functions: `interlock --help` and the start of a node stay quick.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .. import __version__
from ..shared.errors import InterlockError, UserError
from . import (
    bench,
    console,
    consume,
    demo,
    drill,
    history,
    init,
    keys,
    log,
    node,
    operate,
    publish,
    quarantine,
    status,
)
from .operation import EXIT_CODES
from .output import complain

FAILED = 1
MISTAKE = 2
INTERRUPTED = 130
NO_READER = 141


class _Commands(TyperGroup):
    """Turns the errors that a command may end with into a sentence and an exit code.

    It is done here and not around `app()`, so that typer's own test runner sees the same.
    """

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _silence_stdout()
            raise typer.Exit(NO_READER) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except InterlockError as error:
            complain(str(error))
            raise typer.Exit(MISTAKE if isinstance(error, UserError) else FAILED) from None
        return result


def _silence_stdout() -> None:
    """Python flushes stdout at exit, and would complain once more about the reader that left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"interlock {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    key: Annotated[
        str,
        typer.Option(
            envvar="INTERLOCK_KEY",
            help="Act with this key (its name, or its file) instead of the usual one.",
        ),
    ] = "",
) -> None:
    """A gating primary/secondary sequencer: one total order, released once the standby holds it.

    Start with: interlock init DIR

    When something is wrong: interlock status shows both nodes and names the command that fits. That
    command shows what it needs and what it will do, and changes nothing before you have confirmed.
    """
    if key:
        os.environ["INTERLOCK_KEY"] = key


app = typer.Typer(
    name="interlock",
    cls=_Commands,
    callback=_options,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
RUN, OPERATE, DATA = "Run", "Operate", "Data"

app.command("init", rich_help_panel=RUN)(init.init)
app.command("primary", rich_help_panel=RUN)(node.primary)
app.command("secondary", rich_help_panel=RUN)(node.secondary)
app.command("demo", rich_help_panel=RUN)(demo.demo)
app.add_typer(bench.app, name="bench", rich_help_panel=RUN)

app.command("console", rich_help_panel=OPERATE)(console.console)
app.command("drill", rich_help_panel=OPERATE)(drill.drill)
app.command("status", rich_help_panel=OPERATE)(status.status)
for _operation in (
    operate.preflight,
    operate.switchover,
    operate.promote,
    operate.demote,
    operate.solo,
    operate.gate,
    operate.reinstate,
    operate.pause,
    operate.resume,
    operate.shutdown,
    operate.approve,
):
    app.command(rich_help_panel=OPERATE, epilog=EXIT_CODES)(_operation)
app.command("history", rich_help_panel=OPERATE)(history.history)
app.add_typer(quarantine.app, name="quarantine", rich_help_panel=OPERATE)
app.add_typer(keys.app, name="keys", rich_help_panel=OPERATE)

app.command("publish", rich_help_panel=DATA)(publish.publish)
app.command("consume", rich_help_panel=DATA)(consume.consume)
app.add_typer(log.app, name="log", rich_help_panel=DATA)


def main() -> None:
    """The console script."""
    app(prog_name="interlock")
