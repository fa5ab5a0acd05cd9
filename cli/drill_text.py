"""What `interlock drill` prints: events as they happen, verdicts, tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..runbooks.report import measure_lines

if TYPE_CHECKING:
    from ..runbooks.parse import Runbook
    from ..runbooks.record import Event, Report
    from ..runbooks.results import Result

STYLES = {"PASS": "green", "FAIL": "bold red", "UNKNOWN": "yellow"}


def teller(book: Runbook, *, quiet: bool) -> Callable[[Event], None]:
    """Prints each event as it happens."""
    out = Console(stderr=True, highlight=False)
    if not quiet:
        out.print(f"[bold]{escape(book.front.title)}[/] ({book.id}), risk: {book.front.risk}")

    def tell(event: Event) -> None:
        if quiet:
            return
        mark = {True: "[green]ok[/]", False: "[bold red]no[/]", None: "  "}[event.ok]
        where = f"line {event.line}" if event.line else ""
        text = escape(event.text)
        out.print(f"{event.at_ms:8.0f} ms {mark} {where:>9} {event.what:12} {text}", soft_wrap=True)

    return tell


@contextmanager
def progress(count: int, *, quiet: bool) -> Iterator[Callable[[Report], None]]:
    """Shows how many of the runs have ended, and prints each one that ends."""
    out = Console(stderr=True, highlight=False, quiet=quiet)
    ended: list[str] = []
    with out.status(f"0 of {count} drills have ended") as status:

        def tell(report: Report) -> None:
            ended.append(report.id)
            word = report.verdict.value
            out.print(f"[{STYLES[word]}]{word:8}[/]{report.seconds:6.1f} s  {report.id}")
            status.update(f"{len(ended)} of {count} drills have ended")

        yield tell


def show_report(report: Report) -> None:
    """How one run ended."""
    out = Console(highlight=False)
    for text in measure_lines(report.measures) if report.measures else []:
        out.print(text, soft_wrap=True)
    word = report.verdict.value
    why = f": {escape(report.reason)}" if report.reason else ""
    out.print(f"[{STYLES[word]}]{word}[/]{why}", soft_wrap=True)


def show_reports(done: list[Report]) -> None:
    """How many runs ended, one in a row."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("runbook", "verdict"):
        table.add_column(heading, no_wrap=True)
    for heading in ("s", "RTO ms", "pause ms", "lost", "quarantined"):
        table.add_column(heading, justify="right", no_wrap=True)
    for report in done:
        measures = report.measures
        word = report.verdict.value
        table.add_row(
            report.id,
            f"[{STYLES[word]}]{word}[/]",
            f"{report.seconds:.1f}",
            _ms(measures.rto_ms if measures else None),
            _ms(measures.pause_ms if measures else None),
            str(measures.lost) if measures else "-",
            str(measures.quarantined) if measures else "-",
        )
    out = Console(highlight=False)
    out.print(table)
    for report in done:
        if report.reason:
            out.print(f"{report.id}: {escape(report.reason)}", soft_wrap=True)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def show_books(books: list[Runbook], results: Mapping[str, Result | None]) -> None:
    """The runbooks, each with the badge of its last drill."""
    table = Table(box=SIMPLE, pad_edge=False)
    for heading in ("runbook", "risk", "last drill (UTC)", "result", "RTO ms"):
        table.add_column(heading, no_wrap=True)
    for book in books:
        last = results[book.id]
        when = (
            time.strftime("%Y-%m-%d %H:%M", time.gmtime(last.started_ns / 1e9)) if last else "never"
        )
        result = ""
        if last is not None:
            stale = "" if last.sha256 == book.sha256 else " *"
            result = f"[{STYLES[last.verdict.value]}]{last.verdict.value}[/]{stale}"
        table.add_row(
            book.id,
            book.front.risk,
            when,
            result,
            _ms(last.rto_ms if last else None),
        )
    out = Console(highlight=False)
    out.print(table)
    if any(
        last is not None and last.sha256 != book.sha256
        for book, last in zip(books, results.values(), strict=True)
    ):
        out.print("* the runbook was changed since", soft_wrap=True)
