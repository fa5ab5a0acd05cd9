"""Either node killed at any moment and started again: rules 1 and 7 of the design, P2, P3, P4."""

from __future__ import annotations

import msgspec
import pytest

from interlock.shared.config import AckLevel
from interlock.shared.effects import Effect
from interlock.shared.errors import Reason
from interlock.shared.messages import PROTOCOL_VERSION, Confirmed, ProducerHello, Refused
from interlock.shared.roles import NodeState, Role
from support.world import MS, Killed, Node, World, submission


def bodies(world: World) -> list[bytes]:
    return [body for _, _, body in world.data()]


def release_five(world: World) -> None:
    """Five messages are released, and synced nowhere yet."""
    world.hello("p", 1)
    world.settle(500)
    for number in range(1, 6):
        world.submit(1, number, b"%d" % number)
    for _ in range(3):
        world.turn(world.a)
        world.turn(world.b)


def test_a_restarted_primary_opens_a_new_epoch_before_its_first_release() -> None:
    """Killed and started again: it may not go on in its old epoch, and takes nothing before the
    standby has promised a new number."""
    world = World().start()
    world.hello("p", 1)
    world.submit(1, 1, b"one")
    world.settle(200)
    world.a.kill()
    world.cut()
    world.a.start()
    world.settle(1_000)
    assert world.a.state is NodeState.RESUMING
    answer = world.hello("p", 1, resume=True)
    assert isinstance(answer, Refused)
    assert answer.reason is Reason.BUSY
    assert world.a.released_seq == 0
    world.link_up = True
    world.settle()
    assert world.a.state is NodeState.GATED
    epochs = [(e.number, e.leader) for e in world.primary.reign.log.history.epochs]
    assert epochs == [(1, "a"), (2, "a")]
    world.assert_identical()


def test_a_restarted_primary_keeps_its_tail_until_the_standby_has_it() -> None:
    """MySQL #99370: a restarted primary applied its unacknowledged tail. Here the tail that only
    the primary wrote is released after the standby has acked it, and confirmed to the producer that
    submits it again, with the seq that it got the first time."""
    world = World().start()
    world.hello("p", 1)
    world.cut()
    world.submit(1, 1, b"one")
    world.submit(1, 2, b"two")
    world.turn(world.a)
    tail_seq = world.a.journal.last_seq
    world.a.kill()
    world.a.start()
    world.turn(world.a)
    assert not world.confirmed
    world.link_up = True
    world.settle()
    world.hello("p", 1, resume=True)
    world.submit(1, 1, b"one", b"two", b"three")  # the client coalesced differently this time
    world.settle(200)
    assert bodies(world) == [b"one", b"two", b"three"]
    assert world.confirmed[("p", 2)] == tail_seq
    assert len(world.confirmed) == 3
    world.assert_identical()


def test_a_resubmission_before_the_tail_is_released_is_confirmed_later() -> None:
    """The tail is of an earlier run, so no pending record mentions it: the producer that submitted
    it again and was answered nothing would otherwise wait for ever."""
    world = World().start()
    world.hello("p", 1)
    world.cut()
    world.submit(1, 1, b"one")
    world.turn(world.a)
    world.a.kill()
    world.a.start()
    world.link_up = True
    while world.a.state is not NodeState.GATED:
        world.settle(50)
        if world.a.state is NodeState.GATED:
            break
    world.hello("p", 1, resume=True)
    world.submit(1, 1, b"one")
    world.settle(500)
    assert list(world.confirmed) == [("p", 1)]


def test_the_status_counts_what_a_producer_sent_twice_and_what_was_refused() -> None:
    """Of its present session, and when it was heard last."""
    world = World().start()
    world.hello("p", 1)
    for number in (1, 1, 1, 5):
        world.submit(1, number, b"one")
        world.settle(100)
    (told,) = world.a.status().producers
    assert (told.accepted_producer_seq, told.duplicates, told.refused) == (1, 2, 1)
    assert told.last_seen_age_ms is not None
    assert 0 < told.last_seen_age_ms <= 100


def test_what_is_known_and_what_is_new_is_confirmed_in_order() -> None:
    """A tail of an earlier run and new messages behind it are released at once. The producer hears
    of the tail first: told otherwise it takes the new ones for a hole. (Found by a storm of signals
    against a producer that waits for each message.)"""
    world = World().start()
    world.hello("p", 1)
    world.cut()
    world.submit(1, 1, b"one")
    world.turn(world.a)
    world.a.kill()
    world.settle(1_500)
    world.a.start()
    world.link_up = True
    while world.a.state is not NodeState.GATED:
        world.now += MS
        world.turn(world.b)
        world.turn(world.a)
    before = len(world.replies)
    hello = ProducerHello(PROTOCOL_VERSION, world.config.cluster, "p", 1, True)
    for message in (hello, submission(1, 1, b"one"), submission(1, 2, b"two")):
        world.a.inbox.append(("intake", (b"1", message)))
    world.turn(world.a)  # the standby has acknowledged nothing of this yet
    world.settle(300)
    told = [message for _, message in world.replies[before:] if isinstance(message, Confirmed)]
    assert [run.producer_seq for message in told for run in message.runs] == [1, 2]


def test_a_primary_that_lost_its_tail_in_a_power_cut_fetches_it_back() -> None:
    """Level written, power cut of the primary: released records are gone from its disk. The standby
    has them. Going on without them would give their seqs a second value."""
    world = World(AckLevel.WRITTEN).start()
    release_five(world)
    assert len(world.confirmed) == 5
    released = world.released_seq
    copy = world.b.journal.bytes()
    world.a.kill(power_cut=True)
    assert world.a.journal.last_seq < released, "nothing was lost: the test shows nothing"
    world.a.start()
    world.settle()
    assert world.a.state is NodeState.GATED
    assert world.a.journal.bytes().startswith(copy)
    assert any("fetched back" in note for note in world.a.notes)
    world.hello("p", 2)
    world.submit(2, 6, b"6")
    world.settle(200)
    assert bodies(world) == [b"1", b"2", b"3", b"4", b"5", b"6"]
    world.assert_identical()


def test_a_standby_that_lost_its_tail_is_streamed_to_again() -> None:
    """Level written, power cut of the standby: it comes back shorter than it had acked."""
    world = World().start()
    release_five(world)
    released = world.released_seq
    world.b.kill(power_cut=True)
    assert world.b.journal.last_seq < released, "nothing was lost: the test shows nothing"
    world.b.start()
    world.settle()
    assert world.b.state is NodeState.IN_SYNC
    world.assert_identical()


def test_a_wiped_primary_does_not_lead() -> None:
    """The primary's disk was replaced. Leading from nothing would give every seq a second value."""
    world = World().start()
    world.hello("p", 1)
    world.submit(1, 1, b"one")
    world.settle(200)
    copy = world.b.journal.bytes()
    world.a.kill()
    world.a.journal.keep(0)
    world.a.start()
    world.settle()
    assert world.a.state is NodeState.FENCED
    assert "empty" in world.a.why
    assert world.b.journal.bytes() == copy
    answer = world.hello("p", 2)
    assert isinstance(answer, Refused)
    assert answer.reason is Reason.NOT_PRIMARY


def test_different_records_at_one_seq_are_diverged_not_overwritten() -> None:
    """The same length and epoch, other content (ZooKeeper 1154 compared offsets only)."""
    world = World().start()
    other = World().start()
    for each, body in ((world, b"ours"), (other, b"theirs")):
        each.hello("p", 1)
        each.submit(1, 1, body)
        each.settle(200)
    world.b.kill()
    world.b.journal = other.b.journal
    before = other.b.journal.bytes()
    world.b.start()
    world.settle()
    assert world.a.state is NodeState.DIVERGED
    assert world.b.state is NodeState.DIVERGED
    assert world.b.journal.bytes() == before
    assert isinstance(world.hello("p", 2), Refused)


def test_a_primary_whose_peer_promised_a_higher_epoch_is_fenced() -> None:
    """The standby has promised epoch 9 to somebody else: this primary may never release again."""
    world = World().start()
    world.b.kill()
    world.settle(2_000)
    world.b.memory = msgspec.structs.replace(world.b.memory, promised_epoch=9)
    world.b.start()
    world.settle()
    assert world.a.state is NodeState.FENCED
    assert world.a.memory.role is Role.SECONDARY, "a restart must not make it lead"


def test_an_epoch_number_is_never_used_twice() -> None:
    """Killed after the standby promised and before the epoch was opened: the number stays spent."""
    world = World().start()
    world.a.kill()
    world.a.start()
    while world.b.memory.promised_epoch != 2:
        world.now += 50_000_000
        world.turn(world.b)
        if world.b.memory.promised_epoch == 2:
            break
        world.turn(world.a)
    world.a.kill()
    world.a.start()
    world.settle()
    assert [e.number for e in world.primary.reign.log.history.epochs] == [1, 3]
    world.assert_identical()


def test_both_first_started_as_primary_stop_with_a_sentence() -> None:
    world = World()
    world.b.memory = msgspec.structs.replace(world.b.memory, role=Role.PRIMARY)
    world.a.start()
    world.b.start()
    world.settle(1_000)
    assert world.a.core is None
    assert "both first started as primary" in world.a.notes[-1]


def run_load(world: World, kill: str, at: int) -> bool:
    """Submits ten messages, killing node `kill` before its effect number `at`, then starts it again
    and has the producer submit everything once more. False if it never came to that effect."""
    count = 0

    def before_effect(node: Node, effect: Effect) -> None:
        nonlocal count
        if node.name == kill:
            count += 1
            if count == at:
                raise Killed

    world.start()
    world.hello("p", 1)
    world.on_effect = before_effect
    for number in range(1, 11):
        if world.a.core:
            world.submit(1, number, b"%d" % number)
        world.turn(world.a)
        world.turn(world.b)
        world.turn(world.a)
    world.settle(1_200)
    world.on_effect = lambda node, effect: None
    if count < at:
        return False
    for node in (world.a, world.b):
        if node.core is None:
            node.start()
    world.settle()
    world.hello("p", 1, resume=True)
    world.submit(1, 1, *(b"%d" % number for number in range(1, 11)))
    world.settle(500)
    return True


@pytest.mark.parametrize("level", list(AckLevel))
@pytest.mark.parametrize("kill", ["a", "b"])
def test_killed_before_any_effect_the_pair_goes_on(kill: str, level: AckLevel) -> None:
    """Every point of a run at which a process can die: nothing lost, doubled or released early."""
    at = 1
    while run_load(world := World(level), kill, at):
        assert bodies(world) == [b"%d" % number for number in range(1, 11)], f"effect {at}"
        assert len(world.confirmed) == 10, f"effect {at}"
        assert world.a.state is NodeState.GATED
        world.assert_identical()
        at += 1
    assert at > 20, "the load has too few effects to show anything"


def crash_while_resuming(kill: str, at: int, *, power_cut: bool) -> World | None:
    """The primary restarts with the standby ahead of it; `kill` dies before its effect `at`."""
    world = World().start()
    release_five(world)
    world.a.kill(power_cut=power_cut)
    count = 0

    def before_effect(node: Node, effect: Effect) -> None:
        nonlocal count
        if node.name == kill:
            count += 1
            if count == at:
                raise Killed

    world.on_effect = before_effect
    world.a.start()
    world.settle(1_500)
    world.on_effect = lambda node, effect: None
    if count < at:
        return None
    for node in (world.a, world.b):
        if node.core is None:
            node.start()
    world.settle()
    return world


@pytest.mark.parametrize("power_cut", [False, True])
@pytest.mark.parametrize("kill", ["a", "b"])
def test_killed_at_any_step_of_resuming_the_pair_comes_back(kill: str, power_cut: bool) -> None:
    """A second crash during recovery: fetch, promise and opening can all be cut in two."""
    at = 1
    while world := crash_while_resuming(kill, at, power_cut=power_cut):
        assert world.a.state is NodeState.GATED, f"effect {at}: {world.a.notes[-3:]}"
        assert bodies(world) == [b"1", b"2", b"3", b"4", b"5"], f"effect {at}"
        numbers = [e.number for e in world.primary.reign.log.history.epochs]
        assert numbers == sorted(set(numbers))
        world.assert_identical()
        at += 1
    assert at > 5


def both_lose_power(at: int) -> World | None:
    """At level synced both nodes lose power at once, before effect number `at` of either."""
    world = World(AckLevel.SYNCED).start()
    world.hello("p", 1)
    count = 0

    def before_effect(node: Node, effect: Effect) -> None:
        nonlocal count
        count += 1
        if count == at:
            world.a.kill(power_cut=True)
            world.b.kill(power_cut=True)
            raise Killed

    world.on_effect = before_effect
    for number in range(1, 11):
        if world.a.core:
            world.submit(1, number, b"%d" % number)
        for node in (world.a, world.b, world.b, world.a):
            world.turn(node)
    world.on_effect = lambda node, effect: None
    if count < at:
        return None
    world.a.start()
    world.b.start()
    world.settle()
    return world


def test_at_level_synced_a_power_cut_of_both_nodes_loses_nothing() -> None:
    """What was confirmed before both went dark is in both logs afterwards, at its seq."""
    at = 1
    while world := both_lose_power(at):
        before = dict(world.confirmed)
        world.hello("p", 1, resume=True)
        world.submit(1, 1, *(b"%d" % number for number in range(1, 11)))
        world.settle(500)
        assert bodies(world) == [b"%d" % number for number in range(1, 11)], f"effect {at}"
        assert before.items() <= world.confirmed.items()
        world.assert_identical()
        at += 1
    assert at > 40
