"""What a run found, as JSON has it. Latencies in microseconds, CPU in microseconds per message."""

from __future__ import annotations

import msgspec

from ..shared.telemetry import StageStatus
from .latency import Latency
from .scenario import Scenario


class ProcessCost(msgspec.Struct, frozen=True):
    """CPU and memory of one process (or of several alike) in the span.

    `cpu`: cores used, 1.0 is one core for all of the time. `us_per_message`: CPU time per confirmed
    message. `rss_mb`: at the begin and at the end; `rss`: seconds since the begin, and MiB.
    """

    cpu: float
    us_per_message: float
    rss_mb: tuple[float, float]
    rss: list[tuple[float, float]] = []


class Delivery(msgspec.Struct, frozen=True):
    """What one reader got: messages per second where it counts them, bytes per second where it does
    not, and how long messages took from their sending."""

    per_s: float
    mb_per_s: float
    latency: Latency


class RunResult(msgspec.Struct, frozen=True):
    """One run. `rtt`: from sending (in an open loop: from when it was due) to confirmation.
    `slices`: p99 of each tenth of the span; `stages`: of the primary, by its telemetry."""

    scenario: Scenario
    seconds: float
    messages: int
    per_s: float
    records_per_s: float
    mb_per_s: float
    rtt: Latency
    slices: list[float]
    stages: list[StageStatus]
    deliveries: list[Delivery]
    processes: dict[str, ProcessCost]

    @property
    def cpu_us_per_message(self) -> float:
        """Of all processes together."""
        return round(sum(cost.us_per_message for cost in self.processes.values()), 3)
