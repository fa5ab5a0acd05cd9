"""The contenders that need no other software: the pair itself, and the floors below it.

Decides how each is run for a comparison: a pair of its own for each run, and nobody who reads, as
the others have no reader either.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from . import floor
from .contest import Sample, Skipped
from .latency import Histogram
from .run import run
from .scenario import Client, Load, Scenario

SOURCE: Final = Path(__file__).with_name("floor.c")
COMPILE_S: Final = 60
NODES: Final = ("primary", "secondary")


class Interlock:
    """The gated pair under a scenario; its time is the contest's."""

    def __init__(self, name: str, scenario: Scenario) -> None:
        self.name = name
        self._scenario = scenario

    @property
    def conditions(self) -> str:
        return f"{self._scenario.told()}; confirmed once both nodes have it"

    def measure(self, seconds: float) -> Sample:
        warm_up_s = min(1.0, seconds / 3)
        found = run(msgspec.structs.replace(self._scenario, seconds=seconds, warm_up_s=warm_up_s))
        cpu = sum(found.processes[name].us_per_message for name in NODES)
        return Sample(found.rtt, found.per_s, round(cpu, 3))


class PyFloor:
    """Four hops with bare pyzmq: what a pair in Python cannot be below."""

    name = "pyzmq, four hops"
    conditions = "one in flight, PAIR over tcp, nothing is written or checked"

    def __init__(self, size: int, spins: bool = False) -> None:
        self._size = size
        self._spins = spins
        if spins:
            self.name += ", spinning"

    def measure(self, seconds: float) -> Sample:
        histogram = Histogram()
        samples = floor.timed(seconds, self._size, self._spins)
        histogram.record_all(samples)
        return Sample(histogram.latency(), round(len(samples) / seconds, 1))


class CFloor:
    """Four hops with libzmq in C: what ZeroMQ itself costs."""

    name = "libzmq in C, four hops"
    conditions = "one in flight, PAIR over tcp, nothing is written or checked"

    def __init__(self, size: int) -> None:
        self._size = size

    def measure(self, seconds: float) -> Sample:
        with tempfile.TemporaryDirectory(prefix="interlock-bench-") as folder:
            program = compiled(Path(folder))
            command = [str(program), str(seconds), str(self._size)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Skipped(f"the C floor failed: {done.stderr.strip()}")
        samples = [int(line) for line in done.stdout.split()]
        histogram = Histogram()
        histogram.record_all(samples)
        return Sample(histogram.latency(), round(len(samples) / seconds, 1))


def compiled(folder: Path) -> Path:
    """The C floor, compiled into `folder`. Raises Skipped where that is not possible."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise Skipped("there is no C compiler here (Debian: apt-get install gcc)")
    if not SOURCE.exists():
        raise Skipped("its source, bench/floor.c, is in the repository and not in a wheel")
    program = folder / "floor"
    done = subprocess.run(
        [compiler, "-O2", "-o", str(program), str(SOURCE), "-lzmq"],
        capture_output=True,
        text=True,
        timeout=COMPILE_S,
        check=False,
    )
    if done.returncode and "zmq" in done.stderr:
        raise Skipped("the headers of libzmq are missing (Debian: apt-get install libzmq3-dev)")
    if done.returncode:
        raise Skipped(f"the C floor does not compile: {done.stderr.strip()}")
    return program


def one_in_flight(size: int) -> Scenario:
    """What the floors are compared with."""
    return Scenario(load=Load.CLOSED, client=Client.SDK, size=size, consumers=0)
