"""`interlock drill`: runs runbooks, judges them, lists when each was drilled last.

Decides which pair a run is on: one of its own by default, where faults are real and confirmations
are answered; with --pair a live one, where a person confirms, nothing is done (--rehearse), or
nobody is asked (--unattended), which its configuration has to allow.
"""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..shared.errors import UserError
from .common import AsJson
from .given import operator_name
from .output import complain, print_json

if TYPE_CHECKING:
    from ..runbooks.parse import Runbook
    from ..runbooks.record import Report

FAILED, MISTAKE, UNKNOWN = 1, 2, 4


def drill(
    runbook: Annotated[
        str, typer.Argument(metavar="[RUNBOOK]", help="Id of a runbook, or its .md file.")
    ] = "",
    pair: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Guided, on this pair: stops at each action for you."),
    ] = None,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="With --pair: every probe and preflight, no action.")
    ] = False,
    unattended: Annotated[
        bool,
        typer.Option("--unattended", help='With --pair of environment "drill": asks nobody.'),
    ] = False,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="On a pair of its own, which is the default.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="Drill all runbooks.")] = False,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="With --all: how many at a time.")] = 2,
    listed: Annotated[
        bool, typer.Option("--list", help="The runbooks, and how each was drilled last.")
    ] = False,
    linted: Annotated[bool, typer.Option("--lint", help="Judge the runbooks as texts.")] = False,
    branch: Annotated[str, typer.Option(help="The branch to take where a drill has to.")] = "",
    operator: Annotated[str, typer.Option(help="Who runs it; default: your user name.")] = "",
    reports: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write JSON lines and a post-mortem of each run here."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a runbook: as a drill on a pair of its own, or guided on a live pair (--pair).

    Exit codes: 0 PASS; 1 FAIL; 4 UNKNOWN, this machine could not tell; 2 a mistake.
    """
    if reports is not None:
        from ..runbooks.report import prepare

        prepare(reports)
    if listed:
        _list(as_json=as_json)
    elif linted:
        _lint(Path(runbook) if runbook else None, as_json=as_json)
    elif every:
        _finish(_drill_all(jobs, branch, operator, as_json), reports, as_json=as_json)
    elif not runbook:
        raise UserError(
            "name a runbook, or use --all, --list or --lint; see: interlock drill --list"
        )
    elif pair is not None and not embedded:
        mode = "rehearse" if rehearse else "drill" if unattended else "guided"
        report = _run_live(
            runbook, pair, mode, branch, operator, quiet=as_json and mode != "guided"
        )
        _finish([report], reports, as_json=as_json)
    elif rehearse or unattended or pair is not None:
        what = "an unattended run" if unattended else "a rehearsal"
        raise UserError(f"{what} needs a live pair (--pair DIR), and --embedded makes its own")
    else:
        _finish([_run_embedded(runbook, branch, operator, as_json)], reports, as_json=as_json)


def _run_embedded(name: str, branch: str, operator: str, quiet: bool) -> Report:
    from ..runbooks import load
    from ..runbooks.run import Runner
    from ..runbooks.stage import UnavailableError
    from ..runbooks.verbs import Mode
    from .drill_stage import EmbeddedStage
    from .drill_text import teller

    book = load(name)
    operator = operator or os.environ.get("USER", "") or "drill"
    os.environ.pop("INTERLOCK_KEY", None)  # of another pair
    tell = teller(book, quiet=quiet)
    try:
        with EmbeddedStage(book) as stage:
            report = Runner(book, stage, Mode.DRILL, operator, tell=tell, branch=branch).run()
    except UnavailableError as error:
        report = _not_run(book, str(error), operator)
    _keep(report)
    return report


def _not_run(book: Runbook, why: str, operator: str) -> Report:
    from ..runbooks.record import Report, Verdict

    return Report(
        book.id,
        book.front.title,
        book.path.name,
        book.sha256,
        "drill",
        operator,
        time.time_ns(),
        Verdict.UNKNOWN,
        why,
    )


def _run_live(
    name: str, pair: Path, word: str, branch: str, operator: str, *, quiet: bool
) -> Report:
    from ..runbooks import load
    from ..runbooks.run import Runner
    from ..runbooks.verbs import Mode
    from ..shared.config import load_config
    from .drill_live import LiveStage, TerminalAsker
    from .drill_text import teller

    book, mode = load(name), Mode(word)
    if mode not in book.front.modes:
        raise UserError(f"the runbook {book.id} is not for {mode.value} runs")
    stage = LiveStage(load_config(pair))
    asker = TerminalAsker() if mode is Mode.GUIDED else None
    tell = teller(book, quiet=quiet)
    who = operator_name(operator, stage.control.config)
    report = Runner(book, stage, mode, who, asker, tell, branch).run()
    if mode is Mode.DRILL:
        _keep(report)
    return report


def _drill_all(jobs: int, branch: str, operator: str, quiet: bool) -> list[Report]:
    from ..runbooks import ids, load
    from .drill_all import drill_all

    given = {"--branch": branch, "--operator": operator}
    options = [word for name, value in given.items() if value for word in (name, value)]
    books = [load(name) for name in ids()]
    return drill_all(books, jobs, options, partial(_not_run, operator=operator), quiet=quiet)


def _keep(report: Report) -> None:
    """As the last result; the verdict is worth more than its badge."""
    from ..runbooks.results import keep

    try:
        keep(report)
    except UserError as error:
        complain(str(error))


def _finish(done: list[Report], folder: Path | None, *, as_json: bool) -> None:
    """Prints the end, writes the reports, and ends with the exit code."""
    from ..runbooks.record import Verdict
    from ..runbooks.report import write
    from .drill_text import show_report, show_reports

    if as_json:
        print_json(done if len(done) > 1 else done[0])
    elif len(done) > 1:
        show_reports(done)
    else:
        show_report(done[0])
    if folder is not None:
        for report in done:
            write(report, folder)
    verdicts = {report.verdict for report in done}
    if Verdict.FAIL in verdicts:
        raise typer.Exit(FAILED)
    if Verdict.UNKNOWN in verdicts:
        raise typer.Exit(UNKNOWN)


def _list(*, as_json: bool) -> None:
    from ..runbooks import ids, last_result, load
    from .drill_text import show_books

    books = [load(name) for name in ids()]
    results = {book.id: last_result(book.id) for book in books}
    if as_json:
        print_json(
            [
                {"front": book.front, "file": str(book.path), "last": results[book.id]}
                for book in books
            ]
        )
        return
    show_books(books, results)


def _lint(folder: Path | None, *, as_json: bool) -> None:
    from ..console.alarm_kinds import KINDS
    from ..runbooks import folder as own_folder
    from ..runbooks.lint import lint

    if folder is not None and not folder.is_dir():
        raise UserError(f"there is no folder {folder} with runbooks to judge")
    alarms = {name: kind.runbook for name, kind in KINDS.items()}
    complaints = lint(folder or own_folder(), alarms)
    if as_json:
        print_json({"complaints": complaints})
    else:
        for text in complaints:
            typer.echo(text)
    if complaints:
        raise typer.Exit(FAILED)
