"""The targets: what is aimed at, and whether a report meets it.

Decides from a finished report alone, so that an old one can be judged again. A ratio is the median
over rounds of one contest; a value that was not measured is never met.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

from .contest import Contest, Entry
from .report import Report, Target
from .result import RunResult

# Names of what the suite measures, as both of them use them.
ALONE, BATCHES, IDLE = "one in flight", "records of 256", "idle strategies"
SDK, SINGLE, OPEN, CALM = "sdk", "one per record", "open loop", "open loop at half"
PAIR, FLOOR_C = "Interlock", "libzmq in C, four hops"
REDIS, REDIS_BATCH = "Redis XADD + WAIT 1", "Redis XADD x 256 + WAIT 1"
SLEEPING, READING = "sleeping consumers", "consumers"

Rows = Iterator[Target]


def judge(report: Report) -> list[Target]:
    """All targets, in their order."""
    parts = (_alone, _throughput, _open_loop, _past, _consumers, _failover, _idle)
    return [target for part in parts for target in part(report)]


def _limit(
    number: str, what: str, value: float | None, bound: float, unit: str, *, at_least: bool = False
) -> Target:
    word = "at least" if at_least else "at most"
    digits = ",.0f" if bound >= 1_000 else "g"
    wanted = f"{word} {format(bound, digits)}{unit}"
    if value is None:
        return Target(number, what, wanted, "not measured", None)
    met = value >= bound if at_least else value <= bound
    digits = ",.0f" if abs(value) >= 1_000 else ".3g"
    return Target(number, what, wanted, f"{format(value, digits)}{unit}", met)


def _ratio(report: Report, title: str, name: str, value: Callable[[Entry], float]) -> float | None:
    contest: Contest | None = report.contests.get(title)
    entry = contest.entry(name) if contest else None
    return value(entry) if entry else None


def _alone(report: Report) -> Rows:
    p50 = _ratio(report, ALONE, FLOOR_C, lambda entry: entry.p50_ratio)
    p99 = _ratio(report, ALONE, FLOOR_C, lambda entry: entry.p99_ratio)
    redis = _ratio(report, ALONE, REDIS, lambda entry: entry.p50_ratio)
    yield _limit("1", "one in flight: p50 over that of the C floor", p50, 1.5, "x")
    yield _limit("1", "one in flight: p99 over that of the C floor", p99, 2.0, "x")
    yield _limit("1", "one in flight: p50 over that of Redis XADD + WAIT", redis, 1.0, "x")


def _throughput(report: Report) -> Rows:
    rate = _ratio(report, BATCHES, PAIR, lambda entry: entry.per_s)
    redis = _ratio(report, BATCHES, REDIS_BATCH, lambda entry: entry.rate_ratio)
    yield _limit("2", "records of 256: rate over Redis by 256", redis, 10, "x", at_least=True)
    yield _limit("2", "records of 256: rate", rate, 700_000, "/s", at_least=True)
    sdk = report.runs.get(SDK)
    both = min(sdk.per_s, *(one.per_s for one in sdk.deliveries)) if sdk else None
    yield _limit("2", "SDK, sent and read one by one", both, 250_000, "/s", at_least=True)
    single = report.runs.get(SINGLE)
    per_s = single.per_s if single else None
    yield _limit("3", "one message per record, window 256", per_s, 45_000, "/s", at_least=True)


def _open_loop(report: Report) -> Rows:
    found = report.runs.get(OPEN)
    p99_ms = found.rtt.p99 / 1_000 if found else None
    rate = (
        f"{found.scenario.rate:,.0f}/s for {found.seconds:g} s" if found else "half of saturation"
    )
    yield _limit("4", f"open loop at {rate}: p99", p99_ms, 5, " ms")
    calm = report.runs.get(CALM)
    told = f"{calm.rtt.p99 / 1_000:.3g} ms" if calm else "not measured"
    yield Target("4", "at half of that rate: p99", "told for comparison", told, None)
    yield _limit("4", "open loop: p99 of its last third over the first", drift(found), 1.5, "x")


def drift(found: RunResult | None) -> float | None:
    """The median p99 of the last three tenths of a run over that of the first three."""
    if found is None or not found.slices[0]:
        return None
    return statistics.median(found.slices[-3:]) / statistics.median(found.slices[:3])


def _past(report: Report) -> Rows:
    began = report.restart
    messages = f"{began.messages:,}" if began else "10 million"
    confirmed_s = began.confirmed_s if began else None
    yield _limit("5", f"restart with {messages} messages: serving", confirmed_s, 2, " s")
    yield _limit("5", "memory of a node, longest log over shortest", _growth(report), 1.1, "x")
    late, back = report.late_consumer, report.rejoining
    rate = late.per_s if late else None
    yield _limit("5", "a late consumer reads", rate, 400_000, "/s", at_least=True)
    speed = back.mb_per_s if back else None
    yield _limit("5", "a re-joining standby catches up", speed, 150, " MB/s", at_least=True)
    yield _limit(
        "5", "the same: live p99 over that before", back.p99_ratio if back else None, 2, "x"
    )


def _growth(report: Report) -> float | None:
    """Of the node whose memory grew most."""
    if len(report.memory) < 2:
        return None
    first, last = report.memory[min(report.memory)], report.memory[max(report.memory)]
    return max(last[node] / first[node] for node in first)


def _consumers(report: Report) -> Rows:
    by_what = {series.what: series.points for series in report.series}
    reading = by_what.get(READING, [])
    told = ", ".join(f"{one.x}: {one.primary_us:.3g} us" for one in reading)
    what = "CPU of the primary per message, by consumers"
    yield Target("6", what, "grows by the kernel's copies", told or "not measured", None)
    points = by_what.get(SLEEPING, [])
    p50 = points[-1].p50_us / points[0].p50_us if len(points) > 1 else None
    p99 = points[-1].p99_us / points[0].p99_us if len(points) > 1 else None
    count = points[-1].x if points else 16
    yield _limit("6", f"p50 of the others with {count} that sleep, over none", p50, 1.1, "x")
    yield _limit("6", "the same: p99", p99, 1.5, "x")


def _failover(report: Report) -> Rows:
    pause = report.failover.get("switchovers", {}).get("pause_ms", {})
    first = report.failover.get("promotions", {}).get("opening_ms", {})
    yield _limit("7", "switchover: the consumer's pause, median", pause.get("median"), 50, " ms")
    yield _limit("7", "promote: to the first release, median", first.get("median"), 100, " ms")


def _idle(report: Report) -> Rows:
    ratio = _ratio(report, IDLE, "block", lambda entry: entry.p50_ratio)
    yield _limit("8", "one in flight: p50 of adaptive over block", ratio, 0.7, "x")
    used = report.idle_cpu.get("adaptive", report.idle_cpu.get("block"))
    percent = used * 100 if used is not None else None
    yield _limit("8", "an idle pair, both nodes together", percent, 3, " % of a core")
