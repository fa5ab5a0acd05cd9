"""`interlock demo` on a terminal: the console over the pair, and what a drill needs beside it.

Decides how a run and the console over it begin and end together. The run is in a thread of its own;
whichever ends first ends the other.
"""

from __future__ import annotations

import signal
import threading
from typing import Final

from ..console.demo import Process
from ..console.run import run_console
from ..shared.errors import InterlockError
from .demo_run import DemoReport, DemoRun, LeftUnfinished

LOOK_EVERY_S: Final = 0.05


class DemoSession:
    """One run, as the console sees it (`console.demo.Demo`)."""

    def __init__(self, run: DemoRun) -> None:
        self._run = run
        run.watched = True
        self._frozen: set[str] = set()
        self.report: DemoReport | None = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="demo", daemon=True)

    def _work(self) -> None:
        try:
            self.report = self._run.run()
        except (InterlockError, LeftUnfinished, OSError) as error:
            self.error = error

    # For the command --------------------------------------------------------------------------

    def begin(self) -> None:
        """Returns when the pair works, or when the run has ended without."""
        self._thread.start()
        while self._thread.is_alive() and self._run.pair is None:
            self._thread.join(LOOK_EVERY_S)

    def end(self) -> DemoReport | None:
        """Ends the run, and waits for its verdict; None: it was left unfinished."""
        self._run.leave()
        self._thread.join()
        if self.error is not None and not isinstance(self.error, LeftUnfinished):
            raise self.error
        return self.report

    # For the console --------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def news(self) -> list[str]:
        load, check = self._run.load, self._run.check
        confirmed = f"{load.confirmed:,} of {load.sent:,} confirmed" if load else "no message yet"
        if check is None:
            return [confirmed]
        wrong = check.gaps + check.duplicates + check.out_of_order
        verdict = (
            f"{wrong:,} are missing, doubled or out of order"
            if wrong
            else "no gap, no duplicate, in order"
        )
        return [confirmed, f"{check.delivered:,} delivered and checked: {verdict}"]

    def processes(self) -> list[Process]:
        assert self._run.pair is not None
        return [
            Process(
                name,
                process.pid,
                process.poll() is None,
                name in self._frozen and process.poll() is None,
            )
            for name, process in self._run.pair.processes.items()
        ]

    def kill(self, name: str) -> None:
        self._signal(name, signal.SIGKILL)

    def freeze(self, name: str) -> None:
        self._frozen.add(name)
        self._signal(name, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        self._frozen.discard(name)
        self._signal(name, signal.SIGCONT)

    def start(self, name: str) -> None:
        assert self._run.pair is not None
        if self._run.pair.processes[name].poll() is not None:
            self._frozen.discard(name)
            self._run.pair.start(name)

    def _signal(self, name: str, number: signal.Signals) -> None:
        assert self._run.pair is not None
        self._run.pair.kill(name, number)


def watch(run: DemoRun) -> DemoReport | None:
    """Runs the demo under the console. None: the person left while the pair did not work."""
    session = DemoSession(run)
    try:
        session.begin()
        if run.pair is not None:
            run_console(run.pair.config, demo=session)
    finally:
        report = session.end()
    return report
