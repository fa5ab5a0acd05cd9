"""A node as it claims to be. Pure."""

from __future__ import annotations

from typing import Final

from ...shared.telemetry import NodeStatus, SecurityStatus
from ..freshness import Freshness
from ..keylist import NO_KEYS
from ..view import NodeView
from ..words import MISSING, age_text, bytes_text, count_text, heard_text, ms_text
from .lines import Line, Tone, by_age, line, table

SKEW_SHOWN_MS: Final = 100  # the feed looks ten times a second, so less is not known
GOOD: Final = frozenset({"GATED", "IN_SYNC"})
BAD: Final = frozenset({"STALLED", "FENCED", "DIVERGED", "FAILED"})


def state_tone(state: str) -> Tone:
    if state in GOOD:
        return Tone.GOOD
    return Tone.BAD if state in BAD else Tone.WARN


def state_line(node: NodeView) -> Line:
    """`GATED for 2m03s`, `~GATED 14s ago`, `---`: what is old never looks live."""
    status = node.status
    if status is None:
        why = f"never heard; {node.why_silent}" if node.why_silent else "not heard yet"
        return line((MISSING, Tone.DIM), f"  {why}")
    if node.freshness is Freshness.STALE:
        answers = "no answer" if node.answers is False else "not heard"
        answers = "key refused" if node.denied else answers
        age = age_text(node.age_s)
        return line((f"~{status.state}", Tone.DIM), "  ", (f"{answers} for {age}", Tone.BAD))
    tone = by_age(state_tone(status.state), node.freshness)
    late = f"  heard {age_text(node.age_s)} ago" if node.freshness is Freshness.LATE else ""
    return line((status.state, tone), f" for {age_text(node.state_for_s)}", (late, Tone.WARN))


def node_lines(node: NodeView, width: int, height: int) -> list[Line]:
    """As many of a node's rows as fit, the most telling first."""
    rows = [("state", state_line(node))]
    if node.status is not None:
        rows += _rows(node, node.status)
    else:
        rows += [(label, line((MISSING, Tone.DIM))) for label in ("role", "epoch", "released")]
    return table([[line((label, Tone.LABEL)), cell] for label, cell in rows[:height]], width)


def _rows(node: NodeView, status: NodeStatus) -> list[tuple[str, Line]]:
    def value(text: str, tone: Tone = Tone.PLAIN) -> Line:
        is_old = node.freshness is Freshness.STALE and text != MISSING
        return line((f"~{text}" if is_old else text, by_age(tone, node.freshness)))

    marks, link, journal = status.watermarks, status.link, status.journal
    epoch = f"{status.epoch} {status.mode}, led by {status.leader}" if status.epoch else "none yet"
    rows = [("role", value(_role(status), _role_tone(status))), ("epoch", value(epoch))]
    rows += [(label, value(text, tone)) for label, text, tone in _standing(status)]
    up = f"up to {link.peer}, {heard_text(link.heard_age_ms)}"
    rows += [
        ("link", value(up) if link.up else value(f"down to {link.peer}", Tone.BAD)),
        ("accepted", value(count_text(marks.accepted_seq))),
        ("written", value(f"{count_text(marks.written_seq)}, synced {marks.synced_seq:,}")),
        ("released", value(count_text(marks.released_seq))),
        *([] if status.why == status.fenced else [("why", value(status.why))]),
        (
            "disk",
            value(f"{bytes_text(journal.disk_free_bytes)} free, {journal.segments} segments"),
        ),
        ("memory", value(bytes_text(status.memory_bytes))),
        ("up", value(f"{age_text(node.uptime_s)}, start {status.incarnation}, pid {status.pid}")),
        ("control", _control(node)),
        ("clock", value(_skew(node))),
        ("keys", value(_keys(status.security))),
    ]
    return rows


def _keys(security: SecurityStatus | None) -> str:
    """What has to be equal on both nodes comes first: a panel may be too narrow for the rest."""
    if security is None:
        return NO_KEYS
    return f"{security.keys} allowed, list {security.ring}, own {security.fingerprint}"


def _role(status: NodeStatus) -> str:
    if status.role != "secondary":
        return status.role
    return "secondary, promotable" if status.promotable else "secondary, NOT promotable"


def _role_tone(status: NodeStatus) -> Tone:
    return Tone.WARN if status.role == "secondary" and not status.promotable else Tone.PLAIN


def _standing(status: NodeStatus) -> list[tuple[str, str, Tone]]:
    """What an operator has to know before deciding; only what there is."""
    rows = []
    if status.operation:
        rows.append(("at work", status.operation, Tone.ACCENT))
    if status.fenced:
        rows.append(("fenced", status.fenced, Tone.BAD))
    if status.security is not None and status.security.error:
        rows.append(("keys", status.security.error, Tone.BAD))
    if status.security is not None and status.security.banned:
        rows.append(("banned", ", ".join(status.security.banned), Tone.WARN))
    if status.paused:
        rows.append(("paused", status.paused, Tone.WARN))
    if status.doubt and status.doubt != status.fenced and not status.promotable:
        rows.append(("doubt", status.doubt, Tone.WARN))
    if status.closed_for:
        rows.append(("closed", f"handed over to {status.closed_for}", Tone.PLAIN))
    return rows


def _control(node: NodeView) -> Line:
    if node.answers is None:
        return line((MISSING, Tone.DIM))
    if node.answers:
        return line(f"answers in {ms_text(node.control_ms)}")
    return line((node.why_silent or "does not answer", Tone.BAD))


def _skew(node: NodeView) -> str:
    if node.skew_ms is None:
        return MISSING
    if abs(node.skew_ms) < SKEW_SHOWN_MS:
        return f"within {SKEW_SHOWN_MS} ms of this console's"
    sign = "+" if node.skew_ms >= 0 else "-"
    return f"{sign}{ms_text(abs(node.skew_ms))} to this console"
