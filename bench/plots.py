"""The charts of a report, by file name. Decides which there are; how they look is `svg`."""

from __future__ import annotations

from pathlib import Path

from .contest import Contest
from .latency import CURVE
from .report import Report
from .svg import Points, bars, lines
from .targets import ALONE, BATCHES

NINES = {0.0: "0 %", 1.0: "90 %", 2.0: "99 %", 3.0: "99.9 %", 4.0: "99.99 %"}


def draw(report: Report) -> dict[str, str]:
    """SVG texts by file name; none for what was not measured."""
    found: dict[str, str] = {}
    if alone := report.contests.get(ALONE):
        found["latency.svg"] = _latency(alone)
    if batches := report.contests.get(BATCHES):
        rates = {entry.name: entry.per_s for entry in batches.entries if entry.samples}
        found["throughput.svg"] = bars("Confirmed messages per second, by 256", "/s", rates)
    for series in report.series:
        rows: dict[str, Points] = {
            "primary": [(max(1, one.x), one.primary_us) for one in series.points],
            "secondary": [(max(1, one.x), one.secondary_us) for one in series.points],
        }
        name = f"cost-by-{series.what.replace(' ', '-')}.svg"
        title = f"CPU per message by {series.what}"
        found[name] = lines(title, series.what, "us per message", rows, log_x=True)
    for name, one in report.runs.items():
        memory: dict[str, Points] = {
            process: cost.rss for process, cost in one.processes.items() if cost.rss
        }
        file = f"memory-{name.replace(' ', '-')}.svg"
        found[file] = lines(f"Memory, {name}", "seconds", "MiB", memory)
    return found


def write(report: Report, folder: Path) -> list[Path]:
    """Draws all charts into a folder; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in draw(report).items():
        (folder / name).write_text(text, "utf-8")
        paths.append(folder / name)
    return paths


def _latency(contest: Contest) -> str:
    """Percentiles of each contender's median round, over the number of nines."""
    series: dict[str, Points] = {}
    for entry in contest.entries:
        if entry.samples:
            by_p50 = sorted(entry.samples, key=lambda sample: sample.latency.p50)
            curve = by_p50[len(by_p50) // 2].latency.curve
            series[entry.name] = [(_nines(percentile), value) for percentile, value in curve]
    reached = max(one for points in series.values() for one, _ in points)
    names = {at: name for at, name in NINES.items() if at <= reached}
    title = "Round trip with one message in flight"
    return lines(title, "percentile", "us", series, log_y=True, x_names=names)


def _nines(percentile: float) -> float:
    """0 at the median's left end, 1 at 90 %, 2 at 99 %: each step is a tenth of what is left."""
    steps = CURVE.index(percentile) if percentile in CURVE else 0
    return round(steps * 0.30103, 4)
