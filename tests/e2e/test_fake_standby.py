"""A real primary against a standby that says a proper hello and then breaks the protocol.

The gate must not move by what it says, and whoever comes next must find the primary serving.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest

from interlock.cli.embedded import EmbeddedPair
from interlock.shared.errors import Reason
from interlock.shared.log import LogState
from interlock.shared.messages import (
    PROTOCOL_VERSION,
    Codec,
    Confirmed,
    IntakeReply,
    LinkAck,
    LinkBeat,
    LinkPromised,
    LinkTail,
    Message,
    ProducerHello,
    ProducerWelcome,
    Refused,
    Submit,
)
from interlock.shared.wire import (
    GENESIS,
    Position,
    encode_messages,
)
from support.fakes import FakeStandby
from support.pair import (
    Raw,
    assert_serves,
    counted,
    key,
    pair_of,
    status,
    wait_for,
    wait_for_state,
)


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPair]:
    """A real primary alone. At the end the real standby joins it, and the pair must serve."""
    with pair_of(tmp_path_factory.mktemp("primary"), "a") as pair:
        yield pair
        pair.start("b")
        wait_for_state(pair, "b", "IN_SYNC")
        assert_serves(pair)


@pytest.fixture(scope="module")
def held() -> LogState:
    """What the fake standby holds, from test to test."""
    return LogState()


@pytest.fixture
def standby(primary: EmbeddedPair, held: LogState) -> Iterator[FakeStandby]:
    """A fake standby that follows, and has acknowledged all that it was sent."""
    with FakeStandby(primary, held) as fake:
        fake.follow()
        fake.ack()
        wait_for("the ack to release", lambda: released(primary) >= held.last_seq)
        yield fake


def released(pair: EmbeddedPair) -> int:
    return status(pair, "a").watermarks.released_seq


def acked(fake: FakeStandby, **changes: object) -> LinkAck:
    """The ack that is due, after `changes`."""
    due = LinkAck(fake.session, fake.epoch, fake.log.position)
    return msgspec.structs.replace(due, **changes)


LIES: dict[str, tuple[Callable[[FakeStandby], Message], Reason]] = {
    "beyond what was sent": (lambda b: acked(b, last=Position(b.log.last_seq + 1, 1)), Reason.GAP),
    "far beyond what was sent": (lambda b: acked(b, last=Position(2**64 - 1, 1)), Reason.GAP),
    "falling": (
        lambda b: acked(b, last=Position(b.log.last_seq - 1, b.log.position.hash)),
        Reason.GAP,
    ),
    "back to the beginning": (lambda b: acked(b, last=GENESIS), Reason.GAP),
    "before the beginning": (lambda b: acked(b, last=Position(-1, 0)), Reason.GAP),
    "a hash that was never sent": (
        lambda b: acked(b, last=Position(b.log.last_seq, 1)),
        Reason.DIFFERENT_HISTORY,
    ),
    "the next epoch": (lambda b: acked(b, epoch=b.epoch + 1), Reason.WRONG_EPOCH),
    "the epoch before": (lambda b: acked(b, epoch=b.epoch - 1), Reason.WRONG_EPOCH),
    "another session": (lambda b: acked(b, session=b.session - 1), Reason.NO_SESSION),
    "a promise that nobody asked for": (lambda b: LinkPromised(b.session, 99), Reason.WRONG_EPOCH),
    "a promise of the epoch that is open": (
        lambda b: LinkPromised(b.session, b.epoch),
        Reason.WRONG_EPOCH,
    ),
    "the end of a tail that nobody asked for": (
        lambda b: LinkTail(b.session, b""),
        Reason.MALFORMED,
    ),
    "a tail that nobody asked for": (
        lambda b: LinkTail(b.session, b"never asked for"),
        Reason.MALFORMED,
    ),
}


@pytest.mark.parametrize(("lie", "reason"), LIES.values(), ids=LIES)
def test_a_standby_that_lies_is_dropped_and_moves_nothing(
    primary: EmbeddedPair,
    standby: FakeStandby,
    lie: Callable[[FakeStandby], Message],
    reason: Reason,
) -> None:
    before = released(primary)
    with counted(primary, "a", key("link", reason)):
        standby.send(lie(standby))
        answer = standby.next_of(Refused)
        assert answer.reason is reason
        assert answer.text
    found = wait_for_state(primary, "a", "STALLED", "the standby broke the protocol")
    assert found.watermarks.released_seq == before
    assert not found.link.up


def test_what_is_no_message_does_not_end_the_session(
    primary: EmbeddedPair, standby: FakeStandby
) -> None:
    """It cannot even be said to be of the session; the standby's heartbeats tell what it holds."""
    with counted(primary, "a", key("link", Reason.MALFORMED), 3):
        for frames in ([b""], [b"\xc1L"], [b"one", b"two"]):
            standby.send(*frames)
            assert standby.next_of(Refused).reason is Reason.MALFORMED
    assert status(primary, "a").state == "GATED"


def test_without_an_ack_nothing_is_released(primary: EmbeddedPair, standby: FakeStandby) -> None:
    """The standby takes the record, and its heartbeats even say that it holds it."""
    replies: Codec[IntakeReply] = Codec(IntakeReply)
    with Raw(primary.config.node("a").intake) as producer:
        producer.send(ProducerHello(PROTOCOL_VERSION, "", "patient", 5, False))
        assert isinstance(producer.receive(replies), ProducerWelcome)
        before = released(primary)
        producer.send(Submit(5, 1, 1, 1, msgspec.Raw(encode_messages([b"wait"]))))
        standby.take_records()
        last_seq = standby.log.last_seq
        for _ in range(3):
            beat = LinkBeat(standby.session, standby.epoch, last_seq, last_seq, 0, "IN_SYNC")
            standby.send(beat)
            standby.next_of(LinkBeat)
        found = status(primary, "a")
        assert (found.watermarks.released_seq, found.pending.messages) == (before, 1)
        assert producer.frames(0) is None
        standby.ack()
        confirmed = producer.receive(replies)
        assert isinstance(confirmed, Confirmed)
        assert confirmed.runs[0].seq == last_seq


def test_a_silent_standby_is_given_up_and_may_come_back(
    primary: EmbeddedPair, standby: FakeStandby
) -> None:
    wait_for_state(primary, "a", "STALLED", "nothing heard from b")
    standby.follow()
    assert status(primary, "a").state == "GATED"


def test_a_new_session_ends_the_one_before(primary: EmbeddedPair, standby: FakeStandby) -> None:
    with FakeStandby(primary, standby.log) as newer:
        newer.follow()
        standby.ack()
        assert standby.next_of(Refused).reason is Reason.NO_SESSION
        found = status(primary, "a")
        assert (found.state, found.link.up) == ("GATED", True)


def test_a_refusal_by_the_standby_stalls_and_says_why(
    primary: EmbeddedPair, standby: FakeStandby
) -> None:
    standby.send(Refused(Reason.BUSY, "no thanks", standby.session))
    wait_for_state(primary, "a", "STALLED", "the standby refused: no thanks")
