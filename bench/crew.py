"""The processes of a load: producers and readers, started before the span and asked after it.

Decides how a worker and the run talk: each says when it is ready, is told the span, and reports. A
worker that fails reports the error, which ends the run.
"""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Generic, TypeVar

import msgspec

from ..shared.config import load_config
from ..shared.errors import InterlockError
from .collect import LoadReport, Span
from .loads import SdkLoad
from .raw import RawLoad
from .readers import Drains, ReadReport, SdkReader
from .scenario import Client, Scenario

READY_S = 60.0
REPORT_S = 120.0  # after the span, for what is in flight, and for working out percentiles
SLACK_S = 0.1  # between the last worker that is ready and the beginning

R = TypeVar("R", LoadReport, ReadReport)
_spawn = multiprocessing.get_context("spawn")


class Failed(msgspec.Struct, frozen=True, tag=True):
    """What a worker says in place of a report."""

    text: str


def _load(pipe: Connection, scenario: Scenario, path: str, name: str) -> None:
    """The main of a process of producers."""
    try:
        config = load_config(path)
        raw = scenario.client is Client.RAW
        load = RawLoad(scenario, config, name) if raw else SdkLoad(scenario, config, name)
        span = _await_span(pipe)
        report = load.run(span).report(span)
    except InterlockError as error:
        pipe.send(Failed(str(error)))
    else:
        pipe.send(report)


def _read(pipe: Connection, scenario: Scenario, path: str, what: str) -> None:
    """The main of a process of consumers."""
    try:
        config = load_config(path)
        reader = SdkReader(scenario, config) if what == "consumer" else Drains(scenario, config)
        report = reader.run(_await_span(pipe))
    except InterlockError as error:
        pipe.send(Failed(str(error)))
    else:
        pipe.send(report)


def _await_span(pipe: Connection) -> Span:
    pipe.send(None)  # ready
    span: Span = pipe.recv()
    return span


class Worker(Generic[R]):
    """One process and the pipe to it."""

    def __init__(self, process: SpawnProcess, pipe: Connection, kind: type[R]) -> None:
        self.process = process
        self._pipe = pipe
        self._kind: type[R] = kind
        process.start()

    @property
    def pid(self) -> int:
        return self.process.pid or 0

    def await_ready(self) -> None:
        self._receive(READY_S)

    def tell(self, span: Span) -> None:
        self._pipe.send(span)

    def report(self, span: Span) -> R:
        left_s = max(0.0, (span.end_ns - time.monotonic_ns()) / 1e9)
        found = self._receive(left_s + REPORT_S)
        if not isinstance(found, self._kind):
            raise InterlockError(f"a worker of the benchmark reported {found!r}")
        report: R = found
        return report

    def stop(self) -> None:
        self.process.kill()
        self.process.join()

    def _receive(self, seconds: float) -> object:
        name = self.process.name
        if not self._pipe.poll(seconds):
            raise InterlockError(f"{name} has said nothing for {seconds:g} s")
        try:
            found: object = self._pipe.recv()
        except EOFError:
            raise InterlockError(f"{name} ended without a report; see above") from None
        if isinstance(found, Failed):
            raise InterlockError(f"{name}: {found.text}")
        return found


class Crew:
    """All workers of a scenario. A context manager: leaving it ends them."""

    def __init__(self, scenario: Scenario, path: str, prefix: str = "bench") -> None:
        raw = scenario.client is Client.RAW
        self.loads: list[Worker[LoadReport]] = []
        self.readers: list[Worker[ReadReport]] = []
        for index in range(scenario.consumers):
            self._reader(scenario, path, "consumer", index)
        if scenario.drains or scenario.sleepers:
            self._reader(scenario, path, "drains", 0)
        for index in range(1 if raw else scenario.producers):
            ours, theirs = _spawn.Pipe()
            name = f"{prefix}-{index}"
            process = _spawn.Process(
                target=_load, args=(theirs, scenario, path, name), daemon=True, name=name
            )
            self.loads.append(Worker(process, ours, LoadReport))
            theirs.close()

    def _reader(self, scenario: Scenario, path: str, what: str, index: int) -> None:
        ours, theirs = _spawn.Pipe()
        process = _spawn.Process(
            target=_read, args=(theirs, scenario, path, what), daemon=True, name=f"{what}-{index}"
        )
        self.readers.append(Worker(process, ours, ReadReport))
        theirs.close()

    @property
    def workers(self) -> list[Worker[LoadReport] | Worker[ReadReport]]:
        return [*self.readers, *self.loads]

    def begin(self, warm_up_s: float, seconds: float) -> Span:
        """Waits until all are ready, and tells them when it counts."""
        for worker in self.workers:
            worker.await_ready()
        begin_ns = time.monotonic_ns() + int((warm_up_s + SLACK_S) * 1e9)
        span = Span(begin_ns, begin_ns + int(seconds * 1e9))
        for worker in self.workers:
            worker.tell(span)
        return span

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.stop()
