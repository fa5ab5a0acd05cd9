"""Writes a run down: JSON lines for programs, a post-mortem in Markdown for people."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import msgspec

from ..shared.errors import UserError
from .record import Event, Report
from .stage import Measures

MARKS = {True: "ok", False: "**FAILED**", None: ""}


def prepare(folder: Path) -> None:
    """Makes the folder for reports, before anything is run. Raises UserError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"cannot write reports into {folder}: {error.strerror}") from None


def write(report: Report, folder: Path) -> list[Path]:
    """Writes ID-TIME.jsonl and ID-TIME.md into `folder`; their paths. Raises UserError."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(report.started_ns / 1e9))
    paths = [folder / f"{report.id}-{stamp}.{kind}" for kind in ("jsonl", "md")]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths[0].write_bytes(as_jsonl(report))
        paths[1].write_text(as_markdown(report), "utf-8")
    except OSError as error:
        raise UserError(f"cannot write the report into {folder}: {error.strerror}") from None
    return paths


def as_jsonl(report: Report) -> bytes:
    """A line that says what the run was and how it ended, then one for each event."""
    head = msgspec.structs.replace(report, events=[])
    return b"".join(msgspec.json.encode(each) + b"\n" for each in (head, *report.events))


def as_markdown(report: Report) -> str:
    """The post-mortem: verdict, measures, both nodes before and after, and the timeline."""
    started = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(report.started_ns / 1e9))
    lines = [
        f"# {report.title}: {report.verdict.value}",
        "",
        f"- Runbook `{report.file}` (sha256 `{report.sha256[:16]}`), {report.mode}",
        f"- Begun {started} by {report.operator}, {report.seconds:.1f} s",
    ]
    if report.reason:
        lines.append(f"- Why: {report.reason}")
    if report.measures is not None:
        lines += [f"- {text}" for text in measure_lines(report.measures)]
    lines += ["", "| node | before | after |", "|---|---|---|"]
    for name in sorted({*report.before, *report.after}):
        lines.append(f"| {name} | {report.before.get(name)} | {report.after.get(name)} |")
    lines += ["", "| ms | line | what | | |", "|---:|---:|---|---|---|"]
    lines += [_row(report, event) for event in report.events]
    return "\n".join(lines) + "\n"


def measure_lines(measures: Measures) -> list[str]:
    """What was measured, for people."""

    def ms(value: float | None) -> str:
        return "not measured" if value is None else f"{value:.0f} ms"

    rto = f"RTO {ms(measures.rto_ms)} from the fault"
    rto += f", {ms(measures.rto_decision_ms)} from the decision"
    rpo = f"RPO {measures.lost} messages lost of {measures.confirmed} confirmed"
    return [
        f"{rto}; longest pause at the consumer {ms(measures.pause_ms)}",
        f"{rpo}; {measures.in_doubt} in doubt, {measures.quarantined} quarantined",
    ]


def _row(report: Report, event: Event) -> str:
    link = f"[{event.line}]({report.file}#L{event.line})" if event.line else ""
    text = event.text.replace("|", "\\|")
    return f"| {event.at_ms:.0f} | {link} | {event.what} | {text} | {MARKS[event.ok]} |"
