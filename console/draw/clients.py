"""Who submits, who reads, and who is refused. Pure."""

from __future__ import annotations

from ..freshness import Freshness
from ..view import View
from ..words import MISSING, age_text, count_text, short_text
from .lines import Line, Tone, by_age, line, table, wrapped


def client_lines(view: View, width: int, height: int) -> list[Line]:
    """Producers with a session, readers as far as nodes know them, and refusals."""
    lead = view.node(view.leader) if view.leader else None
    age = f"  {age_text(lead.age_s)} old" if lead and lead.freshness is Freshness.LATE else ""
    rows = [line(("producers", Tone.TITLE), (age, Tone.WARN)), *_producers(view, width), line()]
    rows += [_title("consumers"), *_consumers(view, width), line()]
    return [*rows, _title("refused since each node's start"), *_refusals(view, width)]


def _title(text: str) -> Line:
    return line((text, Tone.TITLE))


def _producers(view: View, width: int) -> list[Line]:
    if view.producers_known is None:
        return [line((f"{MISSING}  nobody leads, so no sessions are known", Tone.DIM))]
    if not view.producers:
        known = f"{view.producers_known:,} known by the log, none has a session"
        return [line((known, Tone.DIM))]
    titles = ("name", "     last seq", "in flight", "dups dropped", "refused", "last seen")
    rows = [[line((text, Tone.LABEL)) for text in titles]]
    for one in view.producers:
        cells = (
            one.name,
            f"{one.accepted:>13,}",
            f"{one.in_flight:>9,}",
            f"{count_text(one.duplicates):>12}",
            f"{count_text(one.refused):>7}",
            f"{age_text(one.last_seen_s)} ago" if one.last_seen_s is not None else MISSING,
        )
        rows.append([line((cell, by_age(Tone.PLAIN, one.freshness))) for cell in cells])
    made = table(rows, width)
    more = view.producers_known - len(view.producers)
    if more > 0:
        made.append(line((f"and {more:,} more known by the log", Tone.DIM)))
    return made


def _consumers(view: View, width: int) -> list[Line]:
    """Consumers have no session: the feed reaches anybody, and replay answers anybody."""
    rows = [[line((text, Tone.LABEL)) for text in ("node", "replay chunks", "dropped")]]
    for node in view.nodes:
        status = node.status
        chunks = status.counters.get("replay-chunks", 0) if status else None
        dropped = status.counters.get("replay-dropped", 0) if status else None
        cells = (node.name, count_text(chunks), count_text(dropped))
        rows.append([line((cell, by_age(Tone.PLAIN, node.freshness))) for cell in cells])
    made = table(rows, width)
    label = ("release feed ", Tone.LABEL)
    if view.feed_shut:
        return [*made, *wrapped(f"release feed not read: {view.feed_shut}", width, Tone.DIM)]
    age = f"{age_text(view.feed_age_s)} ago" if view.feed_age_s is not None else MISSING
    return [*made, line(label, f"head {count_text(view.feed_seq)}, heard {age}")]


def _refusals(view: View, width: int) -> list[Line]:
    if not view.refusals:
        return [line(("nothing was refused", Tone.DIM))]
    rows = [[line((text, Tone.LABEL)) for text in ("node", "socket", "reason", "times")]]
    rows += [
        [line(one.node), line(one.socket), line(one.reason), line(count_text(one.count))]
        for one in view.refusals
    ]
    now = line(("now ", Tone.LABEL), f"{short_text(view.rates.refused)}/s")
    return [*table(rows, width), now]
