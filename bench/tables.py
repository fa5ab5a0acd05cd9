"""A report for people: rich tables."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from .contest import Contest
from .growth import Series
from .report import Report
from .result import RunResult

MET = {True: "[green]met[/]", False: "[red]missed[/]", None: "-"}


def tables(report: Report) -> Iterator[Table]:
    for contest in report.contests.values():
        yield contest_table(contest)
    if report.runs:
        yield runs_table(report.runs)
    for name, found in report.runs.items():
        yield cost_table(name, found)
    for series in report.series:
        yield series_table(series)
    if report.targets:
        yield targets_table(report)


def short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}"


def conditions(report: Report) -> str:
    """The machine and the versions, in a few lines."""
    machine = report.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return (
        f"{machine.cpus} x {machine.cpu}, {machine.memory_mb:,} MB, {machine.system}, "
        f"Linux {machine.kernel}, load {machine.load_average:g} before\n"
        f"Python {machine.python}, {versions}; {report.began}, {report.seconds:g} s"
    )


def contest_table(contest: Contest) -> Table:
    first = contest.entries[0].name
    table = Table(
        title=f"{contest.title}: medians of {contest.rounds} rounds of {contest.seconds:g} s, in "
        f"turn; ratios: {first} to the others, round by round"
    )
    table.add_column("")
    for column in ("p50 us", "p99 us", "msg/s", "p50 ratio", "p99 ratio", "rate ratio", "us/msg"):
        table.add_column(column, justify="right")
    notes = []
    for entry in contest.entries:
        notes.append(f"{entry.name}: {entry.conditions}")
        if not entry.samples:
            table.add_row(entry.name, *7 * ["-"])
            notes[-1] += f"; SKIPPED: {entry.skipped}"
            continue
        cpu = sorted(sample.cpu_us_per_message for sample in entry.samples)[len(entry.samples) // 2]
        table.add_row(
            entry.name,
            f"{entry.p50:,.0f}",
            f"{entry.p99:,.0f}",
            f"{entry.per_s:,.0f}",
            f"{entry.p50_ratio:.2f}",
            f"{entry.p99_ratio:.2f}",
            f"{entry.rate_ratio:.2f}",
            short(cpu) if cpu else "-",
        )
    table.caption = Text("\n".join(notes), justify="left")
    return table


def runs_table(runs: dict[str, RunResult]) -> Table:
    """From sending (in an open loop: from when it was due) to the confirmation, and to delivery."""
    table = Table(title="The pair: us to the confirmation, and to delivery (d.)")
    table.add_column("")
    for column in ("msg/s", "read/s", "p50", "p90", "p99", "p99.9", "max", "d. p50", "d. p99"):
        table.add_column(column, justify="right")
    notes = [f"{name}: {found.scenario.told()}" for name, found in runs.items()]
    table.caption = Text("\n".join(notes), justify="left")
    for name, found in runs.items():
        rtt = found.rtt
        read = max((one.per_s for one in found.deliveries), default=0.0)
        delivery = next((one.latency for one in found.deliveries if one.latency.count), None)
        table.add_row(
            name,
            f"{found.per_s:,.0f}",
            f"{read:,.0f}" if read else "-",
            *(f"{value:,.0f}" for value in (rtt.p50, rtt.p90, rtt.p99, rtt.p999, rtt.max)),
            f"{delivery.p50:,.0f}" if delivery else "-",
            f"{delivery.p99:,.0f}" if delivery else "-",
        )
    return table


def cost_table(name: str, found: RunResult) -> Table:
    """Processes, and the stages of a record's way through the primary."""
    table = Table(title=f"{name}: what it costs, and where the time goes")
    for column in ("process", "cores", "us/msg", "RSS MiB", "at the end"):
        table.add_column(column, justify="left" if column == "process" else "right")
    for process, cost in found.processes.items():
        begin, end = cost.rss_mb
        table.add_row(
            process, f"{cost.cpu:.2f}", short(cost.us_per_message), f"{begin:.1f}", f"{end:.1f}"
        )
    for stage in found.stages:
        table.add_row(
            f"stage {stage.name}", f"p50 {stage.p50_us:,.0f} us", f"p99 {stage.p99_us:,.0f}"
        )
    return table


def series_table(series: Series) -> Table:
    table = Table(title=f"By {series.what} ({series.load})")
    columns = (series.what, "msg/s", "p50 us", "p99 us", "primary us/msg", "secondary us/msg")
    for column in (*columns, "primary MiB", "secondary MiB"):
        table.add_column(column, justify="right")
    for one in series.points:
        table.add_row(
            f"{one.x:,}",
            *(f"{value:,.0f}" for value in (one.per_s, one.p50_us, one.p99_us)),
            short(one.primary_us),
            short(one.secondary_us),
            f"{one.primary_rss_mb:.1f}",
            f"{one.secondary_rss_mb:.1f}",
        )
    return table


def targets_table(report: Report) -> Table:
    table = Table(title="Targets")
    for column in ("", "what", "target", "measured", ""):
        table.add_column(column, justify="right" if column in ("target", "measured") else "left")
    for target in report.targets:
        table.add_row(target.number, target.what, target.wanted, target.measured, MET[target.met])
    return table
