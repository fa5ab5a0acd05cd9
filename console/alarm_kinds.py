"""The alarms: what each one is, how grave, what to do, and when it holds. Pure.

Decides the conditions, from one picture without its alarms. How an alarm lives on (acknowledged,
latched, shelved) is `alarms`. Each condition has a delay, so that what heals by itself within a
heartbeat rings no bell.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Final

import msgspec

from ..shared.telemetry import NodeStatus, SecurityStatus
from .keylist import lists_differ
from .view import NodeView, View
from .words import age_text, bytes_text, count_text, ms_text, short_text


class Severity(IntEnum):
    """How soon somebody has to act. Shown as shape, number and word, so colour is not needed."""

    CRITICAL = 1  # service or safety is gone or about to go: now
    WARNING = 2  # protection or room is shrinking: within minutes
    ADVISORY = 3  # worth knowing: today


SHAPES: Final = {Severity.CRITICAL: "■", Severity.WARNING: "▲", Severity.ADVISORY: "●"}


def severity_text(severity: int) -> str:
    """`■ 1 CRITICAL`"""
    one = Severity(severity)
    return f"{SHAPES[one]} {one.value} {one.name}"


class AlarmKind(msgspec.Struct, frozen=True):
    """What an alarm means. `raise_s`, `clear_s`: for how long the condition has to hold, or to be
    gone. `runbook` is the id of the runbook that fits."""

    name: str
    severity: Severity
    title: str
    what_to_do: str
    runbook: str
    raise_s: float = 0.0
    clear_s: float = 1.0


S = Severity
KINDS: Final[dict[str, AlarmKind]] = {
    kind.name: kind
    for kind in (
        AlarmKind(
            "BOTH_LEAD",
            S.CRITICAL,
            "both nodes lead",
            "demote (in solo: gate) the node of the lower epoch at once",
            "split-brain",
            0.5,
        ),
        AlarmKind(
            "DIVERGED",
            S.CRITICAL,
            "the logs differ",
            "decide which log stays; reinstate the other node with --accept-loss",
            "split-brain",
        ),
        AlarmKind(
            "NODE_FAILED",
            S.CRITICAL,
            "a node cannot go on",
            "read why; repair its journal from the peer, or reinstate it with --reseed",
            "journal-damaged",
        ),
        AlarmKind(
            "NOBODY_LEADS",
            S.CRITICAL,
            "nobody leads",
            "start the primary; if it is lost, promote the standby",
            "primary-crashed",
            2.0,
        ),
        AlarmKind(
            "BLIND",
            S.CRITICAL,
            "no node is heard",
            "check this console's own network first; then both nodes",
            "power-loss",
            2.0,
        ),
        AlarmKind(
            "STALLED",
            S.CRITICAL,
            "nothing is released",
            "bring the standby back; if that takes too long: solo",
            "standby-lost",
            1.0,
        ),
        AlarmKind(
            "UNPROTECTED",
            S.CRITICAL,
            "released without a standby",
            "bring the standby back: the gate engages by itself; or stop releasing: gate",
            "standby-lost",
        ),
        AlarmKind(
            "PENDING_FULL",
            S.WARNING,
            "pending is near its bound",
            "find out why the standby acknowledges slowly, or slow the producers down",
            "producer-flood",
            1.0,
        ),
        AlarmKind(
            "LINK_DOWN",
            S.WARNING,
            "the link is down",
            "check that both nodes run, and the network between them",
            "link-cut",
            1.0,
        ),
        AlarmKind(
            "FENCED",
            S.WARNING,
            "a node is fenced",
            "reinstate it: until then there is no standby",
            "reinstate-old-primary",
        ),
        AlarmKind(
            "LAG",
            S.WARNING,
            "the standby lags",
            "check the standby's disk and CPU, and the network between the nodes",
            "standby-lost",
            2.0,
            3.0,
        ),
        AlarmKind(
            "DISK_LOW",
            S.WARNING,
            "little disk space",
            "free space on the node's data disk, or set limits.retain_bytes",
            "disk-full-primary",
        ),
        AlarmKind(
            "STALE",
            S.WARNING,
            "a node is not heard",
            "check that it runs, and the way from this console to its telemetry and control",
            "primary-frozen",
            1.5,
        ),
        AlarmKind(
            "FEED_SILENT",
            S.WARNING,
            "the release feed is silent",
            "the leader lives and publishes nothing: check its feed endpoint, then restart it",
            "primary-frozen",
            1.0,
        ),
        AlarmKind(
            "WITNESSES",
            S.WARNING,
            "the nodes contradict each other",
            "compare both columns of the overview before any operation",
            "link-cut",
            3.0,
        ),
        AlarmKind(
            "KEYS_DIFFER",
            S.WARNING,
            "the nodes allow different keys",
            "copy allowed.toml from the right machine to the other, then: interlock keys reload",
            "key-rotation",
            10.0,  # the two copies of a change, and a second until each is looked at
        ),
        AlarmKind(
            "KEYS_ERROR",
            S.WARNING,
            "a node cannot use its keys",
            "who was allowed stays allowed, and no change is taken: mend what it names, then: "
            "interlock keys reload",
            "key-rotation",
        ),
        AlarmKind(
            "PEER_BANNED",
            S.WARNING,
            "somebody sends what is no message",
            "ask the owner of that key; if nobody knows of it, revoke it: interlock keys revoke",
            "key-stolen",
        ),
        AlarmKind(
            "CLOCK_SKEW",
            S.ADVISORY,
            "the nodes' clocks differ",
            "check time synchronisation: record times jump at the next change of roles",
            "clock-step",
            5.0,
            5.0,
        ),
        AlarmKind(
            "REFUSALS",
            S.ADVISORY,
            "many refusals",
            "see Clients for who is refused and why",
            "producer-flood",
            1.0,
            5.0,
        ),
        AlarmKind(
            "PAUSED",
            S.ADVISORY,
            "the intake is paused",
            "resume when the reason is gone",
            "rolling-upgrade",
        ),
    )
}


class Bounds(msgspec.Struct, frozen=True):
    """From where on something is an alarm."""

    lag_ms: float = 1_000.0
    pending_share: float = 0.8
    pending_left_s: float = 60.0  # until intake says BUSY
    disk_segments: float = 4.0  # free space of less than so many segments
    skew_ms: float = 500.0
    refused_per_s: float = 10.0
    feed_silent_s: float = 2.0


class Finding(msgspec.Struct, frozen=True):
    """A condition that holds now: which, of whom, and the numbers. `runbook`: where another one
    than the kind's fits better."""

    kind: str
    subject: str
    text: str
    runbook: str = ""

    @property
    def key(self) -> str:
        return f"{self.kind} {self.subject}".strip()


def findings(view: View, bounds: Bounds) -> list[Finding]:
    """Every condition that holds in this picture."""
    found = list(_pair(view, bounds))
    for node in view.nodes:
        status = node.usable
        if status is None:
            was_standby = node.status is not None and node.status.role == "secondary"
            runbook = "standby-lost" if was_standby else ""
            found.append(Finding("STALE", node.name, _unheard(node), runbook))
        else:
            found += _node(status, bounds)
    return found


def _unheard(node: NodeView) -> str:
    why = f": {node.why_silent}" if node.why_silent else ""
    if node.age_s is None:
        return f"{node.name} was never heard by this console{why}"
    return f"{node.name} was heard last {age_text(node.age_s)} ago{why}"


def _node(status: NodeStatus, bounds: Bounds) -> Iterator[Finding]:
    name = status.node
    simple = {"DIVERGED": "DIVERGED", "FAILED": "NODE_FAILED"}
    if status.state in simple:
        yield Finding(simple[status.state], name, f"{name}: {status.why}")
    if status.state == "FENCED":
        yield Finding("FENCED", name, f"{name}: {status.fenced or status.why}")
    if status.security is not None:
        yield from _keys(name, status.security)
    journal = status.journal
    least = bounds.disk_segments * journal.segment_bytes
    if journal.segment_bytes and journal.disk_free_bytes < least:
        free = bytes_text(journal.disk_free_bytes)
        text = f"{name} has {free} free, {bytes_text(least)} wanted"
        runbook = "disk-full-standby" if status.role == "secondary" else ""
        yield Finding("DISK_LOW", name, text, runbook)


def _keys(name: str, security: SecurityStatus) -> Iterator[Finding]:
    if security.error:
        yield Finding("KEYS_ERROR", name, f"{name}: {security.error}")
    if security.banned:
        who = ", ".join(security.banned)
        yield Finding("PEER_BANNED", name, f"{name} takes nothing from {who} for a while")


def _pair(view: View, bounds: Bounds) -> Iterator[Finding]:
    leading = [
        node.usable
        for node in view.nodes
        if node.usable and node.usable.role == "primary" and node.usable.state in _LEADS
    ]
    if not any(node.usable for node in view.nodes):
        yield Finding("BLIND", "", "neither node tells anything new: who leads is not known")
    if len(leading) > 1:
        yield Finding("BOTH_LEAD", "", " and ".join(f"{s.node}, epoch {s.epoch}" for s in leading))
    if not leading and any(node.usable for node in view.nodes):
        yield Finding("NOBODY_LEADS", "", "no node that is heard has an open epoch")
    for leader in leading:
        yield from _leader(leader, view, bounds)
    for each in view.disagreements:
        said = ", ".join(f"{name}: {text}" for name, text in each.says.items())
        yield Finding("WITNESSES", each.what, f"{said}; {each.meaning}")
    if different := lists_differ({node.name: node.usable for node in view.nodes}):
        yield Finding("KEYS_DIFFER", "", different)
    skews = [node.skew_ms for node in view.nodes if node.usable]
    if len(skews) == 2 and skews[0] is not None and skews[1] is not None:
        apart = abs(skews[0] - skews[1])
        if apart > bounds.skew_ms:
            yield Finding("CLOCK_SKEW", "", f"the nodes' clocks are {ms_text(apart)} apart")
    if view.rates.refused is not None and view.rates.refused > bounds.refused_per_s:
        yield Finding("REFUSALS", "", f"{short_text(view.rates.refused)} refusals per second")


_LEADS = frozenset({"GATED", "STALLED", "SOLO", "DRAINING"})


def _leader(status: NodeStatus, view: View, bounds: Bounds) -> Iterator[Finding]:
    name = status.node
    if status.state == "STALLED":
        yield Finding("STALLED", name, f"{name}: {status.why}")
    if status.state == "SOLO" or status.unprotected:
        alone = status.unprotected
        since = f" since {age_text((status.time_ns - alone.since_ns) / 1e9)}" if alone else ""
        number = f", {alone.messages:,} messages on one disk only" if alone else ""
        yield Finding("UNPROTECTED", name, f"{name} releases alone{since}{number}")
    if not status.link.up:
        yield Finding("LINK_DOWN", name, f"{name} has no link to {status.link.peer}")
    if status.link.up and status.link.lag_ms > bounds.lag_ms:
        messages = count_text(status.link.lag_messages)
        lag = ms_text(status.link.lag_ms)
        yield Finding("LAG", name, f"{status.link.peer} is {lag}, {messages} messages behind")
    if status.paused:
        yield Finding("PAUSED", name, f"{name}: {status.paused}")
    pending = view.pending
    if pending is not None and view.leader == name:
        left = pending.full_in_s
        near = pending.share >= bounds.pending_share
        if near or (left is not None and left < bounds.pending_left_s):
            until = f", full in {age_text(left)}" if left is not None else ""
            text = f"{name}: {pending.messages:,} of {pending.max_messages:,} pending{until}"
            yield Finding("PENDING_FULL", name, text)
    if view.leader == name and status.state in ("GATED", "SOLO", "STALLED"):
        silent_s = view.feed_age_s
        if silent_s is not None and silent_s > bounds.feed_silent_s:
            text = f"the feed of {name} was heard last {age_text(silent_s)} ago"
            yield Finding("FEED_SILENT", name, text)
