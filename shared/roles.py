"""The states of a node, and which may follow which. A transition that is not listed is our bug."""

from __future__ import annotations

from enum import Enum

from .errors import LocalError


class Role(Enum):
    """What a node does in the pair. Durable: the command line counts at the first start only."""

    PRIMARY = "primary"
    SECONDARY = "secondary"


class NodeState(Enum):
    """Each member says what holds there and how it is left."""

    STARTING = "STARTING"  # reading its own log; left when that is done
    RESUMING = "RESUMING"  # a primary without an open epoch; left when its peer has promised one
    CATCHING_UP = "CATCHING_UP"  # a standby that lacks its target; left when it holds it
    IN_SYNC = "IN_SYNC"  # a standby that holds its target and follows; left when the link breaks
    ORPHANED = "ORPHANED"  # a standby without its primary; left by a session, or by promotion
    GATED = (
        "GATED"  # a primary whose standby follows: releases what it acks; left when the link breaks
    )
    STALLED = (
        "STALLED"  # a primary without its standby: releases nothing; left when a session stands
    )
    SOLO = "SOLO"  # a primary that an operator lets release alone; left when the gate engages
    DRAINING = (
        "DRAINING"  # a primary that closes its epoch: takes nothing new; left when all is acked
    )
    FENCED = "FENCED"  # has met a higher epoch, or gave way: follows nobody until reinstated
    DIVERGED = "DIVERGED"  # both nodes hold different records of one seq; an operator's turn
    FAILED = "FAILED"  # cannot go on by itself (disk, damage); left by a repair and a restart


S = NodeState

TRANSITIONS: dict[NodeState, frozenset[NodeState]] = {
    S.STARTING: frozenset({S.RESUMING, S.ORPHANED, S.FENCED, S.FAILED}),
    S.RESUMING: frozenset({S.GATED, S.STALLED, S.SOLO, S.ORPHANED, S.FENCED, S.DIVERGED, S.FAILED}),
    S.ORPHANED: frozenset({S.CATCHING_UP, S.IN_SYNC, S.RESUMING, S.FENCED, S.DIVERGED, S.FAILED}),
    S.CATCHING_UP: frozenset({S.IN_SYNC, S.ORPHANED, S.RESUMING, S.FENCED, S.DIVERGED, S.FAILED}),
    S.IN_SYNC: frozenset({S.CATCHING_UP, S.ORPHANED, S.RESUMING, S.FENCED, S.DIVERGED, S.FAILED}),
    S.GATED: frozenset({S.STALLED, S.DRAINING, S.ORPHANED, S.FENCED, S.DIVERGED, S.FAILED}),
    S.STALLED: frozenset({S.GATED, S.SOLO, S.DRAINING, S.ORPHANED, S.FENCED, S.DIVERGED, S.FAILED}),
    S.SOLO: frozenset({S.GATED, S.STALLED, S.ORPHANED, S.FENCED, S.DIVERGED, S.FAILED}),
    S.DRAINING: frozenset({S.GATED, S.STALLED, S.SOLO, S.ORPHANED, S.FENCED, S.DIVERGED, S.FAILED}),
    S.FENCED: frozenset({S.ORPHANED, S.RESUMING, S.DIVERGED, S.FAILED}),
    S.DIVERGED: frozenset({S.ORPHANED, S.RESUMING, S.FENCED, S.FAILED}),
    S.FAILED: frozenset(),
}


class StateHolder:
    """The state a node is in, why, and since when; refuses transitions that the table lacks."""

    def __init__(self, now_ns: int) -> None:
        self.state = NodeState.STARTING
        self.why = "starting"
        self.since_ns = now_ns

    def enter(self, state: NodeState, why: str, now_ns: int) -> bool:
        """Moves to `state`; true if that is a change. Raises LocalError if the table forbids it."""
        if state is self.state:
            self.why = why
            return False
        if state not in TRANSITIONS[self.state]:
            raise LocalError(f"no transition from {self.state.value} to {state.value} ({why})")
        self.state, self.why, self.since_ns = state, why, now_ns
        return True
