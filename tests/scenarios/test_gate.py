"""The gate under a lost, slow and returning standby: P1, P2, P5."""

from __future__ import annotations

import pytest

from interlock.shared.config import AckLevel
from interlock.shared.errors import Reason
from interlock.shared.messages import Confirmed, Refused
from interlock.shared.roles import NodeState
from support.world import MS, World


@pytest.mark.parametrize("level", list(AckLevel))
def test_nothing_is_released_before_the_standby_has_it(level: AckLevel) -> None:
    """Primary sequences and writes; the standby has not acked: neither feed nor confirmation."""
    world = World(level).start()
    world.hello("p", 1)
    released, published = world.released_seq, len(world.feed)
    world.submit(1, 1, b"one")
    world.turn(world.a)
    assert world.a.journal.last_seq == released + 1, "written before the ack"
    assert (world.released_seq, len(world.feed)) == (released, published)
    assert not world.confirmed
    world.turn(world.b)
    world.turn(world.b)  # at level synced the ack leaves one turn after the sync
    world.turn(world.a)
    assert world.released_seq == released + 1
    assert world.confirmed == {("p", 1): released + 1}
    assert world.feed[-1].seq == released + 1


@pytest.mark.parametrize("slow", ["a", "b"])
def test_at_level_synced_the_slower_disk_decides(slow: str) -> None:
    """One node has synced and the other has not: a power cut of the first to come would leave the
    message on one disk, so it is not released."""
    world = World(AckLevel.SYNCED).start()
    node = world.a if slow == "a" else world.b
    world.hello("p", 1)
    node.slow_disk = True
    before = world.released_seq
    world.submit(1, 1, b"one")
    world.settle(500)
    assert world.released_seq == before
    assert not world.confirmed
    node.slow_disk = False
    node.journal.sync()
    world.settle(500)
    assert world.confirmed == {("p", 1): before + 1}


def test_a_lost_standby_stalls_and_no_time_ungates() -> None:
    """MySQL semi-sync turned asynchronous after a time-out. Here a day without the standby passes,
    and nothing is released; when it is back, all is, once, without an operator."""
    world = World().start()
    world.hello("p", 1)
    world.submit(1, 1, b"one")
    world.settle(200)
    before = world.released_seq
    world.b.kill()
    world.submit(1, 2, b"two")
    world.settle(3_000)
    assert world.a.state is NodeState.STALLED
    world.now += 86_400_000 * MS
    world.settle(3_000)
    assert world.a.state is NodeState.STALLED
    assert world.released_seq == before
    world.submit(1, 3, b"three")
    world.b.start()
    world.settle()
    assert world.a.state is NodeState.GATED
    assert world.b.state is NodeState.IN_SYNC
    assert [body for _, _, body in world.data()] == [b"one", b"two", b"three"]
    assert sorted(world.confirmed) == [("p", 1), ("p", 2), ("p", 3)]
    world.assert_identical()


def test_pending_is_bounded_and_then_intake_says_busy() -> None:
    """The bound is met before a seq is given; what was refused can be submitted again later."""
    world = World(pending_messages=10).start()
    world.hello("p", 1)
    world.cut()
    world.settle(2_000)
    before = len(world.replies)
    for number in range(1, 14):
        world.submit(1, number, b"x")
    world.turn(world.a)
    refusals = [message for _, message in world.replies[before:]]
    assert all(isinstance(message, Refused) for message in refusals)
    first = refusals[0]
    assert isinstance(first, Refused)
    assert first.reason is Reason.BUSY
    assert "STALLED" in first.text
    assert world.primary.reign.gate.pending_messages == 10
    held = world.a.journal.last_seq
    world.settle(5_000)
    assert world.a.journal.last_seq == held
    world.link_up = True
    world.settle()
    for number in range(first.expected, 14):
        world.submit(1, number, b"x")
        world.settle(100)
    assert len(world.confirmed) == 13
    assert len(world.data()) == 13
    world.assert_identical()


def test_a_full_disk_is_met_before_a_seq_is_given() -> None:
    """No room on the primary: intake refuses and the log does not move; with room it goes on."""
    world = World().start()
    world.hello("p", 1)
    world.a.room = 50
    world.settle(100)
    held = world.a.journal.last_seq
    before = len(world.replies)
    world.submit(1, 1, b"x" * 100)
    world.turn(world.a)
    refused = world.replies[before][1]
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.expected) == (Reason.DISK_FULL, 1)
    assert world.a.journal.last_seq == held
    world.a.room = 1 << 30
    world.settle(100)
    world.submit(1, 1, b"x" * 100)
    world.settle(200)
    assert len(world.confirmed) == 1


def test_a_standby_without_room_stalls_the_pair_and_catches_up_later() -> None:
    """The standby's disk is full: it takes nothing and acks nothing; then it is mended."""
    world = World().start()
    world.hello("p", 1)
    world.b.room = 50
    world.submit(1, 1, b"x" * 100)
    world.settle(3_000)
    assert not world.confirmed
    assert world.a.state is NodeState.STALLED
    assert world.b.state is NodeState.ORPHANED
    assert "no disk space" in world.secondary.holder.why
    assert any("no disk space" in note for note in world.b.notes), "the operator's log must say it"
    world.b.room = 1 << 30
    world.settle()
    assert len(world.confirmed) == 1
    world.assert_identical()


def test_a_quiet_log_ticks_and_a_stalled_one_does_not() -> None:
    """Ticks carry time on a quiet log; while stalled they would only fill what is pending."""
    world = World().start()
    before = world.released_seq
    world.settle(3_500)
    assert 3 <= world.released_seq - before <= 4
    world.cut()
    world.settle(2_000)
    held = world.a.journal.last_seq
    world.settle(10_000)
    assert world.a.journal.last_seq == held


def test_time_never_falls_along_the_log() -> None:
    """The clock is stepped back an hour: later records carry the time of the earlier ones."""
    world = World().start()
    world.hello("p", 1)
    world.submit(1, 1, b"one")
    world.settle(200)
    world.wall_offset -= 3_600_000 * MS
    world.submit(1, 2, b"two")
    world.settle(2_000)
    times = [record.time_ns for record in world.a.journal.records]
    assert times == sorted(times)
    assert len(world.confirmed) == 2


def test_records_lost_on_the_link_are_streamed_again() -> None:
    """ZeroMQ loses the middle of a stream on a reconnect: the standby sees a gap, dials anew, and
    the stream begins again after the last record that it holds."""
    world = World().start()
    world.hello("p", 1)
    world.submit(1, 1, b"one")
    world.turn(world.a)
    world.drop_link()  # lost
    world.submit(1, 2, b"two")
    world.turn(world.a)
    world.settle()
    assert [body for _, _, body in world.data()] == [b"one", b"two"]
    assert len(world.confirmed) == 2
    world.assert_identical()


def test_a_record_lost_at_the_tail_of_the_stream_shows_by_the_heartbeat() -> None:
    """The last record is lost and none follows it: the primary's beat says what it has sent."""
    world = World().start()
    world.hello("p", 1)
    world.submit(1, 1, b"one")
    world.turn(world.a)
    world.drop_link()  # lost
    world.settle(3_000)
    assert list(world.confirmed) == [("p", 1)]
    world.assert_identical()


def test_a_confirmation_never_comes_before_the_release_of_a_duplicate() -> None:
    """A message is submitted again while its first copy is pending: it must not be confirmed early
    just because it is in the log already."""
    world = World().start()
    world.hello("p", 1)
    world.cut()
    world.submit(1, 1, b"one")
    world.turn(world.a)
    before = len(world.replies)
    world.submit(1, 1, b"one")
    world.turn(world.a)
    assert not [m for _, m in world.replies[before:] if isinstance(m, Confirmed)]
    world.link_up = True
    world.settle()
    assert list(world.confirmed) == [("p", 1)]
    assert len(world.data()) == 1
