"""Which acks of the standby count: a table of cases, and any sequence of them against a twin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.primary.acks import take_ack
from interlock.primary.replicate import Standby
from interlock.shared.errors import Reason, RemoteError
from interlock.shared.limits import CATCH_UP_WINDOW_BYTES, LINK_WINDOW_BYTES
from interlock.shared.messages import PROTOCOL_VERSION, LinkAck, LinkHello
from interlock.shared.wire import GENESIS, Position

SESSION = 77
EPOCH = 3


def at(seq: int) -> Position:
    return Position(seq, seq * 1_000)


def standby(*sent: int, last: Position = GENESIS) -> Standby:
    """A standby that began at `last` and was sent a frame of 10 bytes up to each of `sent`."""
    hello = LinkHello(PROTOCOL_VERSION, "c", "b", 1, SESSION, [], last, 0, "written")
    made = Standby(b"s", hello, 0)
    for seq in sent:
        made.note_sent(at(seq), 10, 0)
    return made


def ack(last: Position, *, session: int = SESSION, epoch: int = EPOCH) -> LinkAck:
    return LinkAck(session, epoch, last)


def test_an_ack_at_the_end_of_a_frame_moves_on() -> None:
    peer = standby(3, 5, 9)
    assert take_ack(peer, ack(at(3)), EPOCH)
    assert (peer.acked, peer.unacked_bytes) == (at(3), 20)
    assert take_ack(peer, ack(at(9)), EPOCH)
    assert (peer.acked, peer.unacked_bytes, len(peer.unacked)) == (at(9), 0, 0)


def test_a_repeated_ack_changes_nothing() -> None:
    peer = standby(3, 5, last=at(2))
    assert not take_ack(peer, ack(at(2)), EPOCH)
    assert take_ack(peer, ack(at(3)), EPOCH)
    assert not take_ack(peer, ack(at(3)), EPOCH)
    assert (peer.acked, peer.unacked_bytes) == (at(3), 10)


def test_an_ack_of_an_earlier_session_is_void() -> None:
    peer = standby(3)
    assert not take_ack(peer, ack(at(3), session=SESSION - 1), EPOCH)
    assert (peer.acked, peer.unacked_bytes) == (GENESIS, 10)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (ack(at(5), epoch=EPOCH - 1), Reason.WRONG_EPOCH),
        (ack(at(5), epoch=EPOCH + 1), Reason.WRONG_EPOCH),
        (ack(at(5), epoch=0), Reason.WRONG_EPOCH),
        (ack(at(2)), Reason.GAP),  # falls: seq 3 was acked
        (ack(GENESIS), Reason.GAP),
        (ack(Position(-1, 0)), Reason.GAP),
        (ack(at(10)), Reason.GAP),  # beyond what was sent
        (ack(Position(2**64 - 1, 0)), Reason.GAP),
        (ack(Position(3, 1)), Reason.DIFFERENT_HISTORY),  # what was acked, with another hash
        (ack(Position(5, 1)), Reason.DIFFERENT_HISTORY),  # what was sent, with another hash
        (ack(Position(9, 1)), Reason.DIFFERENT_HISTORY),
        (ack(at(4)), Reason.DIFFERENT_HISTORY),  # within a frame
        (ack(at(8)), Reason.DIFFERENT_HISTORY),
    ],
)
def test_any_other_ack_is_the_peers_fault_and_moves_nothing(wrong: LinkAck, reason: Reason) -> None:
    peer = standby(3, 5, 9)
    take_ack(peer, ack(at(3)), EPOCH)
    with pytest.raises(RemoteError) as caught:
        take_ack(peer, wrong, EPOCH)
    assert caught.value.reason is reason
    assert peer.acked == at(3)


def test_before_the_stream_stands_only_what_was_claimed_can_be_acked() -> None:
    peer = standby(last=at(4))
    assert not take_ack(peer, ack(at(4), epoch=0), 0)
    with pytest.raises(RemoteError):
        take_ack(peer, ack(at(5), epoch=0), 0)


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=10),
    st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=20),
)
def test_acks_against_a_twin(sizes: list[int], tries: list[tuple[int, bool]]) -> None:
    """The twin knows every frame's end and forgets none."""
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    peer = standby(*ends)
    acked = 0
    for seq, right_hash in tries:
        last = at(seq) if right_hash else Position(seq, 1)
        good = right_hash and seq >= acked and seq in [acked, *ends]
        if good:
            assert take_ack(peer, ack(last), EPOCH) == (seq > acked)
            acked = seq
            assert peer.acked.seq == acked
            assert peer.unacked_bytes == 10 * sum(end > acked for end in ends)
        else:
            with pytest.raises(RemoteError):
                take_ack(peer, ack(last), EPOCH)
            assert peer.acked.seq == acked
            return  # a session ends at the first ack that is none


def test_what_is_under_way_to_a_standby_is_bounded_less_while_it_is_behind() -> None:
    """Live messages wait for what is read for it; and neither bound may be missing."""
    peer = standby()
    peer.welcomed = True
    peer.note_sent(at(1), CATCH_UP_WINDOW_BYTES - 1, 0)
    assert peer.can_catch_up(written_seq=2)
    assert not peer.can_catch_up(written_seq=1), "it has all"
    peer.note_sent(at(2), 1, 0)
    assert not peer.can_catch_up(written_seq=3)
    assert peer.takes_live(3)
    assert not peer.takes_live(4), "what is before it would be missing"
    peer.note_sent(at(3), LINK_WINDOW_BYTES - CATCH_UP_WINDOW_BYTES, 0)
    assert not peer.takes_live(4)
    assert take_ack(peer, ack(at(3)), EPOCH)
    assert peer.takes_live(4)
    assert peer.can_catch_up(written_seq=4)
    peer.welcomed = False
    assert not peer.takes_live(4)
    assert not peer.can_catch_up(written_seq=4)
