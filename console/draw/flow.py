"""The way of the messages: the gate, the watermarks, what is pending, rates and latencies. Pure."""

from __future__ import annotations

from typing import Final

from ..freshness import Freshness, aged
from ..view import NodeView, Trend, View
from ..words import (
    MISSING,
    age_text,
    bytes_text,
    count_text,
    heard_text,
    ms_text,
    short_text,
    us_text,
)
from .lines import Line, Tone, by_age, line, table, wrapped

BARS: Final = " ▁▂▃▄▅▆▇"
HOLE: Final = "·"
GATE_TONES: Final = {"OPEN": Tone.GOOD, "SOLO": Tone.ALARM, "HELD": Tone.BAD}
SHOWN_S: Final = 120
NO_ACKS: Final = ("acked", None, None)


def gate_text(view: View) -> Line:
    """`gate OPEN, led by a` or, of the past, `gate ~OPEN 12s`."""
    gate = view.gate
    age_s = view.node(gate.leader).age_s if gate.leader else None
    word = gate.word if not gate.leader else aged(gate.word, gate.freshness, age_s)
    tone = GATE_TONES.get(gate.word, Tone.BAD)
    if gate.freshness is not Freshness.FRESH:
        tone = Tone.DIM
    by = f" led by {gate.leader}" if gate.leader else ""
    return line(("gate ", Tone.LABEL), (f" {word} " if tone is Tone.ALARM else word, tone), by)


def gate_lines(view: View, width: int, height: int) -> list[Line]:
    """The gate and the link: what holds a message back, in figures."""
    rows = [gate_text(view), *wrapped(view.gate.why, width, Tone.DIM)[:2]]
    marks = view.marks
    if marks is None:
        return rows[:height]
    acks = marks.acked_seq or view.lag_ms is not None  # without a standby there are none
    steps = [
        ("accepted", marks.accepted_seq, None),
        ("written", marks.written_seq, marks.accepted_seq - marks.written_seq),
        ("acked", marks.acked_seq, marks.accepted_seq - marks.acked_seq) if acks else NO_ACKS,
        ("released", marks.released_seq, marks.accepted_seq - marks.released_seq),
    ]
    cells = []
    for label, seq, behind in steps:
        distance = "" if behind is None else f"{behind:,} behind" if behind > 0 else "level"
        tone = Tone.DIM if not behind else Tone.PLAIN
        figure = (f"{count_text(seq):>15}", by_age(Tone.PLAIN, view.gate.freshness))
        cells.append([line((label, Tone.LABEL)), line(figure), line((distance, tone))])
    rows += table(cells, width)
    rows += [lag_line(view), line(), *map(_link_line, view.nodes)]
    return rows[:height]


def _link_line(node: NodeView) -> Line:
    """The link as one of the two sees it."""
    label = (f"link, says {node.name}: ", Tone.LABEL)
    if node.status is None:
        return line(label, (MISSING, Tone.DIM))
    link = node.status.link
    if not link.up:
        return line(label, ("down", by_age(Tone.BAD, node.freshness)))
    peer = f"{link.peer} is {link.peer_state or MISSING}, {heard_text(link.heard_age_ms)}"
    return line(
        label,
        ("up, ", by_age(Tone.GOOD, node.freshness)),
        (peer, by_age(Tone.PLAIN, node.freshness)),
    )


def lag_line(view: View) -> Line:
    """`lag 12 messages, 4.0 KiB, 0.3 ms`"""
    freshness = view.gate.freshness
    if view.lag_messages is None:
        return line(("lag ", Tone.LABEL), (MISSING, Tone.DIM))
    ms = ms_text(view.lag_ms) if view.lag_ms is not None else "no link"
    text = f"{count_text(view.lag_messages)} messages, {bytes_text(view.lag_bytes)}, {ms}"
    tone = Tone.BAD if view.lag_ms is None else Tone.PLAIN
    return line(("lag ", Tone.LABEL), (text, by_age(tone, freshness)))


def pending_lines(view: View, width: int, height: int) -> list[Line]:
    """What is sequenced and not released, whose it is, and when there is no more room."""
    pending = view.pending
    if pending is None:
        return [line(("pending ", Tone.LABEL), (MISSING, Tone.DIM))]
    tone = Tone.BAD if pending.share >= 0.8 else Tone.WARN if pending.share >= 0.5 else Tone.PLAIN
    tone = by_age(tone, view.gate.freshness)
    full = "not filling" if pending.full_in_s is None else f"BUSY in {age_text(pending.full_in_s)}"
    whose = ", ".join(f"{name} {count:,}" for name, count in pending.producers[:4])
    size = f"{bytes_text(pending.bytes)} of {bytes_text(pending.max_bytes)}"
    rows = [
        line(
            ("pending ", Tone.LABEL),
            (f"{pending.messages:,}", tone),
            (f" of {pending.max_messages:,}", Tone.DIM),
        ),
        line(("        ", Tone.LABEL), (bar(pending.share, max(4, min(24, width - 18))), tone)),
        line(("bytes   ", Tone.LABEL), size),
        line(
            ("oldest  ", Tone.LABEL),
            ms_text(pending.oldest_ms),
            (f"  {full}", Tone.WARN if pending.full_in_s is not None else Tone.DIM),
        ),
        line(("of      ", Tone.LABEL), whose or "nobody"),
    ]
    return rows[:height]


def pending_line(view: View) -> Line:
    """The same on one line."""
    pending = view.pending
    if pending is None:
        return line(("pending ", Tone.LABEL), (MISSING, Tone.DIM))
    full = f", BUSY in {age_text(pending.full_in_s)}" if pending.full_in_s is not None else ""
    tone = Tone.WARN if pending.share >= 0.5 or full else Tone.PLAIN
    text = (
        f"{pending.messages:,} of {pending.max_messages:,}, {bytes_text(pending.bytes)}, oldest "
        f"{ms_text(pending.oldest_ms)}{full}"
    )
    return line(("pending ", Tone.LABEL), (text, by_age(tone, view.gate.freshness)))


def bar(share: float, width: int) -> str:
    """`[####....] 45%`, in letters that every font has."""
    filled = min(width, max(0, round(share * width)))
    return f"[{'#' * filled}{'.' * (width - filled)}] {share:.0%}"


def rate_lines(view: View, width: int, height: int) -> list[Line]:
    """Rates now, and the last two minutes."""
    rates = view.rates
    now = {
        "in/s": short_text(rates.accepted),
        "out/s": short_text(rates.released),
        "pending": short_text(view.pending.messages) if view.pending else MISSING,
        "lag ms": MISSING if view.lag_ms is None else f"{view.lag_ms:.1f}",
    }
    room = max(8, width - 17)
    rows = [
        line(
            (f"{trend.name:<8}", Tone.LABEL),
            f"{now.get(trend.name, ''):>7} ",
            (sparkline(trend, room), Tone.ACCENT),
        )
        for trend in view.trends
    ]
    size = f"{bytes_text(rates.bytes)}/s" if rates.bytes is not None else MISSING
    rows.append(
        line(
            ("bytes   ", Tone.LABEL), size, ("   refused/s ", Tone.LABEL), short_text(rates.refused)
        )
    )
    return rows[:height]


def sparkline(trend: Trend, width: int, seconds: int = SHOWN_S) -> str:
    """The newest values to the right, each column the highest of its seconds; holes are dots."""
    per_column = max(1, -(-seconds // width))
    values = trend.values[-width * per_column :]
    columns: list[float | None] = []
    for end in range(len(values), 0, -per_column):
        known = [one for one in values[max(0, end - per_column) : end] if one is not None]
        columns.append(max(known) if known else None)
    columns.reverse()
    top = max((one for one in columns if one is not None), default=0.0)
    return "".join(_bar_of(one, top) for one in columns).rjust(width)


def _bar_of(value: float | None, top: float) -> str:
    if value is None:
        return HOLE
    if value <= 0 or top <= 0:
        return BARS[1]
    return BARS[1 + round(value / top * (len(BARS) - 2))]


def stage_lines(view: View, width: int, height: int) -> list[Line]:
    """Where the time of a message goes."""
    titles = ("stage", "   p50", "   p99", "   max")
    head = [line((text, Tone.LABEL)) for text in titles]
    known = {stage.name: stage for stage in view.stages}
    names = list(known) or ["rtt", "intake", "replicate+write", "ack", "release"]
    rows = [head]
    for name in names:
        stage = known.get(name)
        figures = (stage.p50_us, stage.p99_us, stage.max_us) if stage else (None, None, None)
        rows.append([line(name), *(line(f"{us_text(figure):>6}") for figure in figures)])
    return table(rows, width, gap=1)[:height]
