"""The headless twin: the same picture as plain lines, for screen readers, pipes and scripts. Pure.

Decides what a line says and which changes are worth one. A line stands alone: a screen reader reads
it without having to look elsewhere.
"""

from __future__ import annotations

from .alarm_kinds import severity_text
from .freshness import Freshness
from .view import NodeView, View
from .words import age_text, clock_text, count_text, ms_text, short_text


def summary_line(view: View) -> str:
    """The pair in one line."""
    pending = view.pending.messages if view.pending else None
    parts = [
        f"gate {view.gate.word}" + (f" led by {view.leader}" if view.leader else ""),
        *(node_text(node) for node in view.nodes),
        f"released {count_text(view.marks.released_seq if view.marks else None)}",
        f"pending {count_text(pending)}",
        f"lag {ms_text(view.lag_ms)}",
        f"in {short_text(view.rates.accepted)}/s out {short_text(view.rates.released)}/s",
    ]
    waiting = [alarm for alarm in view.alarms if alarm.state in ("active", "latched")]
    parts.append(f"alarms {len(waiting)}")
    return f"{clock_text(int(view.at * 1e9))} " + "; ".join(parts)


def node_text(node: NodeView) -> str:
    """`a GATED primary epoch 3`, or how long ago that was."""
    status = node.status
    if status is None:
        return f"{node.name} never heard"
    if node.freshness is Freshness.STALE:
        return f"{node.name} not heard for {age_text(node.age_s)}, was {status.state}"
    late = f" ({age_text(node.age_s)} old)" if node.freshness is Freshness.LATE else ""
    return f"{node.name} {status.state} {status.role} epoch {status.epoch}{late}"


def changes(before: View, after: View) -> list[str]:
    """What is different: states, the gate, alarms that came and went, and what to do now."""
    found = []
    for old, new in zip(before.nodes, after.nodes, strict=True):
        if _standing(old) != _standing(new):
            why = f": {new.status.why}" if new.usable and new.status else ""
            found.append(f"{node_text(new)}{why}")
    if (before.gate.word, before.leader) != (after.gate.word, after.leader):
        by = f" led by {after.leader}" if after.leader else ""
        found.append(f"gate {after.gate.word}{by}: {after.gate.why}")
    old_alarms = {alarm.key: alarm for alarm in before.alarms if alarm.state != "latched"}
    new_alarms = {alarm.key: alarm for alarm in after.alarms if alarm.state != "latched"}
    for key in new_alarms.keys() - old_alarms.keys():
        alarm = new_alarms[key]
        found.append(f"alarm {severity_text(alarm.severity)}: {alarm.title}: {alarm.text}")
    found += [
        f"alarm over: {old_alarms[key].title}" for key in old_alarms.keys() - new_alarms.keys()
    ]
    if before.advice != after.advice:
        found += [f"what now: {text}" for text in after.advice]
    return [f"{clock_text(int(after.at * 1e9))} {text}" for text in found]


def _standing(node: NodeView) -> tuple[object, ...]:
    status = node.usable
    if status is None:
        return (node.freshness,)
    return (status.state, status.role, status.epoch, status.fenced, status.paused, status.operation)
