"""A node that comes back with a damaged journal, and what its peer may then do.

The FAILED node is a real `FailedCore` over the memory of the node that it was; its journal is what
a repair brings back.
"""

from __future__ import annotations

from typing import Any

import pytest

from interlock.shared.commands import Command, Compared, Outcome, PeerYield, Yielded
from interlock.shared.config import AckLevel
from interlock.shared.desk import Desk
from interlock.shared.effects import Answer, AskPeer, Effect, SaveMemory
from interlock.shared.epochs import Relation
from interlock.shared.events import FromControl
from interlock.shared.failed import FailedCore
from interlock.shared.messages import PROTOCOL_VERSION, Refused
from interlock.shared.operations import Operation, Request, Result, Risk
from interlock.shared.post import PeerView
from interlock.shared.roles import NodeState, Role
from interlock.shared.telemetry import Counters, JournalStatus, NodeStatus, ProcessStatus
from interlock.shared.wire import GENESIS, Position
from support.world import Node, World

WHY = "journal damaged: bad-hash in 7.log at offset 96, where seq 9 was expected"


def fail(world: World, node: Node, reached_seq: int = 0) -> FailedCore:
    """The node dies, and comes back FAILED: it answers on control, and nothing else."""
    node.kill()
    desk = Desk(node.config, node.name, lambda: 7)
    core = FailedCore(node.config, node.name, node.memory, WHY, reached_seq, desk, world.now)

    def on_control(sender: bytes, request: Any) -> None:
        if not isinstance(request, Command):
            error = core.refusal()
            node.net.answered(node, sender, Refused(error.reason, error.text))
            return
        core.handle(FromControl(sender, request), world.now, world.wall)
        for effect in core.end_turn(world.now, world.wall):
            if isinstance(effect, SaveMemory):
                node.memory = effect.memory
            elif isinstance(effect, Answer):
                node.net.answered(node, effect.to, effect.message)

    def turn() -> None:
        while node.inbox:
            kind, item = node.inbox.popleft()
            if kind == "control":
                on_control(*item)

    node.core = core  # type: ignore[assignment]
    node.turn = turn  # type: ignore[method-assign]
    return core


def mend(node: Node) -> None:
    """Its journal is repaired, and it is started again."""
    del node.turn  # type: ignore[method-assign]
    node.core = None
    node.start()


@pytest.mark.parametrize("level", list(AckLevel))
def test_a_failed_primary_gives_way_and_never_leads_again(level: AckLevel) -> None:
    """A, the primary, comes back FAILED. B is promoted, attested, as nobody can say what A did; A
    promises, on its disk. Repaired and started again A is a standby, and follows."""
    world = World(level).start()
    world.hello("p", 1)
    world.submit(1, 1, b"one")
    world.settle(200)
    fail(world, world.a)
    world.cut()
    world.settle(1_500)
    preflight = world.preflight(world.b, Operation.PROMOTE)
    assert preflight.attestation.startswith("a is FAILED or stopped and stays so")
    assert preflight.peer == f"node a is FAILED: {WHY}"
    receipt = world.execute(world.b, preflight)
    assert getattr(receipt, "result", None) is Result.DONE, receipt
    assert world.leader is world.b
    epoch = world.b.memory.promised_epoch
    assert (world.a.memory.role, world.a.memory.promised_epoch) == (Role.SECONDARY, epoch)
    assert world.a.memory.target is None

    mend(world.a)
    world.heal()
    world.settle(2_500)
    assert world.leader is world.b
    assert world.a.state is NodeState.IN_SYNC
    assert [body for _, _, body in world.data(world.b)] == [b"one"]
    world.assert_identical()


def test_a_promotion_does_not_lead_over_what_a_failed_peer_held_a_moment_ago() -> None:
    """B has lost acked bytes, and A, demoted, still holds them: B may be promoted, as what it lacks
    is fetched. Between A's comparison and its surrender A is started again, damaged: it gives way
    with a log that ends at seq 0. Nothing to fetch is not nothing lost."""
    world = World().start()
    world.hello("p", 1)
    for number in range(1, 4):
        world.submit(1, number, b"%d" % number)
    for _ in range(3):
        world.turn(world.a)
        world.turn(world.b)
    assert len(world.confirmed) == 3
    world.partition()
    world.b.kill(power_cut=True)
    assert world.b.journal.last_seq < world.a.released_seq
    world.b.start()
    world.settle(1_500)
    assert world.operate(world.a, Operation.DEMOTE).result is Result.DONE
    world.control_up = True
    preflight = world.preflight(world.b, Operation.PROMOTE)
    assert preflight.passed
    assert not preflight.attestation

    def on_effect(node: Node, effect: Effect) -> None:
        asks = isinstance(effect, AskPeer) and isinstance(effect.question, PeerYield)
        if node is world.b and asks:
            fail(world, world.a)

    world.on_effect = on_effect
    receipt = world.execute(world.b, preflight)
    assert getattr(receipt, "result", None) is Result.UNKNOWN
    assert "its log ends at seq 0 now" in getattr(receipt, "text", "")
    assert world.b.state is NodeState.ORPHANED


def test_a_primary_goes_solo_over_a_failed_standby() -> None:
    """B is FAILED: A stalls. Solo is attested, and B promises A's new number, so that, repaired, it
    is no candidate before it has caught up."""
    world = World().start()
    fail(world, world.b)
    world.cut()
    world.settle(1_500)
    preflight = world.preflight(world.a, Operation.SOLO)
    assert preflight.attestation.startswith("b is FAILED or stopped and stays so")
    receipt = world.execute(world.a, preflight)
    assert getattr(receipt, "result", None) is Result.DONE, receipt
    world.settle(100)
    assert world.a.state is NodeState.SOLO
    memory = world.b.memory
    assert (memory.role, memory.target) == (Role.SECONDARY, None)
    assert memory.promised_epoch == world.a.memory.promised_epoch
    mend(world.b)
    assert not world.secondary.is_promotable
    world.heal()
    world.settle(2_500)
    assert world.a.state is NodeState.GATED
    world.assert_identical()


def test_a_reseed_under_solo_ends_when_the_gate_has_engaged() -> None:
    """A leader in solo names no target. That B hears it is not that B has caught up: told so, an
    operator would take the pair for protected."""
    world = World().start()
    world.cut()
    world.settle(1_500)
    assert world.operate(world.a, Operation.SOLO).result is Result.DONE
    world.hello("p", 1)
    for number in range(1, 200):
        world.submit(1, number, b"%d" % number)
        world.turn(world.a)
    states: list[NodeState] = []

    def on_effect(node: Node, effect: Effect) -> None:
        if node is world.b and isinstance(effect, Answer) and isinstance(effect.message, Outcome):
            states.append(node.state)

    world.on_effect = on_effect
    preflight = world.preflight(world.b, Operation.REINSTATE, reseed=True)
    world.heal()
    receipt = world.execute(world.b, preflight)
    assert getattr(receipt, "result", None) is Result.DONE, receipt
    assert states == [NodeState.IN_SYNC]
    world.settle(1_100)
    world.assert_identical()


def test_it_promises_no_number_twice() -> None:
    """B asks for a number that A has used or promised: refused, with what to do."""
    world = World().start()
    core = fail(world, world.a)
    known = world.a.memory.promised_epoch
    cluster = world.config.cluster
    for epoch, promised in ((known, False), (known + 1, True), (known + 1, False)):
        question = PeerYield(PROTOCOL_VERSION, cluster, "b", epoch, True, "a test")
        world.a.inbox.append(("control", (b"operator", question)))
        world.a.turn()
        _, answer = world.answers.pop()
        if promised:
            assert answer == Yielded(epoch, GENESIS)
            assert world.a.memory == core.memory
        else:
            assert isinstance(answer, Refused)
            assert "interlock shutdown a" in answer.text


# Guards of a re-seed ---------------------------------------------------------------------------


def leader(world: World, **changes: Any) -> PeerView:
    """What A says of itself, changed."""
    status: NodeStatus = world.a.status()
    fields = {name: getattr(status, name) for name in status.__struct_fields__}
    last = changes.pop("last", world.a.journal.last_seq)
    epochs = world.primary.reign.log.history.epochs
    compared = Compared(
        NodeStatus(**{**fields, **changes}),
        Relation.BEHIND,
        GENESIS,
        list(epochs),
        Position(last, 1),
        Risk("lost", 0, 0, 0),
    )
    return PeerView("a", compared)


@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({}, ""),
        ({"state": "SOLO"}, ""),
        ({"state": "RESUMING"}, ""),
        ({"role": "secondary", "state": "ORPHANED"}, "the other node leads"),
        ({"state": "FENCED"}, "the other node leads"),
        ({"state": "DIVERGED"}, "the other node leads"),
        ({"last": 0}, "the leader holds all that was released"),
        ({"state": "RESUMING", "doubt": "power cut"}, "the leader holds all that was released"),
    ],
)
def test_a_reseed_needs_a_leader_that_lacks_nothing(changes: dict[str, Any], failing: str) -> None:
    """Its own journal is given up: what the leader lacks is lost, unless an operator accepts it."""
    world = World().start()
    core = fail(world, world.b)
    request = Request(Operation.REINSTATE, "b", reseed=True)
    found = core.assess(request, leader(world, **changes))
    assert [guard.name for guard in found.guards if not guard.passed] == [failing] * bool(failing)
    accepting = Request(Operation.REINSTATE, "b", reseed=True, accept_loss=True)
    again = core.assess(accepting, leader(world, **changes))
    leads = failing != "the other node leads"
    assert all(guard.passed for guard in again.guards) is leads


def test_a_failed_primary_is_not_reseeded_from_the_one_it_replaced() -> None:
    """B was promoted and has released alone; it is damaged, and A still leads in a lower epoch."""
    world = World().start()
    view = leader(world)
    world.a.kill()
    world.settle(1_500)
    assert world.operate(world.b, Operation.PROMOTE, solo=True).result is Result.DONE
    world.settle(100)
    assert world.b.memory.role is Role.PRIMARY
    core = fail(world, world.b)
    found = core.assess(Request(Operation.REINSTATE, "b", reseed=True), view)
    (guard,) = (one for one in found.guards if not one.passed)
    assert guard.name == "the leader holds all that was released"
    assert "a knows epoch 1, this node has used or asked 2" in guard.observed


def test_it_says_what_it_is_and_no_more() -> None:
    world = World().start()
    core = fail(world, world.b, reached_seq=8)
    process = ProcessStatus(0, 1, "0", JournalStatus("dir"), Counters(), [], "production", 1)
    status = core.status(process, world.now, world.wall)
    assert (status.state, status.role, status.why) == ("FAILED", "secondary", WHY)
    assert status.watermarks.written_seq == 0
    assert not status.promotable
    assert core.desk.compare_question().last == GENESIS
