"""Which node an operation is for, when none is named.

Decides the default only. Whether that node can do it is for its preflight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..client.advice import advise, describe, leads
from ..shared.operations import Operation

if TYPE_CHECKING:
    from ..shared.telemetry import NodeStatus

Nodes = dict[str, "NodeStatus | None"]


def choose(operation: Operation, nodes: Nodes) -> str:
    """The node that `operation` is for; empty: what the nodes say does not tell."""
    if operation is Operation.PROMOTE:
        return _standby(nodes)
    leaders = [status for status in nodes.values() if leads(status) and status]
    if leaders:
        newest = max(status.epoch for status in leaders)
        named = [status.node for status in leaders if status.epoch == newest]
        return named[0] if len(named) == 1 else ""
    if operation is Operation.SOLO:
        primaries = _of_role(nodes, "primary")
        return primaries[0] if len(primaries) == 1 else ""
    return ""


def _standby(nodes: Nodes) -> str:
    standbys = _of_role(nodes, "secondary")
    if len(standbys) == 2:
        named = {status.closed_for for status in nodes.values() if status and status.closed_for}
        fit = [name for name, status in nodes.items() if status and status.promotable]
        standbys = sorted(named) if len(named) == 1 else fit
    return standbys[0] if len(standbys) == 1 else ""


def _of_role(nodes: Nodes, role: str) -> list[str]:
    return [name for name, status in nodes.items() if status and status.role == role]


def no_target(operation: Operation, nodes: Nodes) -> str:
    """Why no node could be chosen, what each node says, and what fits instead."""
    wanted = {
        Operation.PROMOTE: "no single standby answers, so name the node to promote",
        Operation.SOLO: "no single primary answers, so name the node that is to release alone",
    }.get(operation, f"{operation.value} is for the node that leads, and none does")
    return f"{wanted}: {describe(nodes)}. What now: {'; '.join(advise(nodes))}"
