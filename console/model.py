"""The model of the console: what was heard of both nodes, folded into one picture. Pure.

Decides what is shown, and how old it is. Knows no socket, no clock and no screen: inputs come from
the feed or from a recording, time is an argument, and so a recording shows what the operator saw.

`fold` is cheap and may be called for every frame; `advance` takes samples and looks for alarms, and
`view` makes the picture: those two are called as often as something is painted.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ..client.advice import advise, leads
from ..shared.telemetry import NodeStatus
from .alarm_kinds import Bounds, findings
from .alarms import AlarmBook
from .freshness import Freshness, Patience
from .inputs import Acted, FeedShut, HeadSeen, Heard, Input, Silent
from .options import suggestions
from .trends import Sample, Trends
from .view import (
    AlarmView,
    GateView,
    NodeView,
    PendingView,
    ProducerView,
    RefusalView,
    View,
)
from .witnesses import disagreements

ADVANCE_EVERY_S: Final = 0.25
SKEW_SMOOTHING: Final = 0.2
GATE_WORDS: Final = {"GATED": "OPEN", "SOLO": "SOLO", "STALLED": "HELD", "DRAINING": "CLOSING"}
ACTIONS_KEPT: Final = 200


class Setting(msgspec.Struct, frozen=True):
    """What the model has to know of the pair's configuration."""

    nodes: tuple[str, str]
    cluster: str = ""
    telemetry_s: float = 0.25
    bounds: Bounds = Bounds()

    @property
    def patience(self) -> Patience:
        return Patience.of_interval(self.telemetry_s)


class Witness:
    """What was heard of one node, and when."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status: NodeStatus | None = None
        self.at: float | None = None
        self.answers: bool | None = None
        self.why_silent = ""
        self.denied = False
        self.control_ms: float | None = None
        self.skew_ms: float | None = None
        self.refused_total = 0
        self.head: HeadSeen | None = None
        self.feed_shut = ""

    def hear(self, heard: Heard) -> None:
        """Takes a status in, unless a newer one of the same start is known."""
        status, old = heard.status, self.status
        if heard.took_ms is not None:
            self.answers, self.why_silent, self.control_ms = True, "", heard.took_ms
            self.denied = False
        if old is not None and self.at is not None:
            same_start = status.incarnation == old.incarnation
            if status.incarnation < old.incarnation or (
                same_start and status.time_ns < old.time_ns and heard.at - self.at < 1.0
            ):
                return  # an answer that was under way while telemetry overtook it
        self._measure_skew(heard)
        self._count_refusals(old, status)
        self.status, self.at = status, heard.at

    def _measure_skew(self, heard: Heard) -> None:
        """The least delayed frames tell the difference of the clocks best, so one that seems to
        come from a faster way counts at once, a slower one slowly."""
        delay_ms = (heard.took_ms or 0.0) / 2
        skew_ms = heard.status.time_ns / 1e6 - heard.at * 1e3 + delay_ms
        if self.skew_ms is None or skew_ms > self.skew_ms:
            self.skew_ms = skew_ms
        else:
            self.skew_ms += SKEW_SMOOTHING * (skew_ms - self.skew_ms)

    def _count_refusals(self, old: NodeStatus | None, new: NodeStatus) -> None:
        """Counts are since a node's start; the total here goes on over restarts."""
        if old is None:
            return
        before = sum(old.refused.values()) if old.started_ns == new.started_ns else 0
        self.refused_total += max(0, sum(new.refused.values()) - before)

    def view(self, now: float, patience: Patience) -> NodeView:
        age_s = None if self.at is None else max(0.0, now - self.at)
        status = self.status
        freshness = patience.judge(age_s)
        if freshness is Freshness.LATE and self.answers is False:
            freshness = Freshness.STALE  # neither telemetry nor control: that is no hiccup
        return NodeView(
            self.name,
            freshness,
            age_s,
            status,
            self.answers,
            self.why_silent,
            self.denied,
            self.control_ms,
            self.skew_ms,
            (status.time_ns - status.started_ns) / 1e9 if status else None,
            (status.time_ns - status.state_since_ns) / 1e9 + (age_s or 0.0) if status else None,
        )


class Model:
    """Everything that one console knows. Not for several threads."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.alarms = AlarmBook()
        self.actions: list[Acted] = []
        self.folded = 0
        self._witnesses = {name: Witness(name) for name in setting.nodes}
        self._trends = Trends()
        self._advanced_at: float | None = None

    def fold(self, told: Input) -> None:
        """Takes one input in. One of a node that is not of this pair is ignored."""
        self.folded += 1
        match told:
            case Heard():
                if (witness := self._witnesses.get(told.node)) is not None:
                    witness.hear(told)
            case Silent():
                if (witness := self._witnesses.get(told.node)) is not None:
                    witness.answers, witness.why_silent = False, told.why
                    witness.denied = told.denied
            case HeadSeen():
                if (witness := self._witnesses.get(told.node)) is not None:
                    witness.head, witness.feed_shut = told, ""
            case FeedShut():
                if (witness := self._witnesses.get(told.node)) is not None:
                    witness.head, witness.feed_shut = None, told.why
            case Acted():
                self.actions = [*self.actions[-ACTIONS_KEPT:], told]

    def advance(self, now: float) -> None:
        """Time has passed: samples for the rates, and alarms. Not more often than it tells."""
        if self._advanced_at is not None and now - self._advanced_at < ADVANCE_EVERY_S:
            return
        self._advanced_at = now
        nodes = self._nodes(now)
        leader = newest_leader(nodes)
        if self._trends.due(now):
            self._trends.add(self._sample(nodes, leader, now))
        picture = self._picture(nodes, leader, now, [])
        self.alarms.update(findings(picture, self.setting.bounds), now)

    def view(self, now: float) -> View:
        """The picture as of `now`."""
        nodes = self._nodes(now)
        return self._picture(nodes, newest_leader(nodes), now, self.alarms.views(now))

    def _nodes(self, now: float) -> list[NodeView]:
        patience = self.setting.patience
        return [witness.view(now, patience) for witness in self._witnesses.values()]

    def _sample(self, nodes: list[NodeView], leader: str, now: float) -> Sample:
        refused = sum(witness.refused_total for witness in self._witnesses.values())
        status = next((node.usable for node in nodes if node.name == leader), None)
        if status is None:
            heard = any(node.usable for node in nodes)
            return Sample(now, refused=refused if heard else None)
        return Sample(
            now,
            status.watermarks.accepted_seq,
            status.watermarks.released_seq,
            status.counters.get("bytes", 0),
            status.pending.messages,
            status.pending.bytes,
            status.link.lag_ms if status.link.up else None,
            refused,
        )

    def _picture(
        self, nodes: list[NodeView], leader: str, now: float, alarms: list[AlarmView]
    ) -> View:
        lead = next((node for node in nodes if node.name == leader), None)
        status = lead.status if lead else None
        known = next((node.status for node in nodes if node.status), None)
        head = self._witnesses[leader].head if leader else None
        linked = status is not None and status.link.up
        return View(
            at=now,
            cluster=self.setting.cluster or (known.cluster if known else ""),
            environment=known.environment if known else "",
            nodes=nodes,
            leader=leader,
            gate=_gate(nodes, lead),
            marks=status.watermarks if status else None,
            lag_messages=status.link.lag_messages if status else None,
            lag_bytes=status.link.lag_bytes if status else None,
            lag_ms=status.link.lag_ms if status and linked else None,
            pending=self._pending(status),
            rates=self._trends.rates(),
            stages=status.stages if status else [],
            trends=self._trends.curves(),
            disagreements=disagreements(nodes),
            alarms=alarms,
            advice=advise({node.name: node.usable for node in nodes}),
            suggestions=suggestions(nodes, leader),
            producers=_producers(lead),
            producers_known=status.producers_known if status else None,
            refusals=_refusals(nodes),
            feed_age_s=max(0.0, now - head.at) if head else None,
            feed_seq=head.released_seq if head else None,
            feed_shut=self._witnesses[leader].feed_shut if leader else "",
        )

    def _pending(self, status: NodeStatus | None) -> PendingView | None:
        if status is None:
            return None
        pending = status.pending
        shares = [
            amount / bound
            for amount, bound in (
                (pending.messages, pending.max_messages),
                (pending.bytes, pending.max_bytes),
            )
            if bound
        ]
        holding = [
            (one.name, one.accepted_producer_seq - one.confirmed_producer_seq)
            for one in status.producers
            if one.accepted_producer_seq > one.confirmed_producer_seq
        ]
        lefts = [
            (bound - amount) / growth
            for amount, bound, growth in (
                (pending.messages, pending.max_messages, self._trends.growth("pending")),
                (pending.bytes, pending.max_bytes, self._trends.growth("pending_bytes")),
            )
            if bound and growth is not None and growth > 0 and amount
        ]
        return PendingView(
            pending.messages,
            pending.bytes,
            pending.oldest_age_ms,
            pending.max_messages,
            pending.max_bytes,
            max(shares, default=0.0),
            sorted(holding, key=lambda one: -one[1]),
            max(0.0, min(lefts)) if lefts else None,
        )


def newest_leader(nodes: list[NodeView]) -> str:
    """The node that leads by what is new enough, the highest epoch if two say so; empty: none."""
    leading = [node.usable for node in nodes if leads(node.usable)]
    found = max((status for status in leading if status), key=lambda s: s.epoch, default=None)
    return found.node if found else ""


def _gate(nodes: list[NodeView], lead: NodeView | None) -> GateView:
    if lead is not None and lead.status is not None:
        word = GATE_WORDS.get(lead.status.state, lead.status.state)
        return GateView(word, lead.status.why, lead.name, lead.freshness)
    if any(node.usable for node in nodes):
        return GateView("NOBODY LEADS", "nothing is released", "", Freshness.FRESH)
    heard = any(node.status for node in nodes)
    why = "no node is heard" if heard else "no node was heard yet"
    return GateView("---", why, "", Freshness.STALE if heard else Freshness.UNKNOWN)


def _producers(lead: NodeView | None) -> list[ProducerView]:
    if lead is None or lead.status is None:
        return []
    return [
        ProducerView(
            one.name,
            one.accepted_producer_seq,
            max(0, one.accepted_producer_seq - one.confirmed_producer_seq),
            one.duplicates,
            one.refused,
            None
            if one.last_seen_age_ms is None
            else one.last_seen_age_ms / 1e3 + (lead.age_s or 0.0),
            lead.freshness,
        )
        for one in lead.status.producers
    ]


def _refusals(nodes: list[NodeView]) -> list[RefusalView]:
    found = []
    for node in nodes:
        for key, count in sorted((node.status.refused if node.status else {}).items()):
            socket, _, reason = key.partition(".")
            found.append(RefusalView(node.name, socket, reason, count))
    return sorted(found, key=lambda one: -one.count)
