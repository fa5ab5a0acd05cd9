"""Where the two nodes contradict each other, and what that can mean. Pure.

Decides what counts as a contradiction. Each node tells what it knows, at a time of its own, so a
number that is a moment older is none. What both claim about one thing (who leads, which epoch, what
the other one is) has to fit, and where it does not an operator has to know before acting on either.
"""

from __future__ import annotations

from ..client.advice import leads
from ..shared.telemetry import NodeStatus
from .view import Disagreement, NodeView
from .words import MISSING


def disagreements(nodes: list[NodeView]) -> list[Disagreement]:
    """What both nodes say that does not fit, the gravest first. Only of what is new enough."""
    known = [node.usable for node in nodes]
    one, two = known
    if one is None or two is None:
        return []
    found = [
        *_identity(one, two),
        *_leadership(one, two),
        *_link(one, two),
        *_marks(one, two),
    ]
    return sorted(found, key=lambda each: not each.grave)


def one_sided(nodes: list[NodeView]) -> str:
    """Which node is not to be heard, so that what the other says of it is hearsay; or empty."""
    for node, other in zip(nodes, reversed(nodes), strict=True):
        if node.usable is None and other.usable is not None:
            return f"{node.name} is not heard: what {other.name} says of it is hearsay"
    return ""


def _says(one: NodeStatus, two: NodeStatus, of_one: str, of_two: str) -> dict[str, str]:
    return {one.node: of_one or MISSING, two.node: of_two or MISSING}


def _identity(one: NodeStatus, two: NodeStatus) -> list[Disagreement]:
    found = []
    if one.cluster != two.cluster:
        found.append(
            Disagreement(
                "cluster",
                _says(one, two, one.cluster, two.cluster),
                "these nodes belong to different pairs: the configuration's endpoints are wrong",
                grave=True,
            )
        )
    if one.ack_level != two.ack_level:
        found.append(
            Disagreement(
                "ack level",
                _says(one, two, one.ack_level, two.ack_level),
                "the nodes run with different configurations and refuse each other",
                grave=True,
            )
        )
    return found


def _leadership(one: NodeStatus, two: NodeStatus) -> list[Disagreement]:
    claims = _says(
        one, two, *(f"{node.state} as {node.role}, epoch {node.epoch}" for node in (one, two))
    )
    if leads(one) and leads(two):
        return [
            Disagreement(
                "who leads",
                claims,
                "BOTH LEAD: the one of the lower epoch releases nothing new unless it is in solo; "
                "stop it first",
                grave=True,
            )
        ]
    if one.role == two.role == "primary" and "FENCED" not in (one.state, two.state):
        return [
            Disagreement(
                "roles", claims, "both are primaries; one is about to be fenced", grave=True
            )
        ]
    for leader, other in ((one, two), (two, one)):
        if leads(leader) and leader.link.up and other.link.up and leader.epoch != other.epoch:
            return [
                Disagreement(
                    "epoch",
                    _says(leader, other, str(leader.epoch), str(other.epoch)),
                    f"{other.node} has not received the opening of epoch {leader.epoch} yet: "
                    "normal for a moment after a change, otherwise it lags",
                    grave=False,
                )
            ]
    return []


def _link(one: NodeStatus, two: NodeStatus) -> list[Disagreement]:
    found = []
    if one.link.up != two.link.up:
        words = ["up" if node.link.up else "down" for node in (one, two)]
        found.append(
            Disagreement(
                "link",
                _says(one, two, *words),
                "one of them has noticed a break that the other has not: normal for a second, "
                "otherwise frames pass in one direction only",
                grave=False,
            )
        )
    for node, other in ((one, two), (two, one)):
        heard = node.link.peer_state
        if node.link.up and other.link.up and heard and heard != other.state:
            found.append(
                Disagreement(
                    f"state of {other.node}",
                    {other.node: other.state, node.node: f"{other.node} is {heard}"},
                    "the link's news is a heartbeat old: normal for a moment",
                    grave=False,
                )
            )
    return found


def _marks(one: NodeStatus, two: NodeStatus) -> list[Disagreement]:
    """Released by the leader and not held by the standby cannot be, if the standby's status is the
    newer one and nobody is in solo."""
    for leader, standby in ((one, two), (two, one)):
        if not leads(leader) or leads(standby) or leader.mode == "solo":
            continue
        released, held = leader.watermarks.released_seq, standby.watermarks.accepted_seq
        is_newer = standby.time_ns >= leader.time_ns
        if leader.state == "GATED" and standby.link.up and is_newer and released > held:
            return [
                Disagreement(
                    "released",
                    _says(leader, standby, f"released {released:,}", f"holds {held:,}"),
                    f"{standby.node} lacks what {leader.node} has released: if the nodes' clocks "
                    "agree, keep both journals and do not promote",
                    grave=True,
                )
            ]
    return []
