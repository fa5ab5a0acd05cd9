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


LEADING = {NodeState.GATED, NodeState.STALLED, NodeState.SOLO, NodeState.DRAINING}
STANDBY = {NodeState.ORPHANED, NodeState.CATCHING_UP, NodeState.IN_SYNC}
ENDED = {NodeState.FENCED, NodeState.DIVERGED}


@pytest.mark.parametrize("state", sorted(LEADING, key=lambda state: state.value))
def test_nobody_leads_without_resuming(state: NodeState) -> None:
    """Who does not lead yet asks for a promise, or opens what an operator decided, in RESUMING:
    a standby that is promoted, a node that is fenced, one that starts."""
    entered_from = {before for before, after in TRANSITIONS.items() if state in after}
    assert entered_from <= LEADING | {NodeState.RESUMING}
    for before in STANDBY | ENDED | {NodeState.STARTING}:
        assert state not in TRANSITIONS[before]


def test_solo_begins_where_no_standby_follows() -> None:
    """P5: less safe only by an operator, and never out of a gate that works."""
    into_solo = {before for before, after in TRANSITIONS.items() if NodeState.SOLO in after}
    assert into_solo == {NodeState.RESUMING, NodeState.STALLED, NodeState.DRAINING}


def test_a_leader_steps_down_to_dialling() -> None:
    """Whatever it does, its peer may ask it to give way. And a standby dials first: nobody becomes
    IN_SYNC because it says so itself."""
    for state in LEADING:
        assert NodeState.ORPHANED in TRANSITIONS[state]
        assert not TRANSITIONS[state] & {NodeState.CATCHING_UP, NodeState.IN_SYNC}


def test_a_fenced_or_diverged_node_follows_or_is_promoted_and_nothing_else() -> None:
    """FENCED ends by reinstating (ORPHANED) or by a promotion (RESUMING). Streams come after."""
    onward = {NodeState.ORPHANED, NodeState.RESUMING, NodeState.FAILED}
    for state in ENDED:
        assert TRANSITIONS[state] - ENDED == onward


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
