"""Which operations fit what both nodes say, and on which node. Pure.

Decides what is offered first, never what may run: that is for the preflight. `client.advice` says
the same in sentences for people who type commands.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ..client.advice import FOLLOWING, leads
from ..shared.operations import Operation, Request
from ..shared.telemetry import NodeStatus
from .view import NodeView, Suggestion

WHAT: Final[dict[Operation, str]] = {
    Operation.SWITCHOVER: "exchange the roles, planned; loses nothing",
    Operation.PROMOTE: "make the standby the primary, when the primary is lost",
    Operation.DEMOTE: "the leader drains and becomes a standby; nobody leads then",
    Operation.SOLO: "release without the standby: UNPROTECTED",
    Operation.GATE: "end solo: release only what the standby holds",
    Operation.REINSTATE: "bring a fenced node back as the standby",
    Operation.PAUSE: "take no submissions; what is pending is still released",
    Operation.RESUME: "take submissions again",
    Operation.SHUTDOWN: "drain, close the epoch, end the process",
    Operation.DISCARD: "give a quarantined tail up",
    Operation.RESUBMIT: "note that a quarantined tail was submitted again",
}
OF_THE_LEADER: Final = frozenset(
    {
        Operation.SWITCHOVER,
        Operation.DEMOTE,
        Operation.SOLO,
        Operation.GATE,
        Operation.PAUSE,
        Operation.RESUME,
    }
)


class Option(msgspec.Struct, frozen=True):
    """One line of the menu. `blocked`: why it cannot even be looked at, with the input that is too
    old; `hint`: why it is unlikely to pass."""

    operation: Operation
    node: str
    what: str
    hint: str
    blocked: str


def options(nodes: list[NodeView], leader: str) -> list[Option]:
    """Every operation, each with the node that it is for."""
    return [_option(operation, nodes, leader) for operation in WHAT]


def input_fault(node: NodeView) -> str:
    """Why nothing may be decided on what this node says; empty: it is new enough."""
    if node.usable is not None:
        return ""
    if node.status is None:
        return f"nothing was ever heard of {node.name}"
    return f"what {node.name} says is {node.age_s or 0:.0f} s old"


def _option(operation: Operation, nodes: list[NodeView], leader: str) -> Option:
    name = target(operation, nodes, leader)
    known = next((node for node in nodes if node.name == name), None)
    if known is None:
        reachable = [node for node in nodes if node.usable is not None]
        blocked = "" if reachable else "no node is heard"
        node = reachable[0].name if reachable else nodes[0].name
        hint = "nobody leads" if operation in OF_THE_LEADER else "no node that it is for"
        return Option(operation, node, WHAT[operation], hint, blocked)
    hint = _hint(operation, known.usable)
    return Option(operation, name, WHAT[operation], hint, input_fault(known))


def target(operation: Operation, nodes: list[NodeView], leader: str) -> str:
    """The node that the operation is for by what the nodes say; empty: none."""
    up = [node.usable for node in nodes if node.usable is not None]
    standbys = [status for status in up if status.role == "secondary"]
    if operation is Operation.PROMOTE:
        fit = [status for status in standbys if status.promotable] or standbys
        return fit[0].node if fit else ""
    if operation is Operation.REINSTATE:
        cut_off = [status for status in up if status.state in ("FENCED", "DIVERGED")]
        return min(cut_off, key=lambda status: status.node == leader).node if cut_off else ""
    if operation is Operation.SHUTDOWN:
        return (standbys or up)[0].node if up else ""
    if operation in (Operation.DISCARD, Operation.RESUBMIT):
        return up[0].node if up else ""
    if operation is Operation.SOLO and not leader:
        primaries = [status for status in up if status.role == "primary"]
        return primaries[0].node if primaries else ""
    return leader


def _hint(operation: Operation, status: NodeStatus | None) -> str:
    """Why the preflight will most likely refuse; empty: it may pass."""
    if status is None:
        return ""
    fits = {
        Operation.SWITCHOVER: status.state == "GATED",
        Operation.DEMOTE: status.state in ("GATED", "STALLED"),
        Operation.SOLO: status.state in ("STALLED", "RESUMING", "DRAINING"),
        Operation.GATE: status.state == "SOLO",
        Operation.PAUSE: leads(status) and not status.paused,
        Operation.RESUME: leads(status) and bool(status.paused),
        Operation.PROMOTE: status.role == "secondary" and status.state not in FOLLOWING,
        Operation.REINSTATE: status.state in ("FENCED", "DIVERGED"),
    }
    if fits.get(operation, True):
        return ""
    if operation is Operation.PAUSE:
        return "it is paused"
    if operation is Operation.RESUME:
        return "it is not paused"
    return f"{status.node} is {status.state}"


def suggestions(nodes: list[NodeView], leader: str) -> list[Suggestion]:
    """The operations that bring service or protection back, the least drastic first."""
    up = {node.name: node.usable for node in nodes if node.usable is not None}
    lead = up.get(leader)
    others = [status for status in up.values() if status.node != leader]
    if lead is None:
        return _leaderless(up)
    found: list[Suggestion] = []
    for other in others:
        if other.state in ("FENCED", "DIVERGED"):
            why = f"{other.node} is {other.state}: make it the standby of {leader} again"
            request = Request(
                Operation.REINSTATE, other.node, accept_loss=other.state == "DIVERGED"
            )
            found.append(Suggestion(request, why))
    if lead.state == "STALLED":
        name = lead.link.peer or "the standby"
        why = f"only if {name} will not be back soon: {leader} then releases alone, UNPROTECTED"
        found.append(Suggestion(Request(Operation.SOLO, leader), why))
    if lead.paused:
        found.append(Suggestion(Request(Operation.RESUME, leader), f"paused: {lead.paused}"))
    return found


def _leaderless(up: dict[str, NodeStatus]) -> list[Suggestion]:
    standbys = [status for status in up.values() if status.role == "secondary"]
    fit = [status for status in standbys if status.promotable]
    found = []
    if len(up) == 1 and fit:
        (status,) = fit
        if status.state not in FOLLOWING:
            name = status.link.peer or "the other node"
            held = f"if {name} is lost; releases nothing before {name} follows again"
            alone = f"if {name} is lost; releases at once, UNPROTECTED until {name} follows again"
            found += [
                Suggestion(Request(Operation.PROMOTE, status.node), held),
                Suggestion(Request(Operation.PROMOTE, status.node, solo=True), alone),
            ]
    elif len(standbys) == 2 and fit:
        why = "nobody leads, and this node holds everything that was released"
        found.append(Suggestion(Request(Operation.PROMOTE, fit[0].node), why))
    primaries = [status for status in up.values() if status.role == "primary"]
    if len(up) == 1 and primaries and primaries[0].state == "RESUMING":
        name = primaries[0].node
        why = "only if the standby will not be back soon: it then releases alone, UNPROTECTED"
        found.append(Suggestion(Request(Operation.SOLO, name), why))
    return found
