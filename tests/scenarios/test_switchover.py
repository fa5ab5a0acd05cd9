"""Planned changes of the leader: switchover, demote, shutdown; and what can go wrong in between."""

from __future__ import annotations

import pytest

from interlock.shared.commands import Execute, GetPreflight, PreflightReport
from interlock.shared.config import AckLevel
from interlock.shared.effects import Answer, AskPeer, Effect, SaveMemory, SendLink
from interlock.shared.errors import Reason
from interlock.shared.messages import PROTOCOL_VERSION, Confirmed, LinkAck, ProducerWelcome, Refused
from interlock.shared.operations import Operation, Receipt, Request, Result
from interlock.shared.roles import NodeState, Role
from interlock.shared.wire import Kind
from support.world import MS, Killed, Node, World, submission


def bodies(world: World) -> list[bytes]:
    return [body for _, _, body in world.data()]


@pytest.mark.parametrize("level", list(AckLevel))
def test_to_and_fro_under_load_nothing_is_lost_doubled_or_forked(level: AckLevel) -> None:
    """A hundred switchovers; between any two a message is submitted to whoever leads."""
    world = World(level).start()
    for number in range(1, 101):
        leader = world.leader
        world.hello("p", number, node=leader)
        world.submit(number, number, b"%d" % number, node=leader)
        receipt = world.operate(leader, Operation.SWITCHOVER)
        assert receipt.result is Result.DONE, receipt.text
        assert all(check.passed for check in receipt.checks), receipt.checks
        world.settle(150)
        assert world.leader is not leader
    world.settle(300)
    assert len(world.confirmed) == 100
    assert bodies(world) == [b"%d" % number for number in range(1, 101)]
    numbers = [each.number for each in world.a.journal.state.history.epochs]
    assert numbers == sorted(set(numbers))
    world.assert_identical()
    assert len(world.a.journal.state.operations) == 64, "each receipt is a record of the log"


def test_producers_are_redirected_and_held_until_the_new_leader_is_ready() -> None:
    """What was submitted and not confirmed before the change is submitted again, and gets the seq
    that it has; the hello that comes too early is answered when the epoch is open."""
    world = World().start()
    world.hello("p", 1)
    world.submit(1, 1, b"one")
    world.settle(100)
    before = len(world.replies)
    assert world.operate(world.a, Operation.SWITCHOVER).result is Result.DONE
    redirected = [m for _, m in world.replies[before:] if isinstance(m, Refused)]
    assert [(m.reason, m.leader) for m in redirected] == [
        (Reason.NOT_PRIMARY, [world.config.node("b").intake])
    ]
    answer = world.hello("p", 1, resume=True, node=world.b)
    assert isinstance(answer, ProducerWelcome)
    assert answer.accepted_producer_seq == 1
    before = len(world.replies)
    world.submit(1, 1, b"one", node=world.b)
    world.settle(100)
    confirmed = [m for _, m in world.replies[before:] if isinstance(m, Confirmed)]
    assert confirmed[0].runs[0].seq == world.confirmed[("p", 1)]
    assert bodies(world) == [b"one"]


def test_a_preflight_that_meets_a_change_of_roles_is_answered() -> None:
    """It is asked in the old role, and the peer's answer comes in the new one: at any moment of a
    switchover, on either node, the operator hears how things stand now."""
    world = World().start()
    preflight = world.preflight(world.a, Operation.SWITCHOVER)
    asked: list[bytes] = []

    def on_effect(node: Node, effect: Effect) -> None:
        if isinstance(effect, Answer | AskPeer):
            return  # of the questions themselves
        sender = b"op-%s-%d" % (node.name.encode(), len(asked))
        asked.append(sender)
        request = Request(Operation.SHUTDOWN, node.name)
        question = GetPreflight(PROTOCOL_VERSION, world.config.cluster, request)
        node.inbox.append(("control", (sender, question)))

    execute = Execute(
        PROTOCOL_VERSION, world.config.cluster, preflight.token, "ann", "a test", "a", ""
    )
    world.a.inbox.append(("control", (b"op", execute)))
    world.on_effect = on_effect
    for _ in range(40):
        world.now += MS
        world.turn(world.a)
        world.turn(world.b)
    world.on_effect = lambda node, effect: None
    world.settle(1_500)
    assert world.leader is world.b
    answered = {to for to, message in world.answers if isinstance(message, PreflightReport)}
    assert [sender for sender in asked if sender not in answered] == []


def crash_in_switchover(level: AckLevel, kill: str, at: int, *, restart_first: str) -> World | None:
    world = World(level).start()
    world.hello("p", 1)
    world.submit(1, 1, b"one")
    preflight = world.preflight(world.a, Operation.SWITCHOVER)
    came = world.kill_at(kill, at)
    world.execute(world.a, preflight, ms=400)
    world.settle(1_500)
    world.on_effect = lambda node, effect: None
    if not came():
        return None
    order = world.nodes if restart_first == "a" else (world.b, world.a)
    for node in order:
        if node.core is None:
            node.start()
            world.settle(500)
    world.settle(8_000)
    return world


@pytest.mark.parametrize("level", list(AckLevel))
@pytest.mark.parametrize("kill", ["a", "b"])
def test_killed_at_any_step_of_a_switchover_one_node_leads(level: AckLevel, kill: str) -> None:
    """The table of crash points: either node dies before each of its effects, and comes back. There
    is one leader in the end, the other follows it, and nothing is lost: without an operator."""
    at = 1
    while world := crash_in_switchover(level, kill, at, restart_first="a"):
        states = sorted(node.state.value for node in world.nodes)
        assert states == ["GATED", "IN_SYNC"], f"effect {at}: {[n.why for n in world.nodes]}"
        leader = world.leader
        world.hello("q", 2, node=leader)
        world.submit(2, 1, b"two", node=leader)
        world.settle(300)
        assert ("q", 1) in world.confirmed, f"effect {at}"
        if ("p", 1) in world.confirmed:
            assert b"one" in bodies(world), f"effect {at}"
        world.assert_identical()
        at += 1
    assert at > 10, "too few effects to show anything"


def test_the_last_ack_is_lost_and_the_pair_settles_to_one_leader() -> None:
    """B has the closing record and leads; its ack never arrives. A may not go on, and must not wait
    for ever: it asks B on control, and follows."""
    world = World().start()
    preflight = world.preflight(world.a, Operation.SWITCHOVER)

    def on_effect(node: Node, effect: Effect) -> None:
        acks = isinstance(effect, SendLink) and isinstance(effect.message, LinkAck)
        if node is world.b and acks and node.journal.state.closed is not None:
            world.cut()

    world.on_effect = on_effect
    world.execute(world.a, preflight, ms=1)
    world.on_effect = lambda node, effect: None
    assert world.a.state is NodeState.DRAINING
    world.settle(2_000)
    assert world.b.memory.role is Role.PRIMARY
    world.link_up = True
    world.settle(5_000)
    assert world.leader is world.b
    assert world.a.state is NodeState.IN_SYNC
    world.assert_identical()


def test_a_standby_that_is_lost_while_draining_ends_the_switchover_as_refused() -> None:
    """Nothing was closed yet: the primary goes on, and says that nothing was changed."""
    world = World().start()
    world.hello("p", 1)
    preflight = world.preflight(world.a, Operation.SWITCHOVER)
    world.cut()
    world.submit(1, 1, b"one")
    world.turn(world.a)
    receipt = world.execute(world.a, preflight)
    assert isinstance(receipt, Receipt)
    assert receipt.result is Result.REFUSED
    assert "nothing was changed" in receipt.text
    world.link_up = True
    world.settle()
    assert world.a.state is NodeState.GATED
    assert list(world.confirmed) == [("p", 1)]


def test_demote_closes_cleanly_and_promotion_asks_the_other_node() -> None:
    """After a clean close the successor holds everything by proof, so nobody has to attest anything
    while the one that closed answers. Silent, it may have been put in solo since."""
    world = World().start()
    assert world.operate(world.a, Operation.DEMOTE).result is Result.DONE
    world.settle(500)
    assert {node.state for node in world.nodes} == {NodeState.ORPHANED}
    assert not world.preflight(world.b, Operation.PROMOTE).attestation
    world.a.kill()
    assert "not in solo" in world.preflight(world.b, Operation.PROMOTE).attestation
    receipt = world.operate(world.b, Operation.PROMOTE)
    assert receipt.result is Result.DONE, receipt.text
    world.a.start()
    world.settle()
    assert world.leader is world.b
    assert world.a.state is NodeState.IN_SYNC
    world.assert_identical()


def closed_for_b_and_led_on_alone(operation: Operation) -> World:
    """A closes its epoch for B, which holds the closing record; both die before anything follows
    from it. A comes back alone, and goes on in solo: truly attested. Then A dies and B comes."""
    world = World().start()
    preflight = world.preflight(world.a, operation)

    def on_effect(node: Node, effect: Effect) -> None:
        acks = isinstance(effect, SendLink) and isinstance(effect.message, LinkAck)
        if node is world.b and acks and node.journal.state.closed is not None:
            raise Killed

    world.on_effect = on_effect
    world.execute(world.a, preflight, ms=100)
    world.on_effect = lambda node, effect: None
    assert world.b.core is None
    world.a.kill()
    world.a.start()
    world.settle(1_500)
    assert world.operate(world.a, Operation.SOLO).result is Result.DONE
    world.hello("p", 1, node=world.a)
    world.submit(1, 1, b"released alone", node=world.a)
    world.settle(200)
    assert ("p", 1) in world.confirmed
    world.a.kill()
    world.b.start()
    world.settle(3_000)
    return world


@pytest.mark.parametrize("operation", [Operation.DEMOTE, Operation.SWITCHOVER])
def test_an_epoch_closed_for_a_node_does_not_vouch_for_what_came_after(
    operation: Operation,
) -> None:
    """B must not lead over what A released alone: not by itself, and not without an attestation
    that would be false. (Simulator, seed 42: B opened the number of A's solo once more.)"""
    world = closed_for_b_and_led_on_alone(operation)
    assert world.b.state is NodeState.ORPHANED
    assert world.b.memory.role is Role.SECONDARY
    assert "not in solo" in world.preflight(world.b, Operation.PROMOTE).attestation
    world.a.start()
    world.settle(3_000)
    assert world.leader is world.a
    assert bodies(world) == [b"released alone"]
    world.assert_identical()


@pytest.mark.parametrize("twice", [False, True])
def test_a_successor_that_was_restarted_asks_and_then_takes_the_lead(twice: bool) -> None:
    """B dies with the closing record before it leads, and once more after A has given way to it.
    Nobody has to be woken up for that."""
    world = World().start()
    preflight = world.preflight(world.a, Operation.SWITCHOVER)

    def on_effect(node: Node, effect: Effect) -> None:
        leads = isinstance(effect, SaveMemory) and effect.memory.role is Role.PRIMARY
        if node is world.b and leads and node.journal.state.closed is not None:
            raise Killed

    world.on_effect = on_effect
    world.execute(world.a, preflight, ms=100)
    assert world.b.core is None
    if twice:
        world.b.start()
        world.settle(3_000)
        assert world.b.core is None
        assert world.a.memory.promised_epoch == 2
    world.on_effect = lambda node, effect: None
    world.settle(1_500)
    assert world.a.state is NodeState.ORPHANED or not twice
    world.b.start()
    world.settle(5_000)
    assert world.leader is world.b
    assert world.a.state is NodeState.IN_SYNC
    world.assert_identical()


def test_shutdown_drains_first_and_the_restart_goes_on() -> None:
    world = World().start()
    world.hello("p", 1)
    world.submit(1, 1, b"one")
    receipt = world.operate(world.a, Operation.SHUTDOWN)
    assert receipt.result is Result.DONE, receipt.text
    assert world.a.core is None
    assert ("p", 1) in world.confirmed
    world.a.start()
    world.settle()
    assert world.leader is world.a
    world.assert_identical()
    assert receipt.id in world.a.journal.state.operations, "logged after the restart"


def test_pause_is_a_record_and_outlives_restarts_and_switchovers() -> None:
    world = World().start()
    assert world.operate(world.a, Operation.PAUSE).result is Result.DONE
    world.hello("p", 1)
    world.submit(1, 1, b"one")
    world.settle(200)
    refused = world.replies[-1][1]
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.BUSY
    assert "paused by ann" in refused.text
    assert world.operate(world.a, Operation.SWITCHOVER).result is Result.DONE
    world.hello("p", 2, node=world.b)
    world.submit(2, 1, b"one", node=world.b)
    world.settle(200)
    assert not world.confirmed
    assert world.operate(world.b, Operation.RESUME).result is Result.DONE
    world.submit(2, 1, b"one", node=world.b)
    world.settle(200)
    assert list(world.confirmed) == [("p", 1)]


def test_an_operation_in_the_turn_of_a_submission_is_written_behind_it() -> None:
    """Both come in one turn: the operation's record is sequenced after the submission's, and must
    not be written before it."""
    world = World().start()
    world.hello("p", 1)
    preflight = world.preflight(world.a, Operation.PAUSE)
    execute = Execute(
        PROTOCOL_VERSION, world.config.cluster, preflight.token, "ann", "a test", "a", ""
    )
    world.a.inbox.append(("control", (b"op", execute)))
    world.turn(world.a)  # asks the peer
    world.turn(world.b)  # whose answer arrives with the submission
    world.a.inbox.appendleft(("intake", (b"1", submission(1, 1, b"one"))))
    world.deliver()
    world.settle(300)
    assert list(world.confirmed) == [("p", 1)]
    assert world.a.journal.state.paused
    world.assert_identical()
    world.a.journal.reopen()  # reads it again, record by record


def test_a_handover_that_was_undone_by_a_promise_is_not_taken_up_later() -> None:
    """A hands over to B, dies before B has the closing record, resumes with B's promise and leads
    on. B then loses the end of its log with the power: what is left ends with the closing record
    that names it. It has promised a later number, and must not take the lead."""
    world = World().start()
    preflight = world.preflight(world.a, Operation.SWITCHOVER)

    def on_effect(node: Node, effect: Effect) -> None:
        if node is world.a and isinstance(effect, SendLink) and node.journal.state.closed:
            raise Killed

    world.on_effect = on_effect
    world.execute(world.a, preflight, ms=100)
    world.on_effect = lambda node, effect: None
    assert world.a.core is None
    world.a.start()
    world.settle(3_000)
    assert world.leader is world.a
    records = world.b.journal.records
    closing = next(n for n, each in enumerate(records) if each.kind is Kind.EPOCH_CLOSED)
    world.b.kill(power_cut=True)
    world.b.journal.keep(closing + 1)
    world.partition()
    world.b.start()
    world.settle(1_500)
    assert world.b.journal.state.closed is not None
    assert world.b.memory.role is Role.SECONDARY
    assert not world.b.status().promotable
    world.heal()
    world.settle(3_000)
    assert world.leader is world.a
    world.assert_identical()
