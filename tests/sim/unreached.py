"""Transitions of `shared.roles` that the simulator cannot reach, each with the reason.

Decides nothing. It keeps the summary of a run honest: what is missing is named, and what is missing
only because too few seeds were run is told apart. A scenario that reaches it is named where there
is one.
"""

from __future__ import annotations

from interlock.shared.roles import NodeState as S

FAILED_ONLY_AT_START = "FAILED: a node is found damaged when it starts; while it runs it just ends"
LIES = (
    "DIVERGED: needs a false attestation or accepted loss, which no operator here gives "
    "(tests/scenarios/test_failover.py)"
)
ENDS_FIRST = "a stream ends first: the node is ORPHANED for a moment, and goes on from there"
FENCED_DRAINING = "DRAINING -> FENCED: the attested node would have had an operation under way"
ONE_OPENING = "IN_SYNC -> CATCHING_UP: a leader opens no second gated epoch in one session"

STREAM = (S.CATCHING_UP, S.IN_SYNC)


def why_unreached(before: S, after: S) -> str:
    """Why no seed goes from `before` to `after`; empty if one may."""
    if after is S.FAILED and before is not S.STARTING:
        return FAILED_ONLY_AT_START
    if S.DIVERGED in (before, after):
        return LIES
    if before in STREAM and after in (S.RESUMING, S.FENCED):
        return ENDS_FIRST
    if (before, after) == (S.IN_SYNC, S.CATCHING_UP):
        return ONE_OPENING
    if (before, after) == (S.DRAINING, S.FENCED):
        return FENCED_DRAINING
    return ""
