"""Who is who: the nodes by their roles in a runbook, and the scene as it is now.

Decides which node is `old` and which `new`, once, when a run begins; `leader` and `standby` follow
the pair.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..client.control import find_leader
from ..shared.telemetry import NodeStatus
from .conditions import Scene, Value
from .stage import Stage
from .verbs import Probe, Who
from .watch import conditions_of, failing

Nodes = Mapping[str, NodeStatus | None]


def name_old(nodes: Nodes) -> str:
    """The leader; if nobody leads the primary, or a node that does not answer."""
    primaries = [name for name, status in nodes.items() if status and status.role == "primary"]
    silent = [name for name, status in nodes.items() if status is None]
    return find_leader(nodes) or [*primaries, *silent, *nodes][0]


def scene_of(
    nodes: Nodes, old: str, flow: Mapping[str, Value] | None = None, first: Nodes | None = None
) -> Scene:
    """What is known of these nodes, of which `old` led when the run began; `first` is what they
    said then."""
    new = next(name for name in nodes if name != old)
    roles = {Who.OLD: old, Who.NEW: new}
    leader = find_leader(nodes)
    if leader is not None:
        roles[Who.LEADER] = leader
        roles[Who.STANDBY] = new if leader == old else old
    return Scene(nodes, roles, flow, first or {})


def evaluate(
    probe: Probe, nodes: Nodes, old: str, first: Nodes | None = None
) -> tuple[bool | None, str]:
    """Whether a probe holds now, and if not why; None: only a drill can tell."""
    conditions = conditions_of(probe)
    if probe.drill_only or any(one.needs_flow for one in conditions):
        return None, "only a drill can tell"
    wrong = failing(conditions, scene_of(nodes, old, None, first))
    return not wrong, wrong


class Cast:
    """The nodes of one run."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._first = dict(stage.nodes())
        self.old = name_old(self._first)

    def scene(self) -> Scene:
        """What is known now."""
        nodes = self._stage.nodes()
        for name, status in nodes.items():
            self._first[name] = self._first.get(name) or status
        return scene_of(nodes, self.old, self._stage.flow(), self._first)

    def states(self) -> dict[str, str]:
        """Each node in a line."""
        return {name: _line(status) for name, status in self._stage.nodes().items()}


def _line(status: NodeStatus | None) -> str:
    if status is None:
        return "does not answer"
    marks = status.watermarks
    return (
        f"{status.state} as {status.role} in epoch {status.epoch}, seq {marks.accepted_seq}, "
        f"released {marks.released_seq}"
    )
