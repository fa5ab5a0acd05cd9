"""A pair whose clients have keys: who a session, a command and a token belong to, what becomes of
them when the list of allowed keys changes, and that the log is told of it.

Here a key is any text. Whether it was proven, and what it may do, was decided before (`doorkeeper`,
`policy`); the cores are told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from interlock.primary.core import PrimaryCore
from interlock.secondary.events import LinkDenied
from interlock.shared.commands import (
    Approve,
    Approved,
    Execute,
    GetPreflight,
    Outcome,
    PreflightReport,
)
from interlock.shared.effects import Append, Dial, Effect, SaveMemory
from interlock.shared.errors import Reason
from interlock.shared.events import FromControl, FromProducer, KeysChanged
from interlock.shared.limits import MAX_RECEIPTS
from interlock.shared.messages import (
    PROTOCOL_VERSION,
    Confirmed,
    IntakeReply,
    IntakeRequest,
    Message,
    ProducerBye,
    ProducerHello,
    ProducerPing,
    ProducerPong,
    ProducerWelcome,
    Refused,
)
from interlock.shared.operations import (
    Operation,
    Preflight,
    Receipt,
    Request,
    Result,
    decode_receipt,
)
from interlock.shared.roles import NodeState
from interlock.shared.wire import Kind
from support.world import MS, Node, World, submission

May = Callable[[str, str], bool]


class Keyed:
    """A world whose clients have keys. A sender is a connection, and the key that it has proven."""

    def __init__(self, **settings: int) -> None:
        self.world = World(**settings).start()  # type: ignore[arg-type]
        self.digests = 0

    def say(
        self, key: str, sender: bytes, message: IntakeRequest, node: Node | None = None
    ) -> list[IntakeReply]:
        """What is answered to the sender in the same turn."""
        node, world = node or self.world.a, self.world
        if isinstance(message, ProducerHello):
            world.names[message.session] = message.producer
        before = len(world.replies)
        self.take(node, FromProducer(sender, message, key))
        world.turn(node)
        return [reply for to, reply in world.replies[before:] if to == sender]

    def hello(self, key: str, name: str, session: int, sender: bytes = b"") -> IntakeReply:
        hello = ProducerHello(PROTOCOL_VERSION, "", name, session, False)
        (reply,) = self.say(key, sender or b"%d" % session, hello)
        return reply

    def submit(self, key: str, session: int, number: int, body: bytes = b"x") -> list[IntakeReply]:
        return self.say(key, b"%d" % session, submission(session, number, body))

    def take(self, node: Node, event: Any) -> None:
        assert node.core is not None
        node.core.handle(event, self.world.now, self.world.wall)

    def changed(
        self, node: Node, *changes: str, may: May = lambda key, name: True, renewed: bool = False
    ) -> str:
        """The node has taken another list, whose digest is returned."""
        self.digests += 1
        digest = f"{self.digests:016x}"
        self.take(node, KeysChanged(digest, list(changes), "ann", may, renewed))
        self.world.turn(node)
        return digest

    def command(self, node: Node, key: str, message: Any, ms: int = 12_000) -> Message | None:
        """The answer to a command of the key's owner."""
        world, sender = self.world, b"op-of-" + key.encode()
        world.answers.clear()
        self.take(node, FromControl(sender, message, key))
        for _ in range(ms // 5):
            world.deliver()
            for to, answer in world.answers:
                if to == sender:
                    return answer
            world.now += 5 * MS
        return None

    def preflight(self, node: Node, key: str, operation: Operation) -> Preflight:
        message = GetPreflight(
            PROTOCOL_VERSION, self.world.config.cluster, Request(operation, node.name)
        )
        answer = self.command(node, key, message)
        assert isinstance(answer, PreflightReport), answer
        return answer.preflight

    def execute(self, node: Node, key: str, found: Preflight) -> Message | None:
        """As a node hands it on: the operator is the name of the key."""
        return self.command(
            node,
            key,
            Execute(
                *(PROTOCOL_VERSION, self.world.config.cluster, found.token, key, "a test"),
                *(node.name, found.attestation),
            ),
        )

    def refusal(self, replies: list[IntakeReply]) -> Refused:
        (reply,) = replies
        assert isinstance(reply, Refused), reply
        return reply


def logged(node: Node) -> list[Receipt]:
    """The changes of keys that a node's log tells, in order."""
    receipts = [
        decode_receipt(record) for record in node.journal.records if record.kind is Kind.OPERATION
    ]
    return [one for one in receipts if one.request.operation is Operation.KEYS]


def reasons(node: Node) -> list[str]:
    return [receipt.reason for receipt in logged(node)]


# Sessions -------------------------------------------------------------------------------------


def test_a_session_ends_when_its_key_loses_its_name() -> None:
    """Eve's key is revoked while she submits. She is told why, once, and is not heard any more; the
    others do not notice. What she had submitted before is released: it was hers to submit."""
    keyed = Keyed()
    world = keyed.world
    keyed.hello("K-eve", "eve", 1)
    keyed.hello("K-bob", "bob", 2)
    keyed.submit("K-eve", 1, 1, b"before")
    world.settle(200)
    before = len(world.replies)
    keyed.changed(world.a, "removed key eve", may=lambda key, name: key != "K-eve")
    told = world.replies[before:]
    assert [(to, getattr(reply, "reason", None)) for to, reply in told] == [
        (b"1", Reason.NOT_ALLOWED)
    ]
    assert isinstance(told[0][1], Refused)
    assert told[0][1].session == 1
    assert "may not submit as eve any more" in told[0][1].text
    assert keyed.refusal(keyed.submit("K-eve", 1, 2, b"after")).reason is Reason.NO_SESSION
    keyed.submit("K-bob", 2, 1, b"goes on")
    world.settle(200)
    assert [body for _, _, body in world.data()] == [b"before", b"goes on"]
    assert sorted(world.confirmed) == [("bob", 1), ("eve", 1)]
    world.assert_identical()


def test_a_session_ends_for_its_name_and_not_for_its_key_alone() -> None:
    """One key, two producers: the list takes one name of it away."""
    keyed = Keyed()
    keyed.hello("K", "mm-1", 1)
    keyed.hello("K", "feed", 2)
    before = len(keyed.world.replies)
    keyed.changed(keyed.world.a, "changed key k", may=lambda key, name: name.startswith("mm-"))
    assert [to for to, _ in keyed.world.replies[before:]] == [b"2"]
    assert keyed.submit("K", 1, 1) == []
    assert keyed.refusal(keyed.submit("K", 2, 1)).reason is Reason.NO_SESSION


def test_a_change_that_concerns_others_ends_no_session() -> None:
    keyed = Keyed()
    keyed.hello("K", "p", 1)
    before = len(keyed.world.replies)
    keyed.changed(keyed.world.a, "allowed key bob")
    assert keyed.world.replies[before:] == []
    assert keyed.submit("K", 1, 1) == []


def test_no_confirmation_goes_to_a_session_that_was_ended() -> None:
    """Eve's message is pending when her key is revoked. It is in the log, so it is released as all
    is; the news of it is not for her any more."""
    keyed = Keyed()
    world = keyed.world
    keyed.hello("K-eve", "eve", 1)
    keyed.hello("K-bob", "bob", 2)
    world.cut()
    keyed.submit("K-eve", 1, 1, b"hers")
    keyed.submit("K-eve", 1, 1, b"hers")  # again: it awaits its release twice over
    keyed.submit("K-bob", 2, 1, b"his")
    keyed.changed(world.a, "removed key eve", may=lambda key, name: key != "K-eve")
    before = len(world.replies)
    world.heal()
    world.settle()
    assert [body for _, _, body in world.data(world.b)] == [b"hers", b"his"]
    confirmed = [to for to, reply in world.replies[before:] if isinstance(reply, Confirmed)]
    assert confirmed == [b"2"]
    assert list(world.confirmed) == [("bob", 1)]
    world.assert_identical()


@pytest.mark.parametrize("body", ["submit", "ping", "bye"])
def test_the_right_connection_with_another_key_has_no_session(body: str) -> None:
    """Mallory has a valid key of her own, chooses the routing id of Ann's connection, and has seen
    the session's number in a log file. She says what Ann could say."""
    keyed = Keyed()
    world = keyed.world
    keyed.hello("K-ann", "ann", 1)
    keyed.submit("K-ann", 1, 1, b"hers")
    held = world.a.journal.last_seq
    messages: dict[str, IntakeRequest] = {
        "submit": submission(1, 2, b"not hers"),
        "ping": ProducerPing(1),
        "bye": ProducerBye(1),
    }
    for key in ("K-mallory", ""):
        refused = keyed.refusal(keyed.say(key, b"1", messages[body]))
        assert (refused.reason, refused.session) == (Reason.NO_SESSION, 1)
    assert world.a.journal.last_seq == held
    (pong,) = keyed.say("K-ann", b"1", ProducerPing(1))
    assert isinstance(pong, ProducerPong)
    keyed.submit("K-ann", 1, 2, b"hers too")
    world.settle(200)
    assert [body for _, _, body in world.data()] == [b"hers", b"hers too"]


def test_a_rotated_key_goes_on_with_its_session() -> None:
    """The producer connects again with its next key, and resumes. From then on its old key, which
    may be in other hands, is not heard in this session."""
    keyed = Keyed()
    world = keyed.world
    keyed.hello("K-old", "p", 1)
    keyed.submit("K-old", 1, 1, b"one")
    resume = ProducerHello(PROTOCOL_VERSION, "", "p", 1, True)
    (reply,) = keyed.say("K-new", b"another", resume)
    assert isinstance(reply, ProducerWelcome)
    assert reply.accepted_producer_seq == 1
    assert keyed.say("K-new", b"another", submission(1, 2, b"two")) == []
    for sender in (b"1", b"another"):
        refused = keyed.refusal(keyed.say("K-old", sender, submission(1, 3, b"no")))
        assert refused.reason is Reason.NO_SESSION
    keyed.changed(world.a, "removed key", may=lambda key, name: key != "K-old")
    assert keyed.say("K-new", b"another", submission(1, 3, b"three")) == []
    world.settle(200)
    assert [body for _, _, body in world.data()] == [b"one", b"two", b"three"]


def test_a_hello_that_waits_for_an_epoch_is_dropped_with_its_key() -> None:
    """During a switchover B holds hellos until its epoch is open. Eve's key is revoked meanwhile:
    her hello must not be answered as if it had been there in time."""
    keyed = Keyed()
    world = keyed.world
    held: list[bool] = []

    def on_effect(node: Node, effect: Effect) -> None:
        core = world.b.core
        if held or node is not world.b or not isinstance(core, PrimaryCore) or core.reign.epoch:
            return
        held.append(True)
        for key, name, session in (("K-eve", "eve", 1), ("K-bob", "bob", 2)):
            world.names[session] = name
            hello = ProducerHello(PROTOCOL_VERSION, "", name, session, False)
            core.handle(FromProducer(b"%d" % session, hello, key), world.now, world.wall)
        changed = KeysChanged("d", ["removed key eve"], "ann", lambda key, name: key != "K-eve")
        core.handle(changed, world.now, world.wall)

    world.on_effect = on_effect
    assert world.operate(world.a, Operation.SWITCHOVER).result is Result.DONE
    world.settle(500)
    assert held
    answered = [to for to, reply in world.replies if isinstance(reply, ProducerWelcome)]
    assert answered == [b"2"]
    assert reasons(world.b) == ["removed key eve"]


# Bounds of one producer -----------------------------------------------------------------------


def test_a_producer_at_its_bound_is_told_busy_and_others_are_taken() -> None:
    """The standby is away. One producer sends as fast as it can: it may not take all the room, so
    that the others are refused for its sake."""
    bound = 65_536
    keyed = Keyed(producer_pending_bytes=bound)
    world = keyed.world
    keyed.hello("K-fast", "fast", 1)
    keyed.hello("K-slow", "slow", 2)
    world.cut()
    number, body = 1, b"x" * 10_000
    while not (replies := keyed.submit("K-fast", 1, number, body)):
        number += 1
        assert number < 100
    refused = keyed.refusal(replies)
    assert (refused.reason, refused.expected) == (Reason.BUSY, number)
    assert "limits.producer_pending_bytes" in refused.text
    pending = world.primary.reign.gate.bytes_of
    assert bound - len(body) - 200 < pending["fast"] <= bound
    assert keyed.submit("K-slow", 2, 1, body) == []
    assert set(pending) == {"fast", "slow"}
    assert keyed.submit("K-fast", 1, number - 1, body) == [], "what is in the log is no new room"

    world.heal()
    world.settle()
    assert pending == {}, "what is released is given back"
    assert keyed.submit("K-fast", 1, number, body) == []
    world.settle(200)
    assert len(world.confirmed) == number + 1
    world.assert_identical()


def test_one_record_above_the_bound_of_a_producer_is_taken_alone() -> None:
    """Otherwise it could never be sent: the bound may be set below the size of a record."""
    keyed = Keyed(producer_pending_bytes=65_536, max_message_bytes=200_000)
    keyed.hello("K", "p", 1)
    keyed.world.cut()
    assert keyed.submit("K", 1, 1, b"x" * 100_000) == []
    assert keyed.refusal(keyed.submit("K", 1, 2, b"x")).reason is Reason.BUSY
    keyed.world.heal()
    keyed.world.settle()
    assert keyed.submit("K", 1, 2, b"x") == []


# The log is told ------------------------------------------------------------------------------


def test_a_change_of_keys_is_in_the_log_once_with_who_made_it() -> None:
    keyed = Keyed()
    world = keyed.world
    digest = keyed.changed(world.a, "removed key eve (SHA256:00)", "allowed key bob (SHA256:11)")
    world.settle(500)
    (receipt,) = logged(world.a)
    assert receipt.operator == "ann"
    assert receipt.request.node == "a"
    assert receipt.request.detail == digest
    assert receipt.reason == "removed key eve (SHA256:00); allowed key bob (SHA256:11)"
    assert receipt.result is Result.DONE
    assert world.a.memory.keys == digest
    world.a.stop()
    world.a.start()
    world.settle()
    assert len(logged(world.b)) == 1
    world.assert_identical()


def test_a_list_that_says_the_same_is_remembered_and_not_logged() -> None:
    keyed = Keyed()
    digest = keyed.changed(keyed.world.a)
    keyed.world.settle(500)
    assert logged(keyed.world.a) == []
    assert keyed.world.a.memory.keys == digest


def test_a_change_on_the_standby_comes_into_the_log_by_the_leader() -> None:
    """Each node has a list of its own, so each one's is told."""
    keyed = Keyed()
    world = keyed.world
    digest = keyed.changed(world.b, "removed key eve")
    assert [receipt.reason for receipt in world.b.memory.receipts] == ["removed key eve"]
    world.settle(500)
    assert [(one.request.node, one.reason) for one in logged(world.a)] == [("b", "removed key eve")]
    assert world.b.memory.receipts == []
    assert (world.b.memory.keys, world.a.memory.keys) == (digest, "")
    world.assert_identical()


@pytest.mark.parametrize("cut_after", range(8))
def test_a_change_on_the_standby_is_logged_once_wherever_the_link_breaks(cut_after: int) -> None:
    """The receipt is sent and lost, or logged and its record lost on the way back: it is sent again
    with the next session, and the leader knows it by its id."""
    keyed = Keyed()
    world = keyed.world
    keyed.changed(world.b, "removed key eve")
    for turn in range(cut_after):
        world.turn(world.nodes[turn % 2])
    world.drop_link()
    world.hung_up(world.b)
    world.settle()
    keyed.changed(world.b, "allowed key bob")
    world.settle()
    assert reasons(world.a) == ["removed key eve", "allowed key bob"]
    assert world.b.memory.receipts == []
    world.assert_identical()


def test_a_change_without_a_leader_is_kept_until_there_is_one() -> None:
    """The standby is away and restarts; then it is promoted: the change is in its own log."""
    keyed = Keyed()
    world = keyed.world
    world.partition()
    world.settle(1_500)
    keyed.changed(world.b, "removed key eve")
    world.b.stop()
    world.b.start()
    world.settle(1_500)
    assert reasons(world.b) == []
    world.a.kill()
    preflight = world.preflight(world.b, Operation.PROMOTE)
    assert getattr(world.execute(world.b, preflight), "result", None) is Result.DONE
    world.settle(500)
    assert reasons(world.b) == ["removed key eve"]
    assert world.b.memory.receipts == []


def test_a_change_during_a_drain_is_logged_by_the_next_leader() -> None:
    """A closes its epoch and may write nothing more; the change is not lost with its lead."""
    keyed = Keyed()
    world = keyed.world
    done: list[str] = []

    def on_effect(node: Node, effect: Effect) -> None:
        if node is world.a and not done and world.a.state is NodeState.DRAINING:
            done.append("")
            changed = KeysChanged("d", ["removed key eve"], "ann", lambda key, name: True)
            keyed.take(world.a, changed)

    world.on_effect = on_effect
    assert world.operate(world.a, Operation.SWITCHOVER).result is Result.DONE
    world.settle()
    assert done
    assert world.leader is world.b
    assert reasons(world.b) == ["removed key eve"]
    assert world.a.memory.receipts == []
    world.assert_identical()


@pytest.mark.parametrize("name", ["a", "b"])
@pytest.mark.parametrize("at", range(1, 5))
def test_a_change_is_not_forgotten_by_a_node_that_is_killed(name: str, at: int) -> None:
    """Killed before any of its effects: the change is in the log or on its way there, or the node
    still remembers the list of before, and tells the new one when it starts."""
    keyed = Keyed()
    world = keyed.world
    node = world.a if name == "a" else world.b
    killed = world.kill_at(name, at)
    digest = keyed.changed(node, "removed key eve")
    for _ in range(50):
        if killed():
            break
        world.now += 5 * MS
        world.deliver()
    assert killed()
    world.on_effect = lambda node, effect: None
    known = node.memory.keys == digest
    told_later = bool(node.memory.receipts)
    node.start()
    world.settle()
    assert len(logged(world.leader)) <= 1
    assert logged(world.leader) or not known, "it would never be told"
    if told_later:
        assert reasons(world.leader) == ["removed key eve"]


def test_the_log_is_told_before_the_memory_says_so() -> None:
    """The other way round, a crash in between would leave a change that nobody is told of."""
    keyed = Keyed()
    order: list[str] = []

    def on_effect(node: Node, effect: Effect) -> None:
        if isinstance(effect, Append):
            order.append("log")
        elif isinstance(effect, SaveMemory) and effect.memory.keys:
            order.append("memory")

    keyed.world.on_effect = on_effect
    keyed.changed(keyed.world.a, "removed key eve")
    assert order == ["log", "memory"]


def test_many_changes_are_a_few_records() -> None:
    keyed = Keyed()
    changes = [f"allowed key client-{number:02} (SHA256:{number:016x})" for number in range(64)]
    keyed.changed(keyed.world.b, *changes)
    keyed.world.settle(500)
    assert "; ".join(reasons(keyed.world.a)) == "; ".join(changes)
    assert len(reasons(keyed.world.a)) <= MAX_RECEIPTS


# Operators ------------------------------------------------------------------------------------


def test_a_token_serves_the_key_that_it_was_given_to() -> None:
    """Mallory, an operator too, has read Ann's token over her shoulder: what she does with it would
    stand in the log as hers on Ann's preflight. Ann can still use it."""
    keyed = Keyed()
    world = keyed.world
    found = keyed.preflight(world.a, "ann", Operation.PAUSE)
    refused = keyed.execute(world.a, "mallory", found)
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.NOT_ALLOWED
    assert "was given to ann, not to mallory" in refused.text
    assert not world.primary.reign.log.paused
    answer = keyed.execute(world.a, "ann", found)
    assert isinstance(answer, Outcome), answer
    assert (answer.receipt.result, answer.receipt.operator) == (Result.DONE, "ann")
    spent = keyed.execute(world.a, "ann", found)
    assert isinstance(spent, Refused)
    assert spent.reason is Reason.UNKNOWN_TOKEN


def test_a_token_of_no_key_does_not_serve_one_and_the_other_way_round() -> None:
    """A list that came into use meanwhile; and whoever came in without a name."""
    keyed = Keyed()
    for holder, user in (("", "ann"), ("ann", "")):
        found = keyed.preflight(keyed.world.a, holder, Operation.PAUSE)
        refused = keyed.execute(keyed.world.a, user, found)
        assert isinstance(refused, Refused)
        assert refused.reason is Reason.NOT_ALLOWED


def test_another_key_approves_and_the_first_one_executes() -> None:
    """Two operators mean two keys: whoever asked for it cannot be the second one as well."""
    keyed = Keyed(approvals=2)
    world = keyed.world
    found = keyed.preflight(world.a, "ann", Operation.PAUSE)

    def approve(key: str) -> Message | None:
        message = Approve(PROTOCOL_VERSION, world.config.cluster, found.token, key)
        return keyed.command(world.a, key, message)

    assert isinstance(approve("ann"), Approved)
    alone = keyed.execute(world.a, "ann", found)
    assert isinstance(alone, Refused)
    assert alone.reason is Reason.NOT_CONFIRMED
    assert isinstance(approve("bob"), Approved)
    stolen = keyed.execute(world.a, "bob", found)
    assert isinstance(stolen, Refused)
    assert stolen.reason is Reason.NOT_ALLOWED
    answer = keyed.execute(world.a, "ann", found)
    assert isinstance(answer, Outcome)
    assert (answer.receipt.operator, answer.receipt.approvers) == ("ann", ["bob"])


@pytest.mark.parametrize("name", ["a", "b"])
def test_keys_are_no_operation_that_could_be_asked_for(name: str) -> None:
    """A receipt of it says that a list has changed; nobody may have one written without that."""
    keyed = Keyed()
    world = keyed.world
    node = world.a if name == "a" else world.b
    request = Request(Operation.KEYS, name, detail="forged")
    message = GetPreflight(PROTOCOL_VERSION, world.config.cluster, request)
    answer = keyed.command(node, "ann", message)
    assert isinstance(answer, Refused)
    assert answer.reason is Reason.UNKNOWN_COMMAND
    assert "interlock keys reload" in answer.text
    world.settle(500)
    assert logged(world.leader) == []


# The link -------------------------------------------------------------------------------------


def dials(keyed: Keyed) -> list[str]:
    found: list[str] = []

    def on_effect(node: Node, effect: Effect) -> None:
        if isinstance(effect, Dial):
            found.append(node.name)

    keyed.world.on_effect = on_effect
    return found


def test_a_standby_with_a_new_key_of_its_own_dials_again() -> None:
    """Its connection stands on the old key, which is not allowed for long. The pair goes on."""
    keyed = Keyed()
    world = keyed.world
    found = dials(keyed)
    world.settle(1_000)
    keyed.changed(world.b, "allowed key bob")
    world.settle(1_000)
    assert found == []
    keyed.changed(world.b, "node b has the key SHA256:22 from now on", renewed=True)
    assert world.b.state is NodeState.ORPHANED
    assert "the key of b has changed" in world.b.why
    world.settle()
    assert found == ["b"]
    assert (world.a.state, world.b.state) == (NodeState.GATED, NodeState.IN_SYNC)
    assert reasons(world.a)[-1].endswith("SHA256:22 from now on")
    keyed.hello("K", "p", 1)
    keyed.submit("K", 1, 1)
    world.settle(500)
    assert list(world.confirmed) == [("p", 1)]
    world.assert_identical()


def test_a_primary_with_a_new_key_of_its_own_leads_on() -> None:
    keyed = Keyed()
    world = keyed.world
    epoch = world.primary.reign.epoch
    keyed.changed(world.a, "node a has the key SHA256:22 from now on", renewed=True)
    world.settle()
    assert world.primary.reign.epoch == epoch
    assert world.a.state is NodeState.GATED


def test_a_link_that_is_denied_is_told_and_dialled_again() -> None:
    """The primary has not proven its key: the operator has to hear that, and not of silence."""
    keyed = Keyed()
    world = keyed.world
    found = dials(keyed)
    keyed.take(world.b, LinkDenied("node a does not let key b in"))
    world.turn(world.b)
    assert world.b.state is NodeState.ORPHANED
    assert world.b.why == "node a does not let key b in"
    world.settle()
    assert found == ["b"]
    assert world.b.state is NodeState.IN_SYNC


def test_a_denial_that_comes_late_ends_no_session() -> None:
    """The connection is given up already when it is told: there is nothing to hang up."""
    keyed = Keyed()
    world = keyed.world
    world.cut()
    world.settle(1_500)
    world.secondary.hang_up("test", world.now)
    assert not world.secondary.dialled
    keyed.take(world.b, LinkDenied("late"))
    assert world.b.why == "test"
