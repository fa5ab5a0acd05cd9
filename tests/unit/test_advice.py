"""What to do now: each situation of a pair names the command that fits it, and no other."""

from __future__ import annotations

import itertools
import re

import pytest

from interlock.cli.main import app
from interlock.client.advice import advise, describe
from interlock.shared.roles import NodeState
from interlock.shared.telemetry import Divergence, LinkStatus, NodeStatus, Unprotected
from interlock.tests.unit.operate_kit import status

P, S = "primary", "secondary"


def a(role: str, state: str, **other: object) -> NodeStatus:
    return status("a", role, state, **other)


def b(role: str, state: str, **other: object) -> NodeStatus:
    return status("b", role, state, **other)


SITUATIONS = {
    "nobody was started": (None, None, ["interlock primary", "interlock secondary"]),
    "all is well": (a(P, "GATED"), b(S, "IN_SYNC"), ["nothing to do"]),
    "catching up": (a(P, "GATED"), b(S, "CATCHING_UP"), ["wait: b catches up"]),
    "gated, and b unseen": (a(P, "GATED"), None, ["control endpoint"]),
    "the standby is gone": (a(P, "STALLED"), None, ["start b", "interlock solo a"]),
    "the link is cut": (a(P, "STALLED"), b(S, "ORPHANED"), ["link endpoint", "interlock solo a"]),
    "the primary is gone": (None, b(S, "ORPHANED", promotable=True), ["interlock promote b"]),
    "gone, and b has doubts": (
        None,
        b(S, "ORPHANED", doubt="an unclean boot"),
        ["an unclean boot", "interlock promote b --accept-loss"],
    ),
    "after a demotion": (
        a(S, "ORPHANED", promotable=True, closed_for="b"),
        b(S, "ORPHANED", promotable=True, closed_for="b"),
        ["nobody leads: interlock promote b"],
    ),
    "both fit": (
        a(S, "ORPHANED", promotable=True),
        b(S, "ORPHANED", promotable=True),
        ["interlock promote a or interlock promote b"],
    ),
    "no standby fits": (
        a(S, "ORPHANED"),
        b(S, "ORPHANED"),
        ["interlock preflight promote a", "interlock preflight promote b"],
    ),
    "the old primary is fenced": (
        a(P, "FENCED", fenced="met epoch 4"),
        b(P, "STALLED", epoch=4),
        ["met epoch 4", "interlock reinstate a"],
    ),
    "fenced, and b is gone": (a(P, "FENCED", fenced="met epoch 4"), None, ["start b"]),
    "fenced, and nobody leads": (
        a(P, "FENCED"),
        b(S, "ORPHANED"),
        ["interlock promote b, then interlock reinstate a"],
    ),
    "solo, b is gone": (a(P, "SOLO"), None, ["interlock gate a", "start b"]),
    "solo, b follows": (
        a(P, "SOLO", unprotected=Unprotected(1, 5, 0)),
        b(S, "CATCHING_UP"),
        ["interlock gate a", "wait: b follows a"],
    ),
    "solo, b was fenced": (a(P, "SOLO"), b(S, "FENCED"), ["interlock reinstate b"]),
    "two leaders": (
        a(P, "SOLO", epoch=4),
        b(P, "GATED", epoch=5),
        ["BOTH NODES LEAD", "interlock gate a"],
    ),
    "diverged": (
        a(P, "DIVERGED", divergence=Divergence(41, [], [])),
        b(S, "DIVERGED"),
        ["from seq 42 on", "interlock reinstate b --accept-loss", "interlock promote b"],
    ),
    "a restarted alone": (a(P, "RESUMING"), None, ["start b", "interlock solo a"]),
    "a resumes": (
        a(P, "RESUMING"),
        b(S, "ORPHANED", link=LinkStatus(up=True)),
        ["wait: a opens its epoch with b"],
    ),
    "paused": (
        a(P, "GATED", paused="paused by eve: audit"),
        b(S, "IN_SYNC"),
        ["audit", "interlock resume"],
    ),
    "a standby is damaged": (
        a(P, "STALLED"),
        b(S, "FAILED", why="journal damaged"),
        ["journal damaged", "interlock reinstate b --reseed", "interlock log repair b", "solo a"],
    ),
    "the primary is damaged": (
        a(P, "FAILED"),
        b(S, "ORPHANED", promotable=True),
        ["interlock log repair a", "interlock promote b"],
    ),
    "damaged, and b is gone": (a(P, "FAILED"), None, ["start b first", "interlock log repair a"]),
    "damaged while a resumes": (
        a(P, "RESUMING"),
        b(S, "FAILED"),
        ["interlock log repair b", "interlock solo a"],
    ),
    "at work": (a(P, "DRAINING", operation="switchover: draining"), b(S, "IN_SYNC"), ["draining"]),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_each_situation_names_what_fits(name: str) -> None:
    one, two, expected = SITUATIONS[name]
    text = "\n".join(advise({"a": one, "b": two}))
    for words in expected:
        assert words in text


@pytest.mark.parametrize(
    ("one", "two", "forbidden"),
    [
        (a(P, "GATED"), b(S, "IN_SYNC"), "promote"),
        (a(P, "STALLED"), b(S, "ORPHANED", promotable=True), "promote"),
        (None, b(S, "ORPHANED", promotable=True), "accept-loss"),
        (a(P, "GATED"), b(S, "CATCHING_UP"), "solo"),
        (a(P, "FENCED"), b(P, "GATED"), "promote"),
        (a(P, "SOLO"), b(S, "CATCHING_UP"), "start b"),
    ],
)
def test_what_would_be_less_safe_is_not_offered_without_need(
    one: NodeStatus | None, two: NodeStatus | None, forbidden: str
) -> None:
    assert forbidden not in "\n".join(advise({"a": one, "b": two}))


def possible() -> list[NodeStatus | None]:
    """Every state in every role, with and without the marks that advice looks at."""
    return [
        None,
        *(
            status("a", role, state.value, promotable=promotable, closed_for=closed)
            for role in (P, S)
            for state in NodeState
            for promotable in (False, True)
            for closed in ("", "b")
        ),
    ]


def test_every_combination_has_advice_and_its_commands_exist() -> None:
    """A console calls it with whatever comes: it may not fail, nor name what is no command."""
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    commands |= {group.name for group in app.registered_groups}
    texts = set()
    for one, two in itertools.product(possible(), possible()):
        second = two and status(
            "b", two.role, two.state, promotable=two.promotable, closed_for=two.closed_for
        )
        lines = advise({"a": one, "b": second})
        assert lines
        assert all(lines)
        texts.update(lines)
    named = {found for text in texts for found in re.findall(r"interlock ([a-z]+)", text)}
    assert named <= commands
    assert {"promote", "solo", "gate", "reinstate", "switchover"} <= named


def test_what_each_node_says_is_one_sentence() -> None:
    told = describe({"a": None, "b": b(S, "ORPHANED")})
    assert told == "a does not answer; b is ORPHANED as secondary in epoch 3"
