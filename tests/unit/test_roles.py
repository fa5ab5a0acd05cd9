"""The table of states: each can be reached, FAILED is the end, what is not listed is our bug."""

from __future__ import annotations

from itertools import product

import pytest

from interlock.shared.errors import LocalError
from interlock.shared.roles import TRANSITIONS, NodeState, StateHolder


def test_every_state_has_an_entry() -> None:
    assert set(TRANSITIONS) == set(NodeState)


def test_every_state_is_reached_from_the_start() -> None:
    reached = {NodeState.STARTING}
    while more := {after for state in reached for after in TRANSITIONS[state]} - reached:
        reached |= more
    assert reached == set(NodeState)


def test_failed_is_the_end_and_every_other_state_can_fail() -> None:
    assert TRANSITIONS[NodeState.FAILED] == frozenset()
    for state in set(NodeState) - {NodeState.FAILED}:
        assert NodeState.FAILED in TRANSITIONS[state]


def test_no_state_is_entered_again_from_itself_and_none_goes_back_to_the_start() -> None:
    for state, after in TRANSITIONS.items():
        assert state not in after
        assert NodeState.STARTING not in after


def test_nobody_leads_again_without_resuming_and_nobody_leaves_a_fence_to_lead() -> None:
    """GATED is entered from RESUMING, or by a primary that was leading; a fenced or diverged node
    comes back as a standby only."""
    into_gated = {state for state, after in TRANSITIONS.items() if NodeState.GATED in after}
    assert into_gated == {NodeState.RESUMING, NodeState.STALLED, NodeState.SOLO}
    leading = {NodeState.RESUMING, NodeState.GATED, NodeState.STALLED, NodeState.SOLO}
    for state in (NodeState.FENCED, NodeState.DIVERGED):
        assert not TRANSITIONS[state] & leading


@pytest.mark.parametrize(("before", "after"), product(NodeState, NodeState))
def test_the_holder_follows_the_table(before: NodeState, after: NodeState) -> None:
    holder = StateHolder(1)
    holder.state = before
    if after is before:
        assert not holder.enter(after, "another reason", 2)
        assert (holder.why, holder.since_ns) == ("another reason", 1)
    elif after in TRANSITIONS[before]:
        assert holder.enter(after, "because", 2)
        assert (holder.state, holder.why, holder.since_ns) == (after, "because", 2)
    else:
        with pytest.raises(LocalError, match=f"{before.value} to {after.value} .because"):
            holder.enter(after, "because", 2)
        assert (holder.state, holder.since_ns) == (before, 1)
