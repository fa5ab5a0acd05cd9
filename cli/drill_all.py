"""Drills many runbooks, a few at a time.

Decides nothing about a run: each is a process of its own, `interlock drill ID --json`, and its
report is what that prints. One that ends without a report is UNKNOWN.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from ..runbooks.parse import Runbook
from ..runbooks.record import Report
from .drill_text import progress


def drill_all(
    books: Sequence[Runbook],
    jobs: int,
    options: Sequence[str],
    not_run: Callable[[Runbook, str], Report],
    *,
    quiet: bool,
) -> list[Report]:
    """The reports, in the order of `books`. `options` are given to each run; `not_run` makes the
    report of one that gave none, from why."""

    def drill(book: Runbook) -> Report:
        command = [sys.executable, "-P", "-m", "interlock", "drill", str(book.path), "--json"]
        done = subprocess.run(
            [*command, *options], stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        try:
            return msgspec.json.decode(done.stdout, type=Report)
        except msgspec.DecodeError:
            lines = done.stderr.strip().splitlines() or ["it printed nothing"]
            return not_run(book, f"the run ended without a report: {lines[-1]}")

    with progress(len(books), quiet=quiet) as tell, ThreadPoolExecutor(jobs) as pool:
        runs = [pool.submit(drill, book) for book in books]
        for run in runs:
            run.add_done_callback(lambda one: None if one.cancelled() else tell(one.result()))
        try:
            return [run.result() for run in runs]
        except BaseException:  # an interrupt: those that run hear it too, and clean up
            pool.shutdown(wait=False, cancel_futures=True)
            raise
