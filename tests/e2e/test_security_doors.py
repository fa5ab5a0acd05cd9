"""Who comes in: on each of the twelve sockets of a pair with keys, by key and by role.

What must be seen is written out here, and not taken from the product's own table.
"""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from interlock import ClientError, Consumer, Producer
from interlock.shared.errors import Reason
from interlock.shared.keyring import KeyRole
from interlock.shared.keys import KeyPair, fingerprint
from support.attackers import (
    DENIED,
    DOORS,
    FAILED,
    GOOD,
    IN,
    PUBLISHING,
    Caller,
    Guarded,
    stranger,
)
from support.pair import Raw, endpoint, key, refused, status, wait_for

# Who may come in where.
ALLOWED = {
    "intake": {"producer", "operator"},
    "link": {"peer"},
    "feed": {"consumer", "operator"},
    "replay": {"consumer", "operator"},
    "control": {"observer", "operator", "approver", "peer"},
    "telemetry": {"observer", "operator", "approver"},
}


pytestmark = pytest.mark.usefixtures("the_pair_goes_on")


@pytest.fixture(scope="module")
def keys(guarded: Guarded) -> dict[str, KeyPair]:
    """A key for each role. That of a peer is the standby's own, as a thief of it would use it."""
    made = {
        role.value: guarded.allow(f"only-{role.value}", role)
        for role in (KeyRole.CONSUMER, KeyRole.OBSERVER, KeyRole.OPERATOR, KeyRole.APPROVER)
    }
    made["producer"] = guarded.allow("only-producer", KeyRole.PRODUCER, producers=["only-*"])
    made["peer"] = guarded.own("b")
    return made


def knock(
    guarded: Guarded, stack: ExitStack, pair: KeyPair | None, server: str = ""
) -> dict[tuple[str, str], Caller]:
    """Dials all doors at once, and asks at each what would be answered to somebody else."""
    callers = {}
    for node, socket in DOORS:
        one = stack.enter_context(guarded.call(node, socket, pair, server=server))
        if socket not in PUBLISHING:
            one.send(GOOD[socket])
        callers[node, socket] = one
    return callers


def assert_shut_out(
    guarded: Guarded, pair: KeyPair | None, outcome: str, reason: Reason, server: str = ""
) -> None:
    """Nobody is let in anywhere, nothing is answered or published to him, and both nodes count why
    for each socket."""
    names = {(node, socket): key(socket, reason) for node, socket in DOORS}
    before = {door: refused(guarded.pair, door[0], name) for door, name in names.items()}
    with ExitStack() as stack:
        callers = knock(guarded, stack, pair, server)
        for door, one in callers.items():
            assert one.outcome() == outcome, f"expected {outcome} at {door}"
        guarded.traffic.wait_for_more()
        for door, one in callers.items():
            assert one.hears() is None, f"expected to hear nothing at {door}"
    for door, name in names.items():
        wait_for(
            f"{name} to be counted by node {door[0]}",
            lambda door=door, name=name: refused(guarded.pair, door[0], name) > before[door],
        )


def test_without_a_key_nobody_is_let_in(guarded: Guarded) -> None:
    assert_shut_out(guarded, None, FAILED, Reason.UNKNOWN_KEY)


def test_with_an_unknown_key_nobody_is_let_in_and_the_key_is_named(guarded: Guarded) -> None:
    pair = stranger()
    assert_shut_out(guarded, pair, DENIED, Reason.UNKNOWN_KEY)
    for node, socket in DOORS:
        whose = f"an unknown key ({fingerprint(pair.public)})"
        guarded.wait_for_event(node, whose, f"was not let in at {socket}")


def test_who_expects_another_key_of_the_node_is_not_let_in(
    guarded: Guarded, keys: dict[str, KeyPair]
) -> None:
    """As somebody would whose list is old, or who was sent to another machine."""
    other = stranger().public
    assert_shut_out(guarded, keys["operator"], FAILED, Reason.UNKNOWN_KEY, server=other)


def test_each_role_is_let_in_where_it_has_business_and_nowhere_else(
    guarded: Guarded, keys: dict[str, KeyPair]
) -> None:
    not_allowed = {door: key(door[1], Reason.NOT_ALLOWED) for door in DOORS}
    before = {door: refused(guarded.pair, door[0], name) for door, name in not_allowed.items()}
    with ExitStack() as stack:
        callers = {
            (role, node, socket): stack.enter_context(guarded.call(node, socket, pair))
            for role, pair in keys.items()
            for node, socket in DOORS
        }
        for (role, node, socket), one in callers.items():
            expected = IN if role in ALLOWED[socket] else DENIED
            assert one.outcome() == expected, f"expected {role} to be {expected} at {node} {socket}"
    for (node, socket), name in not_allowed.items():
        wrong = len(keys) - len(ALLOWED[socket])
        found = refused(guarded.pair, node, name) - before[node, socket]
        assert found >= wrong, f"expected {wrong} more of {name} on node {node}, found {found}"
    guarded.wait_for_event("a", "key only-consumer", "role consumer", "not let in at telemetry")
    guarded.wait_for_event("b", "key only-observer", "role observer", "not let in at feed")


def test_a_client_that_is_not_let_in_is_told_why(
    guarded: Guarded, keys: dict[str, KeyPair]
) -> None:
    with pytest.raises(
        ClientError, match=r"does not let key only-consumer .* has no role for that"
    ):
        Producer("only-1", guarded.pair.config, key="only-consumer", connect_timeout=1.0)
    with (
        Consumer(guarded.pair.config, key="only-producer") as consumer,
        pytest.raises(ClientError, match=r"does not let key only-producer .* has no role for that"),
    ):
        consumer.next(15.0)


def test_a_client_without_keys_does_not_hold_up_who_has_one(
    guarded: Guarded, keys: dict[str, KeyPair]
) -> None:
    """At the same door, at the same moment."""
    where = endpoint(guarded.pair.config, "a", "control")
    with Raw(where) as plain, guarded.call("a", "control", keys["observer"]) as one:
        plain.send(GOOD["control"])
        assert one.ask("control", GOOD["control"]).status.node == "a"
        assert plain.frames(0) is None, "expected no answer without a key"
    assert status(guarded.pair, "a").security is not None
