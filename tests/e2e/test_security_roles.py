"""What somebody may do who was let in: each message is looked at again, by the key that sent it.

Here are those who have a valid key and want more than it is for: another's producer name, another's
session, another's commands, another's token, another's name in the log.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from interlock import Producer, RefusedError
from interlock.shared.commands import (
    Approve,
    Approved,
    Execute,
    GetOperation,
    GetPreflight,
    GetQuarantine,
    Outcome,
    PeerCompare,
    PeerFetch,
    PeerYield,
    PreflightReport,
    ReadQuarantine,
    ReloadKeys,
)
from interlock.shared.errors import Reason
from interlock.shared.journal import JournalReader
from interlock.shared.keyring import KeyRole
from interlock.shared.keys import KeyPair
from interlock.shared.messages import (
    PROTOCOL_VERSION,
    Confirmed,
    LinkHello,
    Message,
    ProducerBye,
    ProducerHello,
    ProducerPing,
    ProducerWelcome,
    Submit,
)
from interlock.shared.operations import (
    Operation,
    Preflight,
    Receipt,
    Request,
    Result,
    decode_receipt,
)
from interlock.shared.wire import GENESIS, Kind, encode_messages
from support.attackers import IN, Caller, Guarded
from support.pair import status, wait_for
from support.traffic import NAME as LOAD

VERSION = PROTOCOL_VERSION


@pytest.fixture(autouse=True)
def _the_pair_goes_on(guarded: Guarded) -> Iterator[None]:
    epoch = status(guarded.pair, "a").epoch
    yield
    guarded.assert_goes_on()
    assert status(guarded.pair, "a").epoch == epoch, "an operation was done that was not allowed"


@pytest.fixture(scope="module")
def keys(guarded: Guarded) -> dict[str, KeyPair]:
    return {
        "victim": guarded.allow("victim", KeyRole.PRODUCER, producers=["v-*"]),
        "mallory": guarded.allow("mallory", KeyRole.PRODUCER, producers=["m-*"]),
        "reader": guarded.allow("reader", KeyRole.CONSUMER, KeyRole.OBSERVER),
        "alice": guarded.allow("alice", KeyRole.OPERATOR),
        "bob": guarded.allow("bob", KeyRole.OPERATOR),
        "agnes": guarded.allow("agnes", KeyRole.APPROVER),
        "a": guarded.own("a"),
        "b": guarded.own("b"),
    }


# Producers ------------------------------------------------------------------------------------


def hello(producer: str, session: int, *, resume: bool = False) -> ProducerHello:
    return ProducerHello(VERSION, "", producer, session, resume)


def submit(session: int, number: int) -> Submit:
    return Submit(session, 1, number, 1, msgspec.Raw(encode_messages([b"%d" % number])))


def welcomed(one: Caller, producer: str, session: int) -> None:
    reply = one.ask("intake", hello(producer, session))
    assert isinstance(reply, ProducerWelcome), f"expected {producer} to be welcome, got {reply}"


def confirmed(one: Caller, session: int, number: int) -> None:
    reply = one.ask("intake", submit(session, number))
    assert isinstance(reply, Confirmed), f"expected a confirmation of {number}, got {reply}"
    assert [run.producer_seq for run in reply.runs] == [number]


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", [LOAD, "v-1", "m", "", "M-1"])
def test_another_name_is_refused(
    guarded: Guarded, keys: dict[str, KeyPair], name: str, resume: bool
) -> None:
    """Whether it is used or free, taken over or resumed; and its own names are not spoilt by it."""
    with (
        guarded.call("a", "intake", keys["mallory"]) as one,
        guarded.counted("a", "intake", Reason.NOT_ALLOWED),
    ):
        text = one.refusal("intake", hello(name, 1, resume=resume), Reason.NOT_ALLOWED)
        assert f"may not submit as producer {name}; its producer names: m-*" in text
        welcomed(one, "m-1", 2)


def test_a_client_is_told_that_the_name_is_not_for_its_key(
    guarded: Guarded, keys: dict[str, KeyPair]
) -> None:
    with pytest.raises(
        RefusedError, match=r"key mallory .* may not submit as producer v-1"
    ) as told:
        Producer("v-1", guarded.pair.config, key="mallory")
    assert told.value.reason is Reason.NOT_ALLOWED


def test_an_operator_resumes_any_name_and_takes_none_over(
    guarded: Guarded, keys: dict[str, KeyPair]
) -> None:
    """He submits a quarantined tail again. A producer that lives is never cut off for that."""
    with guarded.call("a", "intake", keys["alice"]) as one:
        one.refusal("intake", hello(LOAD, 1), Reason.NOT_ALLOWED)
        one.refusal("intake", hello(LOAD, 1, resume=True), Reason.TAKEN_OVER)
        reply = one.ask("intake", hello("v-gone", 1, resume=True))
        assert isinstance(reply, ProducerWelcome), f"expected to resume a free name, got {reply}"


def test_a_known_session_number_is_of_no_use_to_another_key(
    guarded: Guarded, keys: dict[str, KeyPair]
) -> None:
    with (
        guarded.call("a", "intake", keys["victim"]) as victim,
        guarded.call("a", "intake", keys["mallory"]) as thief,
    ):
        welcomed(victim, "v-2", 22)
        confirmed(victim, 22, 1)
        thief.refusal("intake", hello("v-2", 22, resume=True), Reason.NOT_ALLOWED)
        for message in (submit(22, 2), ProducerPing(22), ProducerBye(22)):
            thief.refusal("intake", message, Reason.NO_SESSION)
        confirmed(victim, 22, 2)
        assert thief.hears() is None, "expected the confirmations to go to the victim alone"


def test_a_routing_id_that_is_another_s_gives_nothing(
    guarded: Guarded, keys: dict[str, KeyPair]
) -> None:
    """While the victim is there the thief is not heard; when it has gone, its session is not the
    thief's, though the node would answer to the same routing id."""
    with guarded.call("a", "intake", keys["victim"], routing_id=b"victim") as victim:
        welcomed(victim, "v-3", 33)
        confirmed(victim, 33, 1)
        with guarded.call("a", "intake", keys["mallory"], routing_id=b"victim") as thief:
            assert thief.outcome() == IN
            thief.send(submit(33, 2))
            confirmed(victim, 33, 2)
            confirmed(victim, 33, 3)
            assert thief.hears() is None, "expected the answers to go to the victim alone"

    def answer() -> object:  # the thief is let in once the node has seen that the victim left
        with guarded.call("a", "intake", keys["mallory"], routing_id=b"victim") as thief:
            thief.send(submit(33, 4))
            return (frame := thief.hears(0.3)) and msgspec.msgpack.decode(frame)

    reply = wait_for("an answer to the thief", answer)
    assert isinstance(reply, list)
    assert reply[:2] == ["refused", Reason.NO_SESSION.value], f"expected no-session, got {reply}"


# Commands -------------------------------------------------------------------------------------


def orders(cluster: str) -> dict[type[Message], Message]:
    """All that can be asked on control but the status, in the name of those who may."""
    asked = [
        GetPreflight(VERSION, cluster, Request(Operation.PAUSE, "a")),
        Execute(VERSION, cluster, "0" * 16, "alice", "why not", "a"),
        Approve(VERSION, cluster, "0" * 16, "agnes"),
        GetOperation(VERSION, "0" * 16),
        GetQuarantine(VERSION),
        ReadQuarantine(VERSION, "x", 0),
        ReloadKeys(VERSION),
        PeerCompare(VERSION, cluster, "b", [], GENESIS),
        PeerYield(VERSION, cluster, "b", 1_000, True, "give way"),
        PeerFetch(VERSION, cluster, "b", GENESIS),
    ]
    return {type(message): message for message in asked}


PEERS = {PeerCompare, PeerYield, PeerFetch}
APPROVERS = {Approve, GetOperation}
OTHERS = {GetPreflight, Execute, GetQuarantine, ReadQuarantine, ReloadKeys}


@pytest.mark.parametrize(
    ("name", "forbidden"),
    [
        ("reader", PEERS | APPROVERS | OTHERS),
        ("agnes", PEERS | OTHERS),
        ("alice", PEERS),
        ("b", APPROVERS | OTHERS),
    ],
)
def test_a_command_is_refused_to_who_has_no_role_for_it(
    guarded: Guarded, keys: dict[str, KeyPair], name: str, forbidden: set[type[Message]]
) -> None:
    """A consumer that commands, an approver that executes, a node that acts as an operator."""
    asked = orders(guarded.pair.config.cluster)
    assert forbidden <= asked.keys()
    with (
        guarded.call("a", "control", keys[name]) as one,
        guarded.counted("a", "control", Reason.NOT_ALLOWED, len(forbidden)),
    ):
        for kind in forbidden:
            text = one.refusal("control", asked[kind], Reason.NOT_ALLOWED)
            assert f"key {name} (SHA256:" in text, f"expected the key to be named: {text}"
            assert f"; {kind.__name__} needs the role " in text


@pytest.mark.parametrize(("node", "peer"), [("a", "b"), ("b", "a")])
def test_a_node_s_key_is_of_no_use_at_itself(
    guarded: Guarded, keys: dict[str, KeyPair], node: str, peer: str
) -> None:
    """Its thief would pass for the other node there: as a standby that follows, or to have it give
    way."""
    cluster = guarded.pair.config.cluster
    posing = LinkHello(VERSION, cluster, peer, 99, 99 << 24, [], GENESIS, 0, "written")
    with (
        guarded.call(node, "link", keys[node]) as link,
        guarded.counted(node, "link", Reason.NOT_ALLOWED),
    ):
        text = link.refusal("link", posing, Reason.NOT_ALLOWED)
        assert f"key {node} (" in text
        assert f"speaks on the link of node {peer}" in text
    with (
        guarded.call(node, "control", keys[node]) as control,
        guarded.counted(node, "control", Reason.NOT_ALLOWED),
    ):
        yielding = PeerYield(VERSION, cluster, peer, 1_000, True, "give way")
        text = control.refusal("control", yielding, Reason.NOT_ALLOWED)
        assert f"speaks for node {peer}" in text


# Tokens ---------------------------------------------------------------------------------------


def preflight(guarded: Guarded, one: Caller, operation: Operation) -> Preflight:
    asked = GetPreflight(VERSION, guarded.pair.config.cluster, Request(operation, "a"))
    reply = one.ask("control", asked)
    assert isinstance(reply, PreflightReport), f"expected a preflight, got {reply}"
    assert reply.preflight.token, f"expected a token, got {reply.preflight.guards}"
    return reply.preflight


def execution(guarded: Guarded, found: Preflight, operator: str) -> Execute:
    return Execute(VERSION, guarded.pair.config.cluster, found.token, operator, "a test", "a")


def done(one: Caller, order: Execute) -> Receipt:
    reply = one.ask("control", order)
    assert isinstance(reply, Outcome), f"expected an outcome, got {reply}"
    assert reply.receipt.result is Result.DONE, reply.receipt
    return reply.receipt


def logged(guarded: Guarded, token: str) -> list[Receipt]:
    """The receipts of an operation in the standby's log."""
    records = JournalReader(guarded.pair.config.data_dir("b")).records()
    found = [decode_receipt(one) for one in records if one.kind is Kind.OPERATION]
    return [receipt for receipt in found if receipt.id == token]


def test_a_command_that_is_replayed_is_refused(guarded: Guarded, keys: dict[str, KeyPair]) -> None:
    """The same bytes once more, from the same connection and from another."""
    with (
        guarded.call("a", "control", keys["alice"]) as one,
        guarded.call("a", "control", keys["alice"]) as other,
    ):
        for operation in (Operation.PAUSE, Operation.RESUME):
            found = preflight(guarded, one, operation)
            order = execution(guarded, found, "alice")
            done(one, order)
            for caller in (one, other):
                text = caller.refusal("control", order, Reason.UNKNOWN_TOKEN)
                assert "or it is spent" in text
            kept = wait_for("the receipt", lambda found=found: logged(guarded, found.token))
            assert len(kept) == 1, "expected one receipt of one operation"


def test_a_stolen_token_is_of_no_use_to_another_operator(
    guarded: Guarded, keys: dict[str, KeyPair]
) -> None:
    """Whatever name he gives; and its owner can still use it."""
    with (
        guarded.call("a", "control", keys["alice"]) as alice,
        guarded.call("a", "control", keys["bob"]) as bob,
        guarded.call("a", "control", keys["agnes"]) as agnes,
    ):
        found = preflight(guarded, alice, Operation.PAUSE)
        for name in ("bob", "alice"):
            text = bob.refusal("control", execution(guarded, found, name), Reason.NOT_ALLOWED)
            assert text == (
                f"token {found.token} was given to alice, not to bob; run a preflight of your own"
            )
        text = agnes.refusal("control", execution(guarded, found, "alice"), Reason.NOT_ALLOWED)
        assert "Execute needs the role operator" in text
        done(alice, execution(guarded, found, "alice"))
        done(alice, execution(guarded, preflight(guarded, alice, Operation.RESUME), "alice"))


def test_the_log_has_the_name_of_the_key_and_not_the_one_that_was_given(
    guarded: Guarded, keys: dict[str, KeyPair]
) -> None:
    """Of who executes and of who approves; under other names nobody approves twice."""
    with (
        guarded.call("a", "control", keys["alice"]) as alice,
        guarded.call("a", "control", keys["agnes"]) as agnes,
        guarded.call("a", "control", keys["bob"]) as bob,
    ):
        for operation in (Operation.PAUSE, Operation.RESUME):
            found = preflight(guarded, alice, operation)
            for who, claimed, approvers in (
                (agnes, "carol", ["agnes"]),
                (agnes, "dave", ["agnes"]),
                (bob, "alice", ["agnes", "bob"]),
            ):
                approval = Approve(VERSION, guarded.pair.config.cluster, found.token, claimed)
                reply = who.ask("control", approval)
                assert isinstance(reply, Approved), f"expected an approval, got {reply}"
                assert reply.approvers == approvers
            receipt = done(alice, execution(guarded, found, "bob"))
            (kept,) = wait_for("the receipt", lambda found=found: logged(guarded, found.token))
            for one in (receipt, kept):
                assert (one.operator, one.approvers) == ("alice", ["agnes", "bob"])
