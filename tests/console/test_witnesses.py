"""What counts as a contradiction of the two nodes, and which operations fit what they say."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from interlock.console.freshness import Freshness
from interlock.console.options import input_fault, options, suggestions
from interlock.console.view import NodeView
from interlock.console.witnesses import disagreements, one_sided
from interlock.shared.operations import Operation
from interlock.shared.telemetry import LinkStatus, NodeStatus, Watermarks
from interlock.shared.wording import request_text

from .kit import status


def seen(told: NodeStatus, freshness: Freshness = Freshness.FRESH) -> NodeView:
    age_s = {Freshness.FRESH: 0.1, Freshness.LATE: 1.5, Freshness.STALE: 14.0}[freshness]
    return NodeView(told.node, freshness, age_s, told, True, "", False, 1.0, 0.0, 1.0, 1.0)


def unheard(name: str) -> NodeView:
    return NodeView(name, Freshness.UNKNOWN, None, None, None, "", False, None, None, None, None)


A = status("a", "primary", "GATED")
B = status("b", "secondary", "IN_SYNC")


def but(told: NodeStatus, **other: Any) -> NodeStatus:
    return msgspec.structs.replace(told, **other)


def test_a_pair_that_is_well_agrees() -> None:
    assert disagreements([seen(A), seen(B)]) == []


def test_a_fenced_old_primary_contradicts_nobody() -> None:
    down = LinkStatus(up=False)
    leads = but(B, role="primary", state="SOLO", epoch=4, link=down)
    assert disagreements([seen(but(A, state="FENCED", link=down)), seen(leads)]) == []


@pytest.mark.parametrize(
    ("a", "b", "what", "grave"),
    [
        (A, but(B, cluster="other"), "cluster", True),
        (A, but(B, ack_level="synced"), "ack level", True),
        (but(A, state="SOLO"), but(B, role="primary", state="GATED"), "who leads", True),
        (but(A, state="RESUMING"), but(B, role="primary", state="GATED"), "roles", True),
        (but(A, epoch=4), B, "epoch", False),
        (A, but(B, link=LinkStatus(peer="a")), "link", False),
        (
            but(A, link=LinkStatus(peer="b", up=True, peer_state="CATCHING_UP")),
            B,
            "state of b",
            False,
        ),
        (A, but(B, watermarks=Watermarks(accepted_seq=900)), "released", True),
    ],
)
def test_each_contradiction_is_found(a: NodeStatus, b: NodeStatus, what: str, grave: bool) -> None:
    found = disagreements([seen(a), seen(b)])
    assert (what, grave) in [(each.what, each.grave) for each in found]
    assert all(each.meaning for each in found)


def test_an_older_number_of_the_standby_is_no_contradiction() -> None:
    behind = but(B, watermarks=Watermarks(accepted_seq=900), time_ns=A.time_ns - 1)
    assert disagreements([seen(A), seen(behind)]) == []


def test_in_solo_the_standby_may_lack_what_is_released() -> None:
    solo = but(A, state="SOLO", mode="solo")
    behind = but(B, watermarks=Watermarks(accepted_seq=900))
    assert "released" not in [each.what for each in disagreements([seen(solo), seen(behind)])]


def test_what_is_old_contradicts_nothing_and_is_called_hearsay() -> None:
    other = but(B, cluster="other")
    nodes = [seen(A), seen(other, Freshness.STALE)]
    assert disagreements(nodes) == []
    assert one_sided(nodes) == "b is not heard: what a says of it is hearsay"
    assert one_sided([seen(A), seen(B)]) == ""


# Operations -----------------------------------------------------------------------------------

ORPHAN = but(B, state="ORPHANED")


def suggested(*nodes: NodeView, leader: str = "") -> list[str]:
    return [request_text(one.request) for one in suggestions(list(nodes), leader)]


@pytest.mark.parametrize(
    ("nodes", "leader", "fits"),
    [
        ([seen(A), seen(B)], "a", []),
        ([unheard("a"), seen(ORPHAN)], "", ["promote b", "promote b --solo"]),
        ([seen(A, Freshness.STALE), seen(ORPHAN)], "", ["promote b", "promote b --solo"]),
        ([unheard("a"), seen(but(ORPHAN, promotable=False))], "", []),
        ([unheard("a"), seen(B)], "", []),  # it hears its primary: only this console does not
        ([unheard("a"), unheard("b")], "", []),
        ([seen(but(A, state="STALLED")), unheard("b")], "a", ["solo a"]),
        ([seen(A), seen(but(B, state="FENCED"))], "a", ["reinstate b"]),
        ([seen(A), seen(but(B, state="DIVERGED"))], "a", ["reinstate b --accept-loss"]),
        ([seen(but(A, paused="x")), seen(B)], "a", ["resume a"]),
        ([seen(but(A, state="RESUMING")), unheard("b")], "", ["solo a"]),
        (
            [seen(but(A, role="secondary", state="ORPHANED")), seen(ORPHAN)],
            "",
            ["promote b"],
        ),
    ],
)
def test_what_fits_is_offered_first(nodes: list[NodeView], leader: str, fits: list[str]) -> None:
    assert suggested(*nodes, leader=leader) == fits


def test_an_operation_whose_input_is_old_says_which() -> None:
    nodes = [seen(A, Freshness.STALE), seen(B, Freshness.STALE)]
    said = {one.blocked for one in options(nodes, "a")}
    assert said == {"no node is heard", "what a says is 14 s old"}
    assert input_fault(unheard("b")) == "nothing was ever heard of b"
    assert input_fault(seen(A, Freshness.LATE)) == ""


def test_each_operation_names_its_node() -> None:
    found = {one.operation: one for one in options([seen(A), seen(B)], "a")}
    assert set(found) == set(Operation) - {Operation.KEYS}, "a change of keys is no operation"
    assert found[Operation.SWITCHOVER].node == "a"
    assert found[Operation.PROMOTE].node == "b"
    assert found[Operation.SHUTDOWN].node == "b"
    assert (found[Operation.SWITCHOVER].hint, found[Operation.SOLO].hint) == ("", "a is GATED")
