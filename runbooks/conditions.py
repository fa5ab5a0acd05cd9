"""Predicates over named fields: `leader.state is GATED`, `standby.lag-messages <= 100`.

Decides which fields there are and what each is read from, and nothing else: a condition is one
subject, one field, one comparison, one value. A field of a node that does not answer has no value,
and no comparison with it holds but `answers is no`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from ..client.advice import leads
from ..shared.errors import UserError
from ..shared.telemetry import NodeStatus
from .verbs import Who

Value = str | bool | float
FORM = re.compile(r"([a-z]+)\.([a-z-]+) (is not|is one of|is|>=|<=|>|<) (\S.*)")
WORDS: Final = {"yes": True, "no": False}


class Scene(msgspec.Struct, frozen=True):
    """What is known at one moment. `roles` names the node of each `Who`. `flow` is what the
    producers and the checking consumer of a drill see; None where there are none. `first`: what
    each node said when the run began, or when it was heard first."""

    nodes: Mapping[str, NodeStatus | None]
    roles: Mapping[Who, str]
    flow: Mapping[str, Value] | None = None
    first: Mapping[str, NodeStatus | None] = {}

    def node(self, who: Who) -> NodeStatus | None:
        return self.nodes.get(self.roles.get(who, ""))


NODE_FIELDS: Final[dict[str, Callable[[NodeStatus], Value]]] = {
    "answers": lambda status: True,
    "role": lambda status: status.role,
    "state": lambda status: status.state,
    "epoch": lambda status: status.epoch,
    "mode": lambda status: status.mode,
    "leads": leads,
    "promotable": lambda status: status.promotable,
    "fenced": lambda status: bool(status.fenced),
    "paused": lambda status: bool(status.paused),
    "unprotected": lambda status: status.unprotected is not None,
    "diverged": lambda status: status.divergence is not None,
    "link-up": lambda status: status.link.up,
    "lag-messages": lambda status: status.link.lag_messages,
    "pending-messages": lambda status: status.pending.messages,
    "pending-percent": lambda status: (
        100 * status.pending.messages / max(1, status.pending.max_messages)
    ),
    "refused-busy": lambda status: status.refused.get("intake.busy", 0),
    "refused-disk-full": lambda status: status.refused.get("intake.disk-full", 0),
    "incarnation": lambda status: status.incarnation,
    "version": lambda status: status.version,
    "keys-error": lambda status: status.security is not None and bool(status.security.error),
}
# What has changed of a node since the run began.
SINCE_FIELDS: Final[dict[str, Callable[[NodeStatus, NodeStatus], Value]]] = {
    "restarted": lambda first, now: first.incarnation != now.incarnation,
    "key-renewed": lambda first, now: _own_key(first) != _own_key(now),
}
FLOW_FIELDS: Final = {
    "producers": ("confirmed", "unconfirmed", "refused"),
    "consumer": ("delivered", "delivers", "checks", "silent-ms"),
    "thief": ("reads", "submits"),
}
PAIR_FIELDS: Final = ("gated", "leaders", "clocks-apart-ms", "keys-equal")
SUBJECTS: Final = {
    **{who.value: (*NODE_FIELDS, *SINCE_FIELDS) for who in Who},
    **FLOW_FIELDS,
    "pair": PAIR_FIELDS,
}


class Condition(msgspec.Struct, frozen=True):
    """One comparison, parsed."""

    text: str
    subject: str
    field: str
    operator: str
    values: tuple[Value, ...]

    @property
    def needs_flow(self) -> bool:
        """Whether only a drill can tell."""
        return self.subject in FLOW_FIELDS


def parse_condition(text: str) -> Condition:
    """Raises UserError with what is wrong."""
    match = FORM.fullmatch(text)
    if match is None:
        raise UserError(
            f"{text!r} is no condition; expected SUBJECT.FIELD is VALUE, or is not, is one of, >=, "
            "<=, > or < in its place"
        )
    subject, field, operator, value = match.groups()
    if subject not in SUBJECTS:
        raise UserError(f"unknown subject {subject!r}; there are {', '.join(SUBJECTS)}")
    if field not in SUBJECTS[subject]:
        known = ", ".join(SUBJECTS[subject])
        raise UserError(f"{subject} has no field {field!r}; it has {known}")
    parts = value.split(" or ") if operator == "is one of" else [value]
    values = tuple(_value(part) for part in parts)
    if operator in (">=", "<=", ">", "<") and not isinstance(values[0], float):
        raise UserError(f"{text!r} compares with {value!r}, which is no number")
    return Condition(text, subject, field, operator, values)


def _value(text: str) -> Value:
    if text in WORDS:
        return WORDS[text]
    try:
        return float(text)
    except ValueError:
        return text


def observe(condition: Condition, scene: Scene) -> Value | None:
    """What the field is now; None: nobody can tell."""
    subject, field = condition.subject, condition.field
    if subject in FLOW_FIELDS:
        return None if scene.flow is None else scene.flow.get(field)
    if subject == "pair":
        return _of_pair(field, scene)
    status = scene.node(Who(subject))
    if status is None:
        return False if field == "answers" else None
    if field in SINCE_FIELDS:
        first = scene.first.get(status.node)
        return None if first is None else SINCE_FIELDS[field](first, status)
    return NODE_FIELDS[field](status)


def _own_key(status: NodeStatus) -> str:
    return status.security.fingerprint if status.security else ""


def _of_pair(field: str, scene: Scene) -> Value | None:
    known = [status for status in scene.nodes.values() if status is not None]
    if not known:
        return None
    if field == "leaders":
        return float(sum(leads(status) for status in known))
    if field == "gated":
        return sorted(status.state for status in known) == ["GATED", "IN_SYNC"]
    if len(known) < 2:
        return None
    if field == "keys-equal":
        one, two = (status.security for status in known)
        return one is not None and two is not None and one.ring == two.ring
    return abs(known[0].time_ns - known[1].time_ns) / 1e6


def holds(condition: Condition, scene: Scene) -> bool:
    """Whether it is true now. Nothing is true of what nobody can tell."""
    seen = observe(condition, scene)
    if seen is None:
        return False
    wanted = condition.values
    match condition.operator:
        case "is" | "is one of":
            return seen in wanted
        case "is not":
            return seen not in wanted
    if isinstance(seen, str) or not isinstance(wanted[0], float):
        return False
    compare = {
        ">=": seen >= wanted[0],
        "<=": seen <= wanted[0],
        ">": seen > wanted[0],
        "<": seen < wanted[0],
    }
    return compare[condition.operator]


def seen_text(condition: Condition, scene: Scene) -> str:
    """`leader.state is GATED: it is STALLED`, for people."""
    seen = observe(condition, scene)
    if seen is None:
        return f"{condition.text}: not known, nobody answers"
    word = {True: "yes", False: "no"}.get(seen, seen) if isinstance(seen, bool) else seen
    shown = f"{word:g}" if isinstance(word, float) else str(word)
    return f"{condition.text}: it is {shown}"
