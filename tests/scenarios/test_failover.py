"""The primary is lost, cut off, frozen or comes back: promote, solo, gate and reinstate, and each
history of the design that broke an earlier draft."""

from __future__ import annotations

import msgspec
import pytest

from interlock.primary.core import PrimaryCore
from interlock.shared.commands import PeerYield, Yielded
from interlock.shared.config import AckLevel
from interlock.shared.epochs import Mode
from interlock.shared.errors import Reason
from interlock.shared.messages import PROTOCOL_VERSION, Refused
from interlock.shared.operations import Operation, Receipt, Result
from interlock.shared.roles import NodeState, Role
from interlock.shared.state import NodeMemory
from support.world import MS, Node, World


def bodies(world: World, node: Node | None = None) -> list[bytes]:
    return [body for _, _, body in world.data(node)]


def serve(world: World, session: int, number: int, body: bytes) -> None:
    """A producer finds the leader and submits one message."""
    world.hello(f"p{session}", session, node=world.leader)
    world.submit(session, number, body, node=world.leader)
    world.settle(150)


def promote_alone(world: World, node: Node, **arguments: bool) -> Receipt:
    """Promotes `node`, releasing alone, whatever the other one is."""
    receipt = world.operate(node, Operation.PROMOTE, solo=True, **arguments)
    world.settle(100)
    return receipt


def failing(world: World, node: Node, operation: Operation, **arguments: bool) -> list[str]:
    """The names of the guards that fail."""
    preflight = world.preflight(node, operation, **arguments)
    assert bool(preflight.token) is preflight.passed
    return [guard.name for guard in preflight.guards if not guard.passed]


@pytest.mark.parametrize("level", list(AckLevel))
def test_killed_under_load_promoted_and_the_old_primary_reinstated(level: AckLevel) -> None:
    """A dies with a tail that B never got. B serves alone; A comes back, is fenced, reinstated, its
    tail quarantined byte for byte, and the gate engages by itself."""
    world = World(level).start()
    serve(world, 1, 1, b"one")
    world.cut()
    world.submit(1, 2, b"lost on the way")
    world.turn(world.a)
    tail = bytes(world.a.journal.records[-1].raw)
    world.a.kill()
    world.settle(1_500)
    assert world.b.state is NodeState.ORPHANED
    preflight = world.preflight(world.b, Operation.PROMOTE, solo=True)
    assert "a is stopped" in preflight.attestation
    receipt = world.execute(world.b, preflight)
    assert isinstance(receipt, Receipt)
    assert receipt.result is Result.DONE, receipt.text
    assert receipt.attestation
    serve(world, 2, 1, b"two")
    assert ("p2", 1) in world.confirmed
    assert ("p1", 2) not in world.confirmed
    status = world.b.status()
    assert status.unprotected is not None
    assert status.unprotected.messages >= 1

    world.link_up = True
    world.a.start()
    world.settle(2_000)
    assert world.a.state is NodeState.FENCED
    assert world.leader is world.b
    preflight = world.preflight(world.a, Operation.REINSTATE)
    assert preflight.passed
    assert [(risk.what, risk.messages) for risk in preflight.risks] == [("quarantined", 1)]
    assert preflight.risks[0].producers == {"p1": 1}
    receipt = world.execute(world.a, preflight)
    assert isinstance(receipt, Receipt)
    assert receipt.result is Result.DONE, receipt.text
    assert world.a.quarantine == [tail]
    world.settle(1_000)
    assert (world.b.state, world.a.state) == (NodeState.GATED, NodeState.IN_SYNC)
    serve(world, 3, 1, b"three")
    assert bodies(world) == [b"one", b"two", b"three"]
    world.assert_identical()
    assert receipt.id in world.b.journal.state.operations, "the standby's receipt is in the log"


def test_partition_both_alive_the_old_primary_releases_nothing_more() -> None:
    """The attestation that A is stopped is false: it lives, cut off and gated. B serves alone; A
    can release nothing, whatever is submitted to it, and fences itself when it sees B."""
    world = World().start()
    serve(world, 1, 1, b"one")
    world.partition()
    world.settle(1_500)
    assert world.a.state is NodeState.STALLED
    promote_alone(world, world.b)
    before = world.a.released_seq
    world.submit(1, 2, b"into the void", node=world.a)
    world.settle(3_000)
    assert world.a.released_seq == before
    serve(world, 2, 1, b"two")
    world.heal()
    world.settle(2_000)
    assert world.a.state is NodeState.FENCED
    assert world.a.released_seq == before
    assert world.operate(world.a, Operation.REINSTATE).result is Result.DONE
    world.settle(1_000)
    assert bodies(world) == [b"one", b"two"]
    world.assert_identical()


def test_the_link_is_cut_and_control_is_not_the_old_primary_surrenders_first() -> None:
    """Rule 4: A answers on control, so nothing is attested: A stops, durably, before B leads. What
    A has and B lacks (a tick that was not released) is fetched, so nothing has to be cut later."""
    world = World().start()
    serve(world, 1, 1, b"one")
    world.cut()
    world.settle(1_500)
    preflight = world.preflight(world.b, Operation.PROMOTE, solo=True)
    assert not preflight.attestation
    receipt = world.execute(world.b, preflight)
    assert isinstance(receipt, Receipt)
    assert receipt.result is Result.DONE, receipt.text
    assert world.a.memory.role is Role.SECONDARY
    assert receipt.checks[0].observed.startswith("a gave way")
    serve(world, 2, 1, b"two")
    world.heal()
    world.settle(2_000)
    assert (world.b.state, world.a.state) == (NodeState.GATED, NodeState.IN_SYNC)
    world.assert_identical()


def test_a_primary_that_has_not_noticed_yet_gives_way() -> None:
    """B's link has broken and A does not know it yet: A is still GATED when it is asked to give
    way. (Simulator, seed 39: it stopped with an error instead.)"""
    world = World().start()
    serve(world, 1, 1, b"one")
    world.cut()
    world.b.kill()
    world.b.start()
    world.turn(world.b)
    assert (world.a.state, world.b.state) == (NodeState.GATED, NodeState.ORPHANED)
    preflight = world.preflight(world.b, Operation.PROMOTE)
    assert world.a.state is NodeState.GATED
    receipt = world.execute(world.b, preflight)
    assert isinstance(receipt, Receipt)
    assert receipt.result is Result.DONE, receipt.text
    assert world.a.memory.role is Role.SECONDARY
    world.heal()
    world.settle(2_000)
    assert world.leader is world.b
    world.assert_identical()


def test_a_frozen_primary_wakes_up_and_releases_nothing() -> None:
    """A is stopped for ten minutes in mid-flight with acks in its socket; B is promoted; A goes on
    as if nothing had happened."""
    world = World().start()
    serve(world, 1, 1, b"one")
    world.submit(1, 2, b"two")
    world.turn(world.a)
    world.turn(world.b)  # its ack is in A's socket
    frozen, world.a.core = world.a.core, None
    kept = list(world.a.inbox)
    world.settle(2_000)
    promote_alone(world, world.b)
    serve(world, 2, 1, b"three")
    world.a.core = frozen
    world.a.inbox.extend(kept)
    world.now += 600_000 * MS
    held = {record.last_seq: record.hash for record in world.b.journal.records}
    world.turn(world.a)
    world.settle(3_000)
    assert world.a.state is NodeState.FENCED
    released = world.a.released_seq
    assert all(
        held[record.last_seq] == record.hash
        for record in world.a.journal.records
        if record.last_seq <= released
    )
    assert world.operate(world.a, Operation.REINSTATE).result is Result.DONE
    world.settle(1_000)
    assert bodies(world) == [b"one", b"two", b"three"]
    world.assert_identical()


def test_standby_lost_solo_and_the_gate_engages_when_it_is_back() -> None:
    """B dies; the operator attests and A releases alone, loudly; B comes back, catches up, and the
    gate engages without anybody asking. Never the other way."""
    world = World().start()
    world.b.kill()
    world.settle(1_500)
    preflight = world.preflight(world.a, Operation.SOLO)
    assert "b is stopped" in preflight.attestation
    receipt = world.execute(world.a, preflight)
    assert isinstance(receipt, Receipt)
    assert receipt.result is Result.DONE, receipt.text
    serve(world, 1, 1, b"alone")
    assert ("p1", 1) in world.confirmed
    status = world.a.status()
    assert status.state == "SOLO"
    assert status.unprotected is not None
    world.b.start()
    world.settle(1_500)
    assert (world.a.state, world.b.state) == (NodeState.GATED, NodeState.IN_SYNC)
    modes = [each.mode for each in world.a.journal.state.history.epochs]
    assert modes == [Mode.GATED, Mode.SOLO, Mode.GATED]
    serve(world, 2, 1, b"together")
    world.assert_identical()


def test_solo_for_a_time_stalls_after_it() -> None:
    """Time-boxed: it ends by becoming safer, not by going on."""
    world = World().start()
    world.b.kill()
    world.settle(1_500)
    assert world.operate(world.a, Operation.SOLO, for_ms=60_000).result is Result.DONE
    serve(world, 1, 1, b"in time")
    world.settle(61_000)
    assert world.a.state is NodeState.STALLED
    released = world.a.released_seq
    world.submit(1, 2, b"too late")
    world.settle(1_000)
    assert world.a.released_seq == released
    world.b.start()
    world.settle(2_000)
    assert world.a.state is NodeState.GATED
    assert ("p1", 2) in world.confirmed


def test_gate_by_an_operator_stops_releases_until_the_standby_is_back() -> None:
    world = World().start()
    world.b.kill()
    world.settle(1_500)
    world.operate(world.a, Operation.SOLO)
    world.settle(100)
    assert world.operate(world.a, Operation.GATE).result is Result.DONE
    assert world.a.state is NodeState.STALLED
    released = world.a.released_seq
    serve(world, 1, 1, b"waits")
    assert world.a.released_seq == released
    world.b.start()
    world.settle(2_000)
    assert ("p1", 1) in world.confirmed
    world.assert_identical()


def test_an_outdated_standby_is_refused_then_forced_and_the_loss_is_told() -> None:
    """History 1 of the design: A solo releases, stops; B comes back and is to be promoted. B lacks
    what A released: refused, with the reason. Forced with accept-loss, and A, when it is back, is
    DIVERGED until somebody accepts what is listed."""
    world = World().start()
    serve(world, 1, 1, b"one")
    world.b.kill()
    world.settle(1_500)
    world.operate(world.a, Operation.SOLO)
    serve(world, 2, 1, b"released alone")
    assert ("p2", 1) in world.confirmed
    world.partition()
    world.b.start()
    world.settle(1_500)
    # B was down when A went solo: it cannot know, and its target is held. The attestation is what
    # stands between; with A answering it is refused by itself.
    world.control_up = True
    assert "holds all that was released" not in failing(world, world.b, Operation.PROMOTE), (
        "A answers and can be fetched from"
    )
    receipt = world.operate(world.b, Operation.PROMOTE, solo=True)
    assert receipt.result is Result.DONE, receipt.text
    assert b"released alone" in bodies(world, world.b), "fetched before it leads"
    world.heal()
    world.settle(2_000)
    world.assert_identical()


def test_marked_outdated_it_cannot_be_promoted_without_the_other() -> None:
    """A goes solo while B answers on control: B is outdated, durably, before A releases."""
    world = World().start()
    world.cut()
    world.settle(1_500)
    receipt = world.operate(world.a, Operation.SOLO)
    assert receipt.result is Result.DONE, receipt.text
    serve(world, 1, 1, b"released alone")
    world.a.kill()
    world.b.kill()
    world.b.start()
    world.settle(1_500)
    assert failing(world, world.b, Operation.PROMOTE) == ["holds all that was released"]
    preflight = world.preflight(world.b, Operation.PROMOTE, solo=True, accept_loss=True)
    assert preflight.attestation
    assert preflight.risks[0].what == "lost"
    world.forked = True
    receipt2 = world.execute(world.b, preflight)
    assert isinstance(receipt2, Receipt)
    assert receipt2.result is Result.DONE, receipt2.text
    world.heal()
    world.a.start()
    world.settle(2_000)
    assert world.a.state is NodeState.DIVERGED
    divergence = world.a.status().divergence
    assert divergence is not None
    assert any("solo" in line for line in divergence.ours)
    assert any("led by b" in line for line in divergence.theirs)
    assert failing(world, world.a, Operation.REINSTATE) == ["nothing released is cut"]
    preflight = world.preflight(world.a, Operation.REINSTATE, accept_loss=True)
    assert [(risk.what, risk.producers) for risk in preflight.risks] == [("lost", {"p1": 1})]
    assert isinstance(world.execute(world.a, preflight), Receipt)
    world.settle(2_000)
    assert (world.b.state, world.a.state) == (NodeState.GATED, NodeState.IN_SYNC)
    assert world.a.journal.bytes() == world.b.journal.bytes()


def test_in_sync_with_an_old_opening_is_not_in_sync() -> None:
    """History 2: A solo in epoch 2, restarts, meets B, opens gated epoch 3. B is still reading
    history when the link breaks: it has passed an old gated opening, and lacks what A released."""
    world = World().start()
    world.b.kill()
    world.settle(1_500)
    world.operate(world.a, Operation.SOLO)
    for number in range(1, 40):
        world.hello("p1", 1)
        world.submit(1, number, b"x" * 60_000)
        world.settle(50)
    world.a.kill()
    world.a.start()
    world.b.start()
    while world.b.memory.target is None or world.b.journal.last_seq < 4:
        world.now += 10 * MS
        world.turn(world.b)
        world.turn(world.a)
    assert world.b.journal.last_seq < world.a.journal.last_seq, "caught up: the test shows nothing"
    world.partition()
    world.a.kill()
    world.settle(1_500)
    assert failing(world, world.b, Operation.PROMOTE) == ["holds all that was released"]


def test_a_promise_withdraws_what_was_promotable() -> None:
    """History 3: A resumes, B promises epoch N but never receives its opening. A had released solo
    records that B lacks."""
    world = World().start()
    world.a.kill()
    world.a.start()
    while world.b.memory.promised_epoch < 2:
        world.now += 10 * MS
        world.turn(world.b)
        world.turn(world.a)
    world.partition()
    world.a.kill()
    world.settle(1_500)
    assert failing(world, world.b, Operation.PROMOTE) == ["holds all that was released"]


def test_a_standby_that_lost_acked_bytes_is_no_candidate() -> None:
    """History 4: B acks at `written`, loses power, restarts shorter. A, demoted and alive, still
    holds the record. B may not be promoted from what it has; with A answering it is fetched."""
    world = World().start()
    world.hello("p", 1)
    for number in range(1, 4):
        world.submit(1, number, b"%d" % number)
    for _ in range(3):
        world.turn(world.a)
        world.turn(world.b)
    assert len(world.confirmed) == 3
    released = world.a.released_seq
    world.partition()
    world.b.kill(power_cut=True)
    assert world.b.journal.last_seq < released, "nothing was lost: the test shows nothing"
    world.b.start()
    world.settle(1_500)
    assert failing(world, world.b, Operation.PROMOTE) == ["holds all that was released"]
    assert world.operate(world.a, Operation.DEMOTE).result is Result.DONE
    world.control_up = True
    receipt = world.operate(world.b, Operation.PROMOTE)
    assert receipt.result is Result.DONE, receipt.text
    assert bodies(world, world.b) == [b"1", b"2", b"3"]
    world.heal()
    world.settle(2_000)
    assert world.leader is world.b
    world.assert_identical()


def test_solo_releases_only_what_survives_a_power_cut() -> None:
    """History 5: a promoted node in solo, at level `written`, releases, loses power, and restarts
    without its tail: one seq with two values. Rule 6: in solo release needs the disk."""
    world = World(AckLevel.WRITTEN).start()
    world.a.kill()
    world.settle(1_500)
    promote_alone(world, world.b)
    world.b.slow_disk = True
    world.hello("p", 1, node=world.b)
    world.submit(1, 1, b"one", node=world.b)
    world.settle(500)
    assert not world.confirmed
    world.b.journal.sync()
    world.settle(100)
    assert list(world.confirmed) == [("p", 1)]
    released = world.b.released_seq
    world.b.kill(power_cut=True)
    assert world.b.journal.last_seq >= released


def test_double_failover_with_short_epochs() -> None:
    """KIP-279: A leads, B leads for one record, A leads again, each time with a lost tail. Offsets
    and epoch numbers alone would not show which records differ."""
    world = World().start()
    serve(world, 1, 1, b"one")
    world.cut()
    world.submit(1, 2, b"tail of a")
    world.turn(world.a)
    world.a.kill()
    world.settle(1_500)
    promote_alone(world, world.b)
    world.link_up = True
    world.a.start()
    world.settle(1_500)
    assert world.operate(world.a, Operation.REINSTATE).result is Result.DONE
    world.settle(1_000)
    assert world.a.state is NodeState.IN_SYNC
    world.cut()
    world.hello("p3", 3, node=world.b)
    world.submit(3, 1, b"tail of b", node=world.b)
    world.turn(world.b)
    world.b.kill()
    world.settle(1_500)
    promote_alone(world, world.a)
    serve(world, 4, 1, b"two")
    world.link_up = True
    world.b.start()
    world.settle(1_500)
    assert world.b.state is NodeState.FENCED
    assert world.operate(world.b, Operation.REINSTATE).result is Result.DONE
    world.settle(1_000)
    assert bodies(world) == [b"one", b"two"]
    world.assert_identical()


def test_two_consoles_promote_at_the_same_time() -> None:
    """Two operators hold a token each; the second finds that the world has moved."""
    world = World().start()
    world.a.kill()
    world.settle(1_500)
    one = world.preflight(world.b, Operation.PROMOTE, solo=True)
    two = world.preflight(world.b, Operation.PROMOTE, solo=True)
    first = world.execute(world.b, one, operator="ann")
    second = world.execute(world.b, two, operator="bob")
    assert isinstance(first, Receipt)
    assert first.result is Result.DONE
    assert isinstance(second, Receipt)
    assert second.result is Result.REFUSED
    assert len([e for e in world.b.journal.state.history.epochs if e.leader == "b"]) == 1


def test_a_token_is_refused_after_the_world_moved_and_after_its_time() -> None:
    world = World().start()
    preflight = world.preflight(world.a, Operation.SWITCHOVER)
    assert world.operate(world.a, Operation.SWITCHOVER).result is Result.DONE
    world.settle(500)
    assert world.operate(world.b, Operation.SWITCHOVER).result is Result.DONE
    world.settle(500)
    moved = world.execute(world.a, preflight)
    assert isinstance(moved, Receipt)
    assert moved.result is Result.REFUSED
    assert "epoch 1" in moved.text
    assert "epoch 3" in moved.text
    late = world.preflight(world.a, Operation.SWITCHOVER)
    world.settle(31_000)
    expired = world.execute(world.a, late)
    assert isinstance(expired, Refused)
    assert expired.reason is Reason.UNKNOWN_TOKEN


def test_four_eyes_are_enforced_by_the_node() -> None:
    world = World(approvals=2).start()
    preflight = world.preflight(world.a, Operation.SWITCHOVER)
    refused = world.execute(world.a, preflight, operator="ann")
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.NOT_CONFIRMED
    world.approve(world.a, preflight.token, "ann")
    assert isinstance(world.execute(world.a, preflight, operator="ann"), Refused)
    world.approve(world.a, preflight.token, "bob")
    receipt = world.execute(world.a, preflight, operator="ann")
    assert isinstance(receipt, Receipt)
    assert receipt.result is Result.DONE
    assert receipt.approvers == ["bob"]


@pytest.mark.parametrize("level", list(AckLevel))
@pytest.mark.parametrize("old", ["dead", "silent", "answers"])
def test_killed_at_any_step_of_a_promotion(level: AckLevel, old: str) -> None:
    """The table of crash points: B dies before each of its effects, and comes back. It leads if and
    only if its opening is in its log; otherwise it is the standby it was, and can be promoted."""
    at = 1
    while True:
        world = World(level).start()
        serve(world, 1, 1, b"one")
        if old == "dead":
            world.a.kill()
        elif old == "silent":
            world.partition()
        else:
            world.cut()
        world.settle(1_500)
        preflight = world.preflight(world.b, Operation.PROMOTE, solo=True)
        came = world.kill_at("b", at)
        world.execute(world.b, preflight, ms=300)
        world.settle(100)
        world.on_effect = lambda node, effect: None
        if not came():
            break
        world.b.start()
        world.settle(1_500)
        newest = world.b.journal.state.history.last
        assert newest is not None
        leads = isinstance(world.b.core, PrimaryCore)
        assert leads is (newest.leader == "b"), f"effect {at}"
        if leads:
            loss = level is AckLevel.RECEIVED  # at which every death of a process is in doubt
            receipt = world.operate(world.b, Operation.SOLO, accept_loss=loss)
        else:
            receipt = world.operate(
                world.b, Operation.PROMOTE, solo=True, accept_loss=level is AckLevel.RECEIVED
            )
        assert receipt.result is Result.DONE, f"effect {at}: {receipt.text}"
        serve(world, 2, 1, b"two")
        assert ("p2", 1) in world.confirmed, f"effect {at}"
        world.heal()
        if world.a.core is None:
            world.a.start()
        world.settle(2_500)
        if world.a.state in (NodeState.FENCED, NodeState.DIVERGED):
            receipt = world.operate(world.a, Operation.REINSTATE, accept_loss=True)
            assert receipt.result is Result.DONE, f"effect {at}: {receipt.text}"
            world.settle(1_500)
        assert bodies(world, world.b) == [b"one", b"two"], f"effect {at}"
        world.assert_identical()
        at += 1
    assert at > 3


def test_a_standby_restored_from_an_old_copy_is_alarmed_and_not_promotable() -> None:
    """B's disk is replaced by a copy of last week: a new incarnation with less than it had acked.
    The primary says so, streams again, and B is no candidate until it has what A holds."""
    world = World().start()
    serve(world, 1, 1, b"one")
    records = len(world.b.journal.records)
    for number in range(2, 40):
        world.submit(1, number, b"x" * 60_000)
        world.settle(100)
    world.b.kill()
    world.b.journal.keep(records)
    world.settle(1_500)
    world.b.start()
    for _ in range(500):
        if any("ALARM" in note for note in world.a.notes):
            break
        world.now += 10 * MS
        world.turn(world.b)
        world.turn(world.a)
    assert any("ALARM" in note for note in world.a.notes)
    world.turn(world.b)
    assert not world.b.status().promotable
    world.settle()
    assert world.b.state is NodeState.IN_SYNC
    world.assert_identical()


def test_the_clock_is_stepped_back_an_hour_and_no_timer_runs_wild() -> None:
    """Wall time carries no decision: leads, tokens and time-outs are by the monotonic clock."""
    world = World().start()
    preflight = world.preflight(world.a, Operation.SWITCHOVER)
    world.wall_offset -= 3_600_000 * MS
    receipt = world.execute(world.a, preflight)
    assert isinstance(receipt, Receipt)
    assert receipt.result is Result.DONE
    serve(world, 1, 1, b"one")
    times = [record.time_ns for record in world.a.journal.records]
    assert times == sorted(times)
    world.assert_identical()


@pytest.mark.parametrize("first", ["a", "b"])
@pytest.mark.parametrize("situation", ["gated", "solo", "promoted", "closed", "fenced"])
def test_both_nodes_restart_in_either_order_from_each_situation(situation: str, first: str) -> None:
    world = World().start()
    serve(world, 1, 1, b"one")
    if situation == "solo":
        world.b.kill()
        world.settle(1_500)
        world.operate(world.a, Operation.SOLO)
        serve(world, 2, 1, b"two")
    elif situation in ("promoted", "fenced"):
        world.a.kill()
        world.settle(1_500)
        promote_alone(world, world.b)
        serve(world, 2, 1, b"two")
        if situation == "fenced":
            world.a.start()
            world.settle(1_500)
            assert world.a.state is NodeState.FENCED
    elif situation == "closed":
        world.operate(world.a, Operation.DEMOTE)
    for node in world.nodes:
        if node.core is not None:
            node.kill()
    order = world.nodes if first == "a" else (world.b, world.a)
    for node in order:
        node.start()
        world.settle(1_200)
    world.settle(2_000)
    if situation == "closed":
        assert world.operate(world.b, Operation.PROMOTE).result is Result.DONE
        world.settle(1_000)
    for node in world.nodes:
        if node.state is NodeState.FENCED:
            other = world.other(node)
            if other.state is NodeState.RESUMING:
                assert world.operate(other, Operation.SOLO).result is Result.DONE
            assert world.operate(node, Operation.REINSTATE).result is Result.DONE
    world.settle(2_500)
    assert sorted(node.state.value for node in world.nodes) == ["GATED", "IN_SYNC"]
    expected = [b"one", b"two"] if situation in ("solo", "promoted", "fenced") else [b"one"]
    assert bodies(world) == expected
    world.assert_identical()


def test_an_empty_node_is_reseeded_from_the_leader() -> None:
    """A's disk was replaced: it is fenced as wiped, B is promoted, A streams everything."""
    world = World().start()
    serve(world, 1, 1, b"one")
    world.a.kill()
    world.a.journal.keep(0)
    world.a.start()
    world.settle(1_500)
    assert world.a.state is NodeState.FENCED
    assert world.operate(world.b, Operation.PROMOTE).result is Result.DONE
    receipt = world.operate(world.a, Operation.REINSTATE, reseed=True)
    assert receipt.result is Result.DONE, receipt.text
    world.settle(1_000)
    assert (world.b.state, world.a.state) == (NodeState.GATED, NodeState.IN_SYNC)
    world.assert_identical()


def test_reseeding_never_throws_away_the_only_copy_of_what_was_released() -> None:
    """A lost power and with it the end of its log, which B holds and which was released. Until the
    link is back and A has fetched it, B may not be reseeded from A. (Simulator, seed 1681.)"""
    world = World().start()
    serve(world, 1, 1, b"one")
    serve(world, 1, 2, b"two")
    world.cut()
    held = len(world.a.journal.records)
    world.a.kill(power_cut=True)
    world.a.journal.keep(held - 1)
    world.a.start()
    world.settle(1_500)
    assert (world.a.state, world.b.state) == (NodeState.RESUMING, NodeState.ORPHANED)
    wrong = ["the other node leads", "nothing released is cut"]
    assert failing(world, world.b, Operation.REINSTATE, reseed=True) == wrong
    assert failing(world, world.b, Operation.REINSTATE, reseed=True, accept_loss=True) == wrong[:1]
    world.heal()
    world.settle(3_000)
    assert (world.a.state, world.b.state) == (NodeState.GATED, NodeState.IN_SYNC)
    assert bodies(world) == [b"one", b"two"]
    world.assert_identical()


def test_an_empty_node_does_not_go_solo_over_a_log_that_it_never_had() -> None:
    """B's disk was replaced, and B was started as a primary by mistake, while A is down with all
    that was released. What is attested of A is true; B knows of nothing. (Simulator, seed 117.)"""
    world = World().start()
    serve(world, 1, 1, b"one")
    world.a.kill()
    world.b.kill()
    world.b.journal.keep(0)
    world.b.memory = NodeMemory(world.config.cluster, "b", Role.PRIMARY)
    world.b.start()
    world.settle(1_500)
    assert world.b.state is NodeState.RESUMING
    assert failing(world, world.b, Operation.SOLO) == ["holds all that was released"]
    assert failing(world, world.b, Operation.SOLO, accept_loss=True) == []
    world.a.start()
    world.settle(3_000)
    assert bodies(world, world.a) == [b"one"]


def test_a_leader_that_was_restarted_can_still_take_the_old_one_in() -> None:
    """B was promoted and restarted: it waits for a standby before it leads again. A, fenced with a
    tail that nobody released, can be reinstated under it, or neither would ever go on."""
    world = World().start()
    serve(world, 1, 1, b"one")
    world.cut()
    world.submit(1, 2, b"lost on the way")
    world.turn(world.a)
    world.a.kill()
    world.settle(1_500)
    assert world.operate(world.b, Operation.PROMOTE).result is Result.DONE
    world.b.kill()
    world.link_up = True
    world.b.start()
    world.a.start()
    world.settle(2_000)
    assert (world.b.state, world.a.state) == (NodeState.RESUMING, NodeState.FENCED)
    receipt = world.operate(world.a, Operation.REINSTATE)
    assert receipt.result is Result.DONE, receipt.text
    assert (world.b.state, world.a.state) == (NodeState.GATED, NodeState.IN_SYNC)
    world.assert_identical()


def test_both_lead_by_false_attestations_and_both_say_diverged() -> None:
    """Partitioned, A goes solo and B is promoted solo: both attestations were false. When they
    meet, neither goes on; the operator chooses, and sees what is lost."""
    world = World().start()
    serve(world, 1, 1, b"one")
    world.partition()
    world.settle(1_500)
    world.operate(world.a, Operation.SOLO)
    serve(world, 2, 1, b"of a")
    world.forked = True
    promote_alone(world, world.b)
    world.hello("p3", 3, node=world.b)
    world.submit(3, 1, b"of b", node=world.b)
    world.settle(200)
    world.heal()
    world.settle(2_000)
    assert (world.a.state, world.b.state) == (NodeState.DIVERGED, NodeState.DIVERGED)
    divergence = world.a.status().divergence
    assert divergence is not None
    assert failing(world, world.a, Operation.REINSTATE) == ["nothing released is cut"]
    receipt = world.operate(world.a, Operation.REINSTATE, accept_loss=True)
    assert receipt.result is Result.DONE, receipt.text
    world.settle(2_000)
    assert (world.b.state, world.a.state) == (NodeState.GATED, NodeState.IN_SYNC)
    assert bodies(world) == [b"one", b"of b"]
    assert b"of a" in world.a.quarantine[0]
    assert world.a.journal.bytes() == world.b.journal.bytes()


def test_a_number_that_was_promised_and_never_opened_does_not_part_the_pair() -> None:
    """A solo of A is given up after B has promised its number: B's answer comes too late. B refuses
    A's lower epoch from then on. (Simulator, seed 41: the pair never worked together again.)"""
    world = World().start()
    serve(world, 1, 1, b"one")
    world.cut()
    world.settle(1_500)
    question = PeerYield(PROTOCOL_VERSION, world.config.cluster, "a", 2, False, "solo by ann")
    answer = world.command(world.b, question)
    assert isinstance(answer, Yielded)
    world.a.memory = msgspec.structs.replace(world.a.memory, promised_epoch=2)
    world.primary.reign.memory = world.a.memory  # it asked for the number, and gave up
    world.heal()
    world.settle(3_000)
    assert (world.a.state, world.b.state) == (NodeState.GATED, NodeState.IN_SYNC)
    serve(world, 1, 2, b"two")
    assert bodies(world) == [b"one", b"two"]
    world.assert_identical()


def test_a_promise_that_is_lost_while_the_gate_engages_is_made_again() -> None:
    """A in solo asks for the gate; B promises, and the link breaks before A hears it."""
    world = World().start()
    world.b.kill()
    world.settle(1_500)
    world.operate(world.a, Operation.SOLO)
    world.b.start()
    while world.b.memory.promised_epoch < 3:
        world.now += 5 * MS
        world.turn(world.b)
        if world.b.memory.promised_epoch < 3:
            world.turn(world.a)
    world.drop_link()
    world.cut()
    world.settle(2_000)
    assert world.a.state is NodeState.SOLO
    world.heal()
    world.settle(3_000)
    assert (world.a.state, world.b.state) == (NodeState.GATED, NodeState.IN_SYNC)
    world.assert_identical()


def test_what_a_solo_released_is_not_forgotten_with_the_process() -> None:
    """A released alone and died; B was promoted by a false attestation. A, started again, does not
    know any more what it released: its solo epoch says that it may have, so nothing of it is cut
    without somebody accepting that."""
    world = World().start()
    world.partition()
    world.settle(1_500)
    world.operate(world.a, Operation.SOLO)
    serve(world, 1, 1, b"released alone")
    assert ("p1", 1) in world.confirmed
    world.a.kill()
    world.forked = True
    assert promote_alone(world, world.b).result is Result.DONE
    world.heal()
    world.a.start()
    world.settle(2_000)
    assert world.a.state is NodeState.DIVERGED
    assert world.a.released_seq == 0
    assert failing(world, world.a, Operation.REINSTATE) == ["nothing released is cut"]
