"""What a record costs a node in counts that do not depend on the machine: system calls, and copies
of its bytes.

Decides how they are counted. One record in flight, from one write of the journal to the next: the
median of many, so that heartbeats and ticks fall out. For groups, the node is stopped while they
arrive, so that it takes them in as few turns as can be.

    python -m interlock.bench.counts                        both nodes, as a table of counts
    python -m interlock.bench.counts node REPORT WORDS...   a node that counts its own copies
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import signal
import statistics
import sys
import time
import tracemalloc
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import zmq

from ..shared.credentials import credentials
from ..shared.errors import UserError
from ..shared.journal import Journal
from .collect import Collector
from .pair import Nodes
from .raw import RawSession
from .scenario import Setup

RECORDS = 60  # with one in flight
GROUP = 64  # records that arrive together
GROUPS = 5
COPY_BYTES = 32_768  # of the message whose copies are counted: what else is allocated is small
SIZE = 128
# Nothing happens by the clock within a measurement.
QUIET = Setup(
    keys=False,
    tables={
        "timing": {
            "heartbeat_ms": 1_000_000,
            "link_timeout_ms": 3_000_000,
            "tick_interval_ms": 0,
            "sync_interval_ms": 3_600_000,
            "telemetry_interval_ms": 3_600_000,
        }
    },
)
_CALL = re.compile(r"^\d+\.\d+ (\w+)\(")
LOOKS = frozenset({"poll", "getpid"})
WRITES = frozenset({"pwritev", "pwritev2"})  # of the journal: one for each group of records


class NodeCounts(msgspec.Struct, frozen=True):
    """Of one node. `calls`: system calls of its thread for a record that comes alone, by name;
    `calls_grouped`: calls for each record of a group, at least; `copies`: allocations of a record's
    size, in all and `where`, by the function that had just begun or ended (a mean, so roughly).

    libzmq looks into its mailboxes (poll, getpid) once more or less by when the other threads of
    the process run: `looks` are apart, so that `calls_alone` is the same each time.
    """

    calls: dict[str, float] = {}
    calls_grouped: float = 0.0
    copies: float = 0.0
    where: dict[str, float] = {}

    @property
    def calls_alone(self) -> float:
        return sum(count for name, count in self.calls.items() if name not in LOOKS)

    @property
    def looks(self) -> float:
        return self.calls.get("poll", 0.0)


class CountingNodes(Nodes):
    """A pair whose nodes run under strace, or count their copies."""

    def __init__(self, way: str) -> None:
        super().__init__(setup=QUIET)
        self.way = way

    def start(self, name: str) -> None:
        role = "primary" if name == self.primary else "secondary"
        command = [sys.executable, "-P", "-m", "interlock"]
        if self.way == "strace":
            # Without -f: the thread of the data path, not ZeroMQ's. -D: what is started is the
            # node, and strace ends with it. -ttt: a line that is a call begins with the time.
            command = ["strace", "-D", "-ttt", "-o", str(self.report(name)), *command]
        else:
            command[-1] = "interlock.bench.counts"
            command += ["node", str(self.report(name))]
        self.run(name, [*command, role, "-c", self.config.path])

    def report(self, name: str) -> Path:
        return self.directory / f"{name}.counts"


def session(nodes: Nodes, context: zmq.Context[Any], size: int) -> RawSession:
    endpoint = nodes.config.node(nodes.primary).intake
    found = RawSession(context, endpoint, "counts", credentials(nodes.config))
    found.say_hello(nodes.config.cluster)
    found.await_welcome(1, size)
    return found


def _one_by_one(producer: RawSession) -> None:
    for _ in range(RECORDS):
        producer.submit(time.monotonic_ns())
        while producer.in_flight:
            producer.wait(Collector())


def system_calls() -> dict[str, NodeCounts]:
    """Of primary and secondary. Raises UserError without strace."""
    if shutil.which("strace") is None:
        raise UserError("counting system calls takes strace (Debian: apt-get install strace)")
    with CountingNodes("strace") as nodes, zmq.Context() as context:
        nodes.start_both()
        producer = session(nodes, context, SIZE)
        pids = {name: process.pid for name, process in nodes.processes.items()}
        _one_by_one(producer)
        alone = {name: _lines(nodes.report(name)) for name in pids}
        groups = {name: _groups(nodes, producer, name, pid) for name, pid in pids.items()}
        producer.socket.close(linger=0)
        nodes.stop()
        return {
            role: NodeCounts(_between_writes(alone[name]), round(min(groups[name]) / GROUP, 2))
            for role, name in (("primary", nodes.primary), ("secondary", nodes.secondary))
        }


def _groups(nodes: CountingNodes, producer: RawSession, name: str, pid: int) -> list[int]:
    """System calls of a node, but for looks, for each group that it finds when it wakes up."""
    found = []
    for _ in range(GROUPS):
        before = _calls_so_far(nodes.report(name))
        os.kill(pid, signal.SIGSTOP)
        for _ in range(GROUP):
            producer.submit(time.monotonic_ns())
        os.kill(pid, signal.SIGCONT)
        while producer.in_flight:
            producer.wait(Collector())
        found.append(_calls_so_far(nodes.report(name)) - before)
    return found


def _calls_so_far(path: Path) -> int:
    return sum(name not in LOOKS for name in _lines(path))


def _lines(path: Path) -> list[str]:
    """The names of the calls that strace has seen."""
    found = map(_CALL.match, path.read_text("utf-8", "replace").splitlines())
    return [match[1] for match in found if match]


def _between_writes(names: list[str]) -> dict[str, float]:
    """By name: the median over the records, each of which is one write of the journal; of looks the
    fewest, as what a node does every few milliseconds looks too, and records are slow here."""
    ends = [index for index, name in enumerate(names) if name in WRITES][-RECORDS:]
    parts = [Counter(names[one:two]) for one, two in pairwise(ends)]
    every = sorted({name for part in parts for name in part})
    found: dict[str, float] = {}
    for name in every:
        counts = [part[name] for part in parts]
        found[name] = float(min(counts) if name in LOOKS else statistics.median(counts))
    return {name: count for name, count in found.items() if count}


def copies() -> dict[str, NodeCounts]:
    """Of primary and secondary: bytes allocated for a record that comes alone, in record sizes."""
    with CountingNodes("copies") as nodes, zmq.Context() as context:
        nodes.start_both()
        producer = session(nodes, context, COPY_BYTES)
        _one_by_one(producer)
        producer.socket.close(linger=0)
        nodes.stop()
        found = {}
        for role, name in (("primary", nodes.primary), ("secondary", nodes.secondary)):
            told = json.loads(nodes.report(name).read_text("utf-8"))
            steps = [two - one for one, two in pairwise(told["marks"][-RECORDS:])]
            share = COPY_BYTES * RECORDS
            where = {site: round(size / share, 1) for site, size in told["where"].items()}
            found[role] = NodeCounts(
                copies=round(statistics.median(steps) / COPY_BYTES, 1),
                where={site: count for site, count in where.items() if count >= 0.5},
            )
        return found


# In the node ----------------------------------------------------------------------------------


class Allocations:
    """Adds up what this thread allocates in pieces of a record's size, also what is freed at once:
    at each call and return, how far memory has risen since the last one. `marks`: the sum at each
    write of the journal; `where`: the sums by function."""

    def __init__(self) -> None:
        self.marks: list[int] = []
        self.where: Counter[str] = Counter()
        self._total = self._last = 0
        self._append = Journal.append.__code__

    def hook(self, frame: FrameType, event: str, value: Any) -> None:
        risen = tracemalloc.get_traced_memory()[1] - self._last
        if risen >= COPY_BYTES and self.marks:
            self._total += risen
            self.where[f"{frame.f_code.co_qualname} ({event})"] += risen
        if event == "call" and frame.f_code is self._append:
            self.marks.append(self._total)
        tracemalloc.reset_peak()
        self._last = tracemalloc.get_traced_memory()[0]


def run_node(report: Path, words: list[str]) -> None:
    """Runs `interlock WORDS` in this process, and writes what it counted when it has ended."""
    sys.argv = ["interlock", *words]
    allocations = Allocations()
    tracemalloc.start()
    sys.setprofile(allocations.hook)
    try:
        runpy.run_module("interlock", run_name="__main__", alter_sys=True)
    finally:
        sys.setprofile(None)
        told = {"marks": allocations.marks, "where": allocations.where}
        report.write_text(json.dumps(told), "utf-8")


def count_all() -> dict[str, NodeCounts]:
    """Everything, of both nodes."""
    copied = copies()
    return {
        role: msgspec.structs.replace(found, copies=copied[role].copies, where=copied[role].where)
        for role, found in system_calls().items()
    }


def main() -> None:
    if sys.argv[1:2] == ["node"]:
        run_node(Path(sys.argv[2]), sys.argv[3:])
        return
    for role, found in count_all().items():
        named = ", ".join(f"{name} {count:g}" for name, count in found.calls.items())
        print(f"{role}: {found.calls_alone:g} system calls for a record alone, and", end=" ")
        print(f"{found.looks:g} looks of libzmq ({named})")
        print(f"{role}: {found.calls_grouped:g} for each of {GROUP} records that come together")
        sites = ", ".join(f"{site} {count:g}" for site, count in found.where.items())
        print(f"{role}: {found.copies:g} copies of a record of {COPY_BYTES} bytes: {sites}")


if __name__ == "__main__":
    main()
