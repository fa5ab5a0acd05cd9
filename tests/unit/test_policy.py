"""What each role may do. The tables are written here once more, by hand: a row that is changed in
the code by mistake, or added without a thought, disagrees with this one.
"""

from __future__ import annotations

from typing import Any, get_args

import pytest

from interlock.shared import commands
from interlock.shared.config import SOCKETS
from interlock.shared.epochs import Epoch
from interlock.shared.errors import Reason, RemoteError
from interlock.shared.keyring import ANYBODY, Entry, KeyRing, KeyRole, Principal
from interlock.shared.messages import PROTOCOL_VERSION, ProducerHello
from interlock.shared.operations import Operation, Request
from interlock.shared.policy import (
    check_control,
    check_hello,
    check_peer,
    denied,
    doors_to_reopen,
    may_connect,
)
from interlock.shared.wire import GENESIS

ROLES = ("peer", "producer", "consumer", "observer", "operator", "approver")

# x: may; a dot: may not. Columns in the order of ROLES.
DOORS = """
    intake     .  x  .  .  x  .
    link       x  .  .  .  .  .
    feed       .  .  x  .  x  .
    replay     .  .  x  .  x  .
    control    x  .  .  x  x  x
    telemetry  .  .  .  x  x  x
"""

CONTROL = """
    GetStatus       x  .  .  x  x  x
    GetPreflight    .  .  .  .  x  .
    Execute         .  .  .  .  x  .
    Approve         .  .  .  .  x  x
    GetOperation    .  .  .  .  x  x
    GetQuarantine   .  .  .  .  x  .
    ReadQuarantine  .  .  .  .  x  .
    ReloadKeys      .  .  .  .  x  .
    PeerCompare     x  .  .  .  .  .
    PeerYield       x  .  .  .  .  .
    PeerFetch       x  .  .  .  .  .
"""

V, C = PROTOCOL_VERSION, "c"
MESSAGES: list[Any] = [
    commands.GetStatus(V),
    commands.GetPreflight(V, C, Request(Operation.SOLO, "a")),
    commands.Execute(V, C, "t", "ann", "why", "a", ""),
    commands.Approve(V, C, "t", "bob"),
    commands.GetOperation(V, "t"),
    commands.GetQuarantine(V),
    commands.ReadQuarantine(V, "entry", 0),
    commands.ReloadKeys(V),
    commands.PeerCompare(V, C, "b", list[Epoch](), GENESIS),
    commands.PeerYield(V, C, "b", 2, False, "why"),
    commands.PeerFetch(V, C, "b", GENESIS),
]


def table(text: str) -> dict[str, dict[str, bool]]:
    rows = [line.split() for line in text.strip().splitlines()]
    return {
        row[0]: dict(zip(ROLES, [cell == "x" for cell in row[1:]], strict=True)) for row in rows
    }


def owner(*roles: str, name: str = "ann", producers: tuple[str, ...] = ()) -> Principal:
    return Principal(name, "k" * 40, frozenset(map(KeyRole, roles)), producers)


def refused(act: Any, *arguments: Any) -> str:
    with pytest.raises(RemoteError) as caught:
        act(*arguments)
    assert caught.value.reason is Reason.NOT_ALLOWED
    assert "k" * 40 not in caught.value.text
    return caught.value.text


# Doors and messages by role -------------------------------------------------------------------


def test_the_tables_leave_nothing_out() -> None:
    assert set(table(DOORS)) == set(SOCKETS)
    asked = {kind.__name__ for kind in get_args(commands.ControlRequest)}
    assert set(table(CONTROL)) == asked == {type(message).__name__ for message in MESSAGES}
    assert set(ROLES) == {role.value for role in KeyRole}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("door", table(DOORS))
def test_a_door_lets_in_by_role(door: str, role: str) -> None:
    assert may_connect(door, owner(role)) == table(DOORS)[door][role]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("message", MESSAGES, ids=lambda each: type(each).__name__)
def test_a_command_is_taken_by_role(message: Any, role: str) -> None:
    name = type(message).__name__
    who = owner(role, name="b")
    if table(CONTROL)[name][role]:
        check_control(who, message)
    else:
        text = refused(check_control, who, message)
        assert f"has the role {role}; {name} needs the role" in text


@pytest.mark.parametrize("door", table(DOORS))
def test_nobody_without_a_role_is_let_in_and_anybody_is_where_no_keys_are_used(door: str) -> None:
    assert not may_connect(door, owner())
    assert may_connect(door, ANYBODY)


def test_a_door_that_is_none_lets_nobody_in() -> None:
    """The handler takes the error for a no; a default that lets in would let everybody in."""
    for who in (owner("peer"), ANYBODY):
        with pytest.raises(KeyError):
            may_connect("", who)


def test_several_roles_add_up_and_give_no_more() -> None:
    who = owner("consumer", "approver")
    assert [door for door in SOCKETS if may_connect(door, who)] == [
        *("feed", "replay", "control", "telemetry")
    ]
    check_control(who, MESSAGES[3])
    assert "has the role approver and consumer" in refused(check_control, who, MESSAGES[2])


@pytest.mark.parametrize("message", MESSAGES, ids=lambda each: type(each).__name__)
def test_where_no_keys_are_used_all_is_taken(message: Any) -> None:
    check_control(ANYBODY, message)


# Nodes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", MESSAGES[-3:], ids=lambda each: type(each).__name__)
def test_a_node_speaks_for_itself_alone(message: Any) -> None:
    """A's key is stolen: it must not be good for what B alone may ask of A."""
    check_control(owner("peer", name="b"), message)
    text = refused(check_control, owner("peer", name="a"), message)
    assert text.startswith("key a (SHA256:")
    assert text.endswith("speaks for node b")


def test_the_link_is_for_the_peer_of_the_node() -> None:
    check_peer(owner("peer", name="b"), "b")
    check_peer(ANYBODY, "b")
    for name in ("a", "c", "B", "b2"):
        assert "on the link of node b" in refused(check_peer, owner("peer", name=name), "b")


# Producers ------------------------------------------------------------------------------------


def hello(producer: str, *, resume: bool = False) -> ProducerHello:
    return ProducerHello(V, "", producer, 1, resume)


@pytest.mark.parametrize(
    ("roles", "patterns", "producer", "fresh", "resumed"),
    [
        (("producer",), ("mm-*",), "mm-1", True, True),
        (("producer",), ("mm-*",), "mm-", True, True),
        (("producer",), ("mm-*",), "mm", False, False),
        (("producer",), ("mm-*",), "xmm-1", False, False),
        (("producer",), ("mm",), "mm-1", False, False),
        (("producer",), ("*",), "anything", True, True),
        (("producer",), ("*",), "", True, True),  # what is no name is refused by the intake
        (("producer",), ("mm-*",), "", False, False),
        (("consumer",), ("*",), "mm", False, False),
        (("approver", "observer", "peer"), ("*",), "mm", False, False),
        # An operator brings a quarantined tail back: under a name that nobody uses, so by resume.
        (("operator",), (), "mm", False, True),
        (("operator", "producer"), ("mm-*",), "mm-1", True, True),
        (("operator", "producer"), ("mm-*",), "other", False, True),
    ],
)
def test_a_hello_is_taken_by_name(
    roles: tuple[str, ...], patterns: tuple[str, ...], producer: str, fresh: bool, resumed: bool
) -> None:
    who = owner(*roles, producers=patterns)
    for taken, resume in ((fresh, False), (resumed, True)):
        if taken:
            check_hello(who, hello(producer, resume=resume))
        else:
            text = refused(check_hello, who, hello(producer, resume=resume))
            assert f"its producer names: {', '.join(patterns) or 'none'}" in text


def test_a_long_name_is_not_echoed_whole() -> None:
    """It comes from the other end, up to the size of a frame, and the answer is bounded."""
    text = refused(check_hello, owner("producer", producers=("mm",)), hello("x" * 900))
    assert "x" * 32 in text
    assert "x" * 33 not in text


def test_a_denial_names_what_is_missing() -> None:
    error = denied(owner("observer"), "intake", frozenset({KeyRole.PRODUCER, KeyRole.OPERATOR}))
    assert error.reason is Reason.NOT_ALLOWED
    assert error.text.endswith("has the role observer; intake needs the role operator or producer")


# Which doors are opened anew when the list changes --------------------------------------------


def ring(**roles: str) -> KeyRing:
    """A list of names, each with a key of that name and with some roles."""
    return KeyRing(
        {
            name: Entry(
                [KeyRole(role) for role in text.split()],
                [name * 40],
                ["*"] if "producer" in text else [],
            )
            for name, text in roles.items()
        }
    )


@pytest.mark.parametrize(
    ("before", "after", "doors"),
    [
        ("consumer", "", {"feed"}),
        ("consumer", "operator", set()),  # it still may read
        ("consumer", "producer", {"feed"}),
        ("observer", "", {"telemetry"}),
        ("observer", "approver", set()),
        ("operator", "", {"feed", "telemetry"}),
        ("operator", "observer", {"feed"}),
        ("operator", "consumer", {"telemetry"}),
        ("peer", "", {"link"}),
        ("peer", "operator", {"link"}),
        ("producer", "", set()),  # each of its messages is looked at
        ("approver", "consumer", {"telemetry"}),
        ("consumer", "consumer observer", set()),
        ("", "operator", set()),
    ],
)
def test_doors_that_go_on_telling_are_opened_anew(before: str, after: str, doors: set[str]) -> None:
    """A subscriber only listens: no message of its comes that could be refused."""
    old = ring(z="peer", **({"x": before} if before else {}))
    new = ring(z="peer", **({"x": after} if after else {}))
    assert doors_to_reopen(old, new) == doors


def test_a_key_that_is_replaced_under_its_name_loses_its_doors() -> None:
    """The end of a rotation: the name stays allowed, the old key does not."""
    old = KeyRing({"b": Entry([KeyRole.PEER], ["o" * 40, "n" * 40])})
    new = KeyRing({"b": Entry([KeyRole.PEER], ["n" * 40])})
    assert doors_to_reopen(old, new) == {"link"}
    assert doors_to_reopen(new, old) == set()


def test_each_key_that_lost_something_counts() -> None:
    old = ring(x="consumer", y="observer", z="peer")
    assert doors_to_reopen(old, ring(z="peer")) == {"feed", "telemetry"}
    assert doors_to_reopen(old, ring()) == {"feed", "telemetry", "link"}
    assert doors_to_reopen(old, old) == set()
