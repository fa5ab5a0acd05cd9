"""The pieces of the small world: what an action is, what is left of the budget, a node that takes
one turn when told to, and one dialled socket.

Decides which operations are worth trying in which state; all else is `small`.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import msgspec

from interlock.primary.core import PrimaryCore
from interlock.shared.effects import Effect, Sync
from interlock.shared.messages import Message
from interlock.shared.operations import Operation
from interlock.shared.roles import NodeState

from .node import SimNode

O = Operation  # noqa: E741 short, for the table below
S = NodeState

# What an operator may do, in which states, so as not to try what the guards refuse anyway.
OPERATIONS: dict[str, tuple[tuple[NodeState, ...], Operation, dict[str, Any]]] = {
    "switchover": ((S.GATED,), O.SWITCHOVER, {}),
    "demote": ((S.GATED, S.STALLED), O.DEMOTE, {}),
    "solo": ((S.STALLED, S.RESUMING, S.DRAINING), O.SOLO, {}),
    "gate": ((S.SOLO,), O.GATE, {}),
    "promote": ((S.ORPHANED, S.FENCED, S.DIVERGED), O.PROMOTE, {}),
    "promote solo": ((S.ORPHANED, S.FENCED, S.DIVERGED), O.PROMOTE, {"solo": True}),
    "reinstate": ((S.FENCED, S.DIVERGED), O.REINSTATE, {}),
}


class Action(NamedTuple):
    """One step. `trap`: with so many effects performed, the node dies as `how` says."""

    what: str
    node: str = ""
    detail: str = ""
    trap: int = -1
    how: str = ""

    def __str__(self) -> str:
        dies = f", {self.how} after {self.trap} effects" if self.how else ""
        return f"{self.what} {self.node} {self.detail}".strip() + dies


class Budget(msgspec.Struct):
    """What may still happen."""

    messages: int = 3
    faults: int = 2
    operations: int = 2
    waits: int = 3


class Socket:
    """One dialled link socket; `closed` by the dialler: what it sent may still arrive."""

    def __init__(self, dialler: str, number: int) -> None:
        self.dialler = dialler
        self.sender = b"%s-%d" % (dialler.encode(), number)
        self.closed = False
        self.out: deque[Message] = deque()  # to the node that was dialled
        self.back: deque[Message] = deque()


class SmallNode(SimNode):
    """A node whose turns are taken one by one."""

    syncing = False
    performed = 0

    def wake(self, delay: int) -> None:
        """Turns are actions."""

    def kill(self, *, power_cut: bool = False) -> None:
        self.syncing = False
        super().kill(power_cut=power_cut)

    def _perform(self, effect: Effect) -> None:
        self.performed += 1
        if isinstance(effect, Sync) and not effect.wait:
            self.syncing = True
        else:
            super()._perform(effect)

    def step(self) -> None:
        """A turn, and those that follow at once."""
        self.turn()
        for _ in range(4):
            if not (isinstance(self.core, PrimaryCore) and self.core.wants_turn()):
                return
            self.turn()
