"""One scenario on a pair: starts the load, watches what it costs, and puts the result together.

Decides what is measured when; the pair is the caller's, so that several runs may share one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from .collect import LoadReport, Span
from .crew import Crew
from .latency import Histogram
from .pair import Nodes
from .procfs import cpu_s, rss_mb
from .readers import ReadReport
from .result import Delivery, ProcessCost, RunResult
from .scenario import Scenario

SAMPLES = 20  # of memory in a span
MIB = 1024 * 1024


def run(scenario: Scenario, base: Path | None = None) -> RunResult:
    """Runs it on a pair of its own, in a temporary directory within `base`."""
    scenario.check()
    with Nodes(setup=scenario.setup, base=base) as nodes:
        nodes.start_both()
        return run_on(nodes, scenario)


def run_on(nodes: Nodes, scenario: Scenario, prefix: str = "bench") -> RunResult:
    """Runs it on a pair that is gated. Raises InterlockError if a process of the load fails.

    `prefix` names the producers.
    """
    scenario.check()
    with Crew(scenario, nodes.config.path, prefix) as crew:
        span = crew.begin(scenario.warm_up_s, scenario.seconds)
        pids = {name: process.pid for name, process in nodes.processes.items()}
        pids |= {worker.process.name: worker.pid for worker in crew.workers}
        watch = Watch(pids, span)
        watch.run()
        status = nodes.status(nodes.primary)
        loads = [worker.report(span) for worker in crew.loads]
        reads = [worker.report(span) for worker in crew.readers]
    messages = sum(report.confirmed for report in loads)
    records = sum(report.records for report in loads)
    rtt = Histogram()
    for report in loads:
        rtt.add(report.latency)
    return RunResult(
        scenario,
        span.seconds,
        messages,
        round(messages / span.seconds, 1),
        round(records / span.seconds, 1),
        round(messages * scenario.size / span.seconds / MIB, 2),
        rtt.latency(),
        _slices(loads),
        status.stages if status else [],
        [_delivery(report, span) for report in reads],
        watch.costs(messages, nodes),
    )


class Watch:
    """CPU and memory of processes, from the begin of a span to its end."""

    def __init__(self, pids: Mapping[str, int], span: Span) -> None:
        self._pids, self._span = dict(pids), span
        self._used: dict[str, float] = {}
        self._rss: dict[str, list[tuple[float, float]]] = {name: [] for name in pids}

    def run(self) -> None:
        """Sleeps through the span but for a look now and then."""
        span = self._span
        begin = self._cpu_at(span.begin_ns)
        for step in range(SAMPLES + 1):
            _sleep_until(span.begin_ns + (span.end_ns - span.begin_ns) * step // SAMPLES)
            at_s = round((time.monotonic_ns() - span.begin_ns) / 1e9, 3)
            for name, pid in self._pids.items():
                self._rss[name].append((at_s, round(rss_mb(pid), 2)))
        end = self._cpu_at(span.end_ns)
        self._used = {name: end[name] - begin[name] for name in self._pids}

    def _cpu_at(self, time_ns: int) -> dict[str, float]:
        _sleep_until(time_ns)
        return {name: cpu_s(pid) for name, pid in self._pids.items()}

    def costs(self, messages: int, nodes: Nodes) -> dict[str, ProcessCost]:
        """By process; the nodes as `primary` and `secondary`."""
        roles = {nodes.primary: "primary", nodes.secondary: "secondary"}
        return {
            roles.get(name, name): ProcessCost(
                round(used / self._span.seconds, 3),
                round(used * 1e6 / max(1, messages), 3),
                (self._rss[name][0][1], self._rss[name][-1][1]),
                self._rss[name],
            )
            for name, used in self._used.items()
        }


def _sleep_until(time_ns: int) -> None:
    if (left_ns := time_ns - time.monotonic_ns()) > 0:
        time.sleep(left_ns / 1e9)


def _slices(loads: list[LoadReport]) -> list[float]:
    parts = []
    for encoded in zip(*(report.slices for report in loads), strict=True):
        part = Histogram()
        for one in encoded:
            part.add(one)
        parts.append(part.latency().p99)
    return parts


def _delivery(report: ReadReport, span: Span) -> Delivery:
    latency = Histogram(report.latency).latency()
    per_s = report.delivered / report.seconds if report.seconds else 0.0
    mb_per_s = report.received_bytes / span.seconds / MIB
    return Delivery(round(per_s, 1), round(mb_per_s, 2), latency)
