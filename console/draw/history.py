"""The history: one row per event, and one event in full. Pure."""

from __future__ import annotations

from ...shared.story import Event
from ..words import count_text, date_text, ms_text
from .lines import Line, Tone, line, wrapped
from .workflow import receipt_lines


def event_cells(event: Event) -> tuple[str, ...]:
    """Time, seq, what, node, who, result, reason: one row."""
    result = event.result
    if event.pause_ms:
        result += f" {ms_text(event.pause_ms)}"
    return (
        date_text(event.time_ns).removesuffix("Z").replace("T", " "),
        count_text(event.seq),
        str(event.epoch),
        event.what,
        event.node,
        event.operator or "-",
        result,
        event.reason,
    )


def event_lines(event: Event, width: int) -> list[Line]:
    """One event in full, with its receipt."""
    rows = [
        line((event.what, Tone.TITLE), f"  {date_text(event.time_ns)}, seq {event.seq:,}"),
        line(("by ", Tone.LABEL), event.operator or "the node itself", ("  node ", Tone.LABEL)),
    ]
    rows[-1] = [*rows[-1], *line(event.node, f"  epoch {event.epoch}")]
    rows += wrapped(f"reason: {event.reason or '-'}", width)
    if event.result:
        tone = Tone.GOOD if event.result == "DONE" else Tone.BAD
        rows.append(line((event.result, tone)))
    if event.text:
        rows += wrapped(event.text, width)
    if event.operation:
        rows.append(line(("operation ", Tone.LABEL), event.operation))
    if event.receipt is not None:
        rows += [line(), *receipt_lines(event.receipt, width)]
    return rows
