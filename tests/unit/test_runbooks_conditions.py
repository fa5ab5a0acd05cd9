"""Conditions: each operator, what they are about, and that nothing is true of a silent node; who is
who when a run begins.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from interlock.runbooks import evaluate, name_old
from interlock.runbooks.cast import scene_of
from interlock.runbooks.conditions import (
    NODE_FIELDS,
    SUBJECTS,
    Scene,
    Value,
    holds,
    observe,
    parse_condition,
    seen_text,
)
from interlock.runbooks.verbs import Probe, Who
from interlock.shared.errors import UserError
from interlock.shared.telemetry import (
    Divergence,
    LinkStatus,
    NodeStatus,
    PendingStatus,
    SecurityStatus,
    Unprotected,
)
from interlock.tests.unit.operate_kit import status

A = status("a", "primary", "GATED", epoch=7)
B = status("b", "secondary", "IN_SYNC", promotable=True)


def scene(
    a: NodeStatus | None = A, b: NodeStatus | None = B, flow: dict[str, Value] | None = None
) -> Scene:
    return scene_of({"a": a, "b": b}, "a", flow)


def true(text: str, at: Scene) -> bool:
    return holds(parse_condition(text), at)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("old.state is GATED", True),
        ("old.state is STALLED", False),
        ("old.state is not STALLED", True),
        ("old.state is not GATED", False),
        ("old.state is one of STALLED or GATED", True),
        ("old.state is one of STALLED or SOLO", False),
        ("new.promotable is yes", True),
        ("old.promotable is no", True),
        ("old.promotable is yes", False),
        ("old.promotable is not yes", True),
        ("old.epoch is 7", True),
        ("old.epoch is 8", False),
        ("old.epoch >= 7", True),
        ("old.epoch >= 8", False),
        ("old.epoch <= 7", True),
        ("old.epoch <= 6.5", False),
        ("old.epoch > 6", True),
        ("old.epoch > 7", False),
        ("old.epoch < 8", True),
        ("old.epoch < 7", False),
        ("old.state > 1", False),
        ("leader.role is primary", True),
        ("standby.role is secondary", True),
        ("pair.gated is yes", True),
        ("pair.leaders is 1", True),
        ("pair.leaders > 1", False),
    ],
)
def test_every_operator(text: str, expected: bool) -> None:
    assert true(text, scene()) is expected


@pytest.mark.parametrize("operator", ["is x", "is not x", "is one of x or y", ">= 0", "<= 0"])
@pytest.mark.parametrize("field", sorted(set(NODE_FIELDS) - {"answers"}))
def test_nothing_is_true_of_a_node_that_does_not_answer(field: str, operator: str) -> None:
    assert not true(f"old.{field} {operator}", scene(a=None))
    assert not true(f"leader.{field} {operator}", scene(a=None)), "nobody leads"


def test_but_that_it_does_not_answer() -> None:
    assert true("old.answers is no", scene(a=None))
    assert not true("old.answers is yes", scene(a=None))
    assert true("old.answers is yes", scene())
    assert not true("old.answers is no", scene())
    assert true("leader.answers is no", scene(a=None)), "there is none"


@pytest.mark.parametrize("said", ["is yes", "is no", "is not yes", ">= 0"])
def test_what_only_a_drill_sees_is_not_known_elsewhere(said: str) -> None:
    assert not true(f"consumer.delivers {said}", scene())
    assert not true(f"producers.confirmed {said}", scene(flow={}))
    assert parse_condition("consumer.delivers is yes").needs_flow
    assert not parse_condition("old.state is SOLO").needs_flow


def test_a_drill_sees_producers_and_the_consumer() -> None:
    at = scene(flow={"confirmed": 9.0, "delivers": True, "silent-ms": 3.5})
    assert true("producers.confirmed is 9", at)
    assert true("consumer.delivers is yes", at)
    assert true("consumer.silent-ms < 4", at)


FULL = msgspec.structs.replace(PendingStatus(), messages=3, max_messages=4)
FIELDS: list[tuple[str, dict[str, Any], Value]] = [
    ("mode", {"mode": "solo"}, "solo"),
    ("leads", {}, True),
    ("leads", {"state": "FENCED"}, False),
    ("fenced", {"fenced": "by b"}, True),
    ("paused", {"paused": "lunch"}, True),
    ("unprotected", {"unprotected": Unprotected(1, 2, 3)}, True),
    ("diverged", {"divergence": Divergence(1, 2, 3)}, True),
    ("link-up", {"link": LinkStatus(peer="b", up=True)}, True),
    ("lag-messages", {"link": LinkStatus(peer="b", lag_messages=12)}, 12),
    ("pending-messages", {"pending": FULL}, 3),
    ("pending-percent", {"pending": FULL}, 75),
    ("refused-busy", {"refused": {"intake.busy": 4}}, 4),
    ("refused-disk-full", {"refused": {"intake.disk-full": 5}}, 5),
    ("refused-busy", {}, 0),
    ("incarnation", {"incarnation": 6}, 6),
    ("version", {"version": "9"}, "9"),
    ("keys-error", {}, False),
    ("keys-error", {"security": SecurityStatus("k", "l", 4, [])}, False),
    ("keys-error", {"security": SecurityStatus("k", "l", 4, [], "unreadable")}, True),
]


@pytest.mark.parametrize(("field", "other", "value"), FIELDS)
def test_what_a_field_is_read_from(field: str, other: dict[str, Any], value: Value) -> None:
    at = scene(a=msgspec.structs.replace(A, **other))
    assert observe(parse_condition(f"old.{field} is x"), at) == value


def test_the_pair_is_gated_if_both_say_so() -> None:
    stalled = msgspec.structs.replace(A, state="STALLED")
    assert true("pair.gated is no", scene(a=stalled))
    assert true("pair.gated is no", scene(b=None))
    for nobody in ("pair.gated is no", "pair.gated is yes", "pair.leaders is 0"):
        assert not true(nobody, scene(a=None, b=None)), "nobody answers, so nobody can tell"
    assert true("pair.leaders is 0", scene(a=None))
    both = scene(b=msgspec.structs.replace(A, node="b", epoch=9))
    assert true("pair.leaders is 2", both)
    assert true("leader.epoch is 9", both), "the higher epoch leads"


def test_how_far_the_clocks_are_apart_takes_two() -> None:
    ahead = msgspec.structs.replace(B, time_ns=A.time_ns + 2_500_000)
    assert observe(parse_condition("pair.clocks-apart-ms > 2"), scene(b=ahead)) == 2.5
    assert observe(parse_condition("pair.clocks-apart-ms > 2"), scene(b=None)) is None


def keyed(node: NodeStatus, key: str, ring: str) -> NodeStatus:
    return msgspec.structs.replace(node, security=SecurityStatus(key, ring, 4, []))


def test_lists_are_equal_if_both_nodes_have_one_and_it_is_the_same() -> None:
    a = keyed(A, "SHA256:1", "aaaa")
    assert true("pair.keys-equal is yes", scene(a, keyed(B, "SHA256:2", "aaaa")))
    assert true("pair.keys-equal is no", scene(a, keyed(B, "SHA256:2", "bbbb")))
    assert true("pair.keys-equal is no", scene(a, B))
    assert true("pair.keys-equal is no", scene()), "no list is no equal list"
    assert not true("pair.keys-equal is yes", scene(a, None))


def test_what_has_changed_of_a_node_since_the_run_began() -> None:
    first = {"a": keyed(A, "SHA256:1", "aaaa"), "b": B}
    again = msgspec.structs.replace(first["a"], incarnation=2)
    renewed = keyed(A, "SHA256:2", "aaaa")

    def now(a: NodeStatus | None, begun: dict[str, NodeStatus] = first) -> Scene:
        return scene_of({"a": a, "b": B}, "a", None, begun)

    assert true("old.restarted is no", now(first["a"]))
    assert true("old.restarted is yes", now(again))
    assert true("old.key-renewed is no", now(again))
    assert true("old.key-renewed is yes", now(renewed))
    for nobody_knows in (now(None), now(renewed, {}), now(renewed, {"b": B})):
        assert not true("old.key-renewed is no", nobody_knows)
        assert not true("old.key-renewed is yes", nobody_knows)


def test_what_is_seen_instead_is_told_in_words() -> None:
    def seen(text: str, at: Scene) -> str:
        return seen_text(parse_condition(text), at)

    assert seen("old.state is SOLO", scene()) == "old.state is SOLO: it is GATED"
    assert seen("old.promotable is yes", scene()) == "old.promotable is yes: it is no"
    assert seen("pair.leaders is 2", scene()) == "pair.leaders is 2: it is 1"
    assert seen("old.state is SOLO", scene(a=None)).endswith(": not known, nobody answers")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("all is well", "'all is well' is no condition; expected SUBJECT.FIELD is VALUE"),
        ("old.state", "is no condition"),
        ("old.state == GATED", "is no condition"),
        ("old.state is ", "is no condition"),
        ("router.state is UP", "unknown subject 'router'; there are old, new, leader, standby, "),
        ("old.temper is BAD", "old has no field 'temper'; it has answers, role, state, "),
        ("pair.state is GATED", "pair has no field 'state'; it has gated, leaders, "),
        ("consumer.confirmed > 1", "consumer has no field 'confirmed'; it has delivered, "),
        ("old.epoch > yes", "compares with 'yes', which is no number"),
        ("old.epoch <= many", "compares with 'many', which is no number"),
    ],
)
def test_what_is_no_condition_is_told(text: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_condition(text)
    assert said in str(caught.value)


def test_every_subject_has_fields() -> None:
    assert set(SUBJECTS) == {*(who.value for who in Who), "pair", "producers", "consumer", "thief"}
    for subject, fields in SUBJECTS.items():
        for field in fields:
            assert parse_condition(f"{subject}.{field} is x").field == field


# Who is who -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "old"),
    [
        (A, B, "a"),
        (msgspec.structs.replace(B, node="a"), msgspec.structs.replace(A, node="b"), "b"),
        (None, B, "a"),
        (B, None, "b"),
        (B, msgspec.structs.replace(A, node="b", state="FENCED"), "b"),
        (None, msgspec.structs.replace(A, node="b", state="FENCED"), "b"),
        (None, None, "a"),
    ],
)
def test_old_is_who_leads_or_led_last(a: NodeStatus | None, b: NodeStatus | None, old: str) -> None:
    assert name_old({"a": a, "b": b}) == old


def test_leader_and_standby_follow_the_pair_and_old_and_new_do_not() -> None:
    swapped = scene(
        msgspec.structs.replace(B, node="a"), msgspec.structs.replace(A, node="b", epoch=8)
    )
    assert dict(swapped.roles) == {
        Who.OLD: "a",
        Who.NEW: "b",
        Who.LEADER: "b",
        Who.STANDBY: "a",
    }
    assert set(scene(a=None).roles) == {Who.OLD, Who.NEW}


def test_a_console_asks_whether_a_probe_holds_now() -> None:
    nodes = {"a": A, "b": B}
    assert evaluate(Probe(["old.state is GATED"], 1), nodes, "a") == (True, "")
    held, why = evaluate(Probe(["old.state is SOLO", "new.epoch is 9"], 1), nodes, "a")
    assert held is False
    assert why == "old.state is SOLO: it is GATED; new.epoch is 9: it is 3"
    for only in (
        Probe(["consumer.delivers is yes"], 1),
        Probe(["old.state is GATED"], 1, drill_only=True),
    ):
        assert evaluate(only, nodes, "a") == (None, "only a drill can tell")
