"""What a primary answers to a standby's hello: the table of verdicts, with real logs."""

from __future__ import annotations

import msgspec
import pytest

from interlock.primary.handshake import Verdict, check_identity, judge
from interlock.primary.intake import Fresh, Session
from interlock.primary.sequence import Sequencer
from interlock.shared.epochs import Epoch, Mode
from interlock.shared.errors import Reason, RemoteError
from interlock.shared.handed import Opening
from interlock.shared.log import LogState
from interlock.shared.messages import PROTOCOL_VERSION, LinkHello
from interlock.shared.wire import GENESIS, Position, encode_messages, parse_record

LEVEL = "written"
CLUSTER = "00000000-0000-0000-0000-000000000007"


class Log:
    """A log that remembers the hash at the end of each record."""

    def __init__(self) -> None:
        self.state = LogState()
        self.hashes = {0: 0}
        self._raws: list[bytes] = []

    def reign(self, leader: str, number: int, *bodies: bytes) -> Log:
        """Opens an epoch and adds one record for each body, of a producer of that name."""
        sequencer = Sequencer(self.state, leader)
        opening = Opening(number, Mode.GATED, "", "test", "", False)
        records = [sequencer.open_epoch(opening, 0, 0)]
        for body in bodies:
            entry = self.state.producers.get("p")
            count = entry.last_producer_seq if entry else 0
            fresh = Fresh(Session(b"", "p", 1), count + 1, 1, encode_messages([body]))
            records.append(sequencer.data(fresh, 0, 0))
        for record in records:
            self.hashes[record.last.seq] = record.last.hash
            self._raws.append(record.raw)
        return self

    def copy(self, up_to: int) -> Log:
        """A log that holds the same up to `up_to`."""
        other = Log()
        for raw in self._raws:
            record = parse_record(memoryview(raw), 0)
            if record.seq <= up_to:
                other.state.apply(record)
                other.hashes[record.seq] = record.hash
                other._raws.append(raw)
        return other


def hello(log: Log, *, promised: int = 0) -> LinkHello:
    state = log.state
    epochs, last = state.history.epochs, state.position
    return LinkHello(PROTOCOL_VERSION, CLUSTER, "b", 1, 1, epochs, last, promised, LEVEL)


def verdict(
    ours: Log,
    theirs: Log,
    *,
    is_open: bool = False,
    promised: int = 0,
    asked: int = 0,
    first_seq: int = 1,
) -> Verdict:
    """`asked`: the highest number that we asked for, if it is above the one that we lead."""
    own_hash = ours.hashes.get(theirs.state.last_seq)
    told = hello(theirs, promised=promised)
    asked_epoch = max(asked, ours.state.history.number)
    return judge(told, ours.state, "a", is_open, asked_epoch, own_hash, first_seq)


LOG = Log().reign("a", 1, b"1", b"2").reign("a", 3, b"3", b"4")  # seqs 1..6


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("up_to", range(7))
def test_a_prefix_of_ours_joins(up_to: int, is_open: bool) -> None:
    assert verdict(LOG, LOG.copy(up_to), is_open=is_open) is Verdict.JOIN


@pytest.mark.parametrize("up_to", range(1, 6))
def test_the_longer_log_is_fetched_from_while_no_epoch_is_open(up_to: int) -> None:
    assert verdict(LOG.copy(up_to), LOG) is Verdict.FETCH


def test_an_ended_reign_of_ours_that_we_forgot_is_fetched_too() -> None:
    """They hold an epoch of ours that our disk lost: ours, so it does not fence."""
    assert verdict(LOG.copy(3), LOG) is Verdict.FETCH


def test_a_standby_ahead_of_an_open_epoch_diverges() -> None:
    """Nobody but us can have written in our epoch; what they hold beyond it is of no history."""
    assert verdict(LOG.copy(5), LOG, is_open=True) is Verdict.DIVERGE


@pytest.mark.parametrize("is_open", [False, True])
def test_equal_lengths_and_other_records_diverge(is_open: bool) -> None:
    """ZooKeeper 1154: compared by length alone, each of these would pass for the other's prefix."""
    ours = LOG.copy(4).reign("a", 4, b"ours")
    same_length = LOG.copy(4).reign("a", 4, b"else")
    shorter = LOG.copy(4).reign("a", 4)
    shorter_else = LOG.copy(3).reign("a", 4)
    assert verdict(ours, same_length, is_open=is_open) is Verdict.DIVERGE
    assert verdict(ours, shorter_else, is_open=is_open) is Verdict.DIVERGE
    assert verdict(ours, shorter, is_open=is_open) is Verdict.JOIN


def test_a_longer_log_that_left_ours_before_its_end_diverges() -> None:
    """They took another way at seq 4 and are longer now: "longer" is not "ahead"."""
    ours = LOG.copy(6)
    theirs = LOG.copy(3).reign("a", 5, b"x", b"y", b"z", b"w")
    assert theirs.state.last_seq > ours.state.last_seq
    assert verdict(ours, theirs) is Verdict.DIVERGE


def test_a_record_that_ends_within_one_of_ours_diverges() -> None:
    told = msgspec.structs.replace(hello(LOG), last=Position(5, 1))
    assert judge(told, LOG.state, "a", False, 3, None, 1) is Verdict.DIVERGE


@pytest.mark.parametrize("is_open", [False, True])
def test_a_later_reign_of_the_peer_fences(is_open: bool) -> None:
    """They were promoted: whatever our log says, we may not lead over it."""
    theirs = LOG.copy(5).reign("b", 4, b"of b")
    assert verdict(LOG, theirs, is_open=is_open) is Verdict.FENCE
    assert verdict(Log(), theirs, is_open=is_open) is Verdict.FENCE


def test_a_promise_above_the_open_epoch_fences_and_above_a_closed_one_does_not() -> None:
    """A primary that restarts asks for a number above the promise; one that reigns cannot."""
    assert verdict(LOG, LOG, is_open=True, promised=3) is Verdict.JOIN
    assert verdict(LOG, LOG, is_open=True, promised=4) is Verdict.FENCE
    assert verdict(LOG, LOG, is_open=False, promised=4) is Verdict.JOIN


def test_a_promise_that_we_asked_for_does_not_fence() -> None:
    """A primary in solo asks for the number of the gated epoch to come, the link breaks before it
    opens it, and the standby dials again: the promise is ours. A higher one is somebody else's."""
    assert verdict(LOG, LOG, is_open=True, promised=4, asked=4) is Verdict.JOIN
    assert verdict(LOG, LOG, is_open=True, promised=5, asked=4) is Verdict.FENCE


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("leader", ["a", "b"])
def test_a_log_that_leaves_ours_in_an_earlier_epoch_is_a_tail(leader: str, is_open: bool) -> None:
    """b led epoch 3 and wrote what nobody acknowledged; a was promoted without it and leads 5. Its
    tail has to be cut, which only an operator asks for. It is no divergence of both: a leads on."""
    theirs = LOG.copy(3).reign(leader, 4, b"tail", b"more")
    ours = LOG.copy(4).reign("a", 5, b"new")
    assert verdict(ours, theirs, is_open=is_open) is Verdict.TAIL
    longer = LOG.copy(3).reign(leader, 4, *[b"tail"] * 9)
    assert longer.state.last_seq > ours.state.last_seq
    assert verdict(ours, longer, is_open=is_open) is Verdict.TAIL


def test_a_tail_of_an_epoch_that_both_know_is_no_prefix() -> None:
    """They went on in epoch 3 after the record at which we closed it by opening the next."""
    theirs = LOG.copy(5).reign("a", 4)
    assert verdict(LOG.copy(5).reign("a", 5), theirs, is_open=True) is Verdict.TAIL
    assert verdict(LOG.copy(5).reign("a", 5), LOG, is_open=True) is Verdict.TAIL


def test_a_tail_of_the_same_epoch_number_is_a_divergence() -> None:
    """Both led number 4: nobody can say whose is the later one."""
    theirs = LOG.copy(5).reign("b", 4)
    assert verdict(LOG.copy(5).reign("a", 4), theirs, is_open=True) is Verdict.DIVERGE


def test_an_empty_log_does_not_lead_over_a_full_one() -> None:
    assert verdict(Log(), LOG) is Verdict.WIPED
    assert verdict(Log(), Log()) is Verdict.JOIN


def test_what_is_not_retained_cannot_be_streamed() -> None:
    assert verdict(LOG, LOG.copy(3), first_seq=4) is Verdict.JOIN
    with pytest.raises(RemoteError) as caught:
        verdict(LOG, LOG.copy(2), first_seq=4)
    assert caught.value.reason is Reason.NOT_RETAINED
    assert "ends at seq 2" in caught.value.text
    assert "begins at 4" in caught.value.text


@pytest.mark.parametrize(
    "last", [Position(-1, 0), Position(0, 1), Position(2**64 - 1, 1), Position(7, 1)]
)
def test_an_absurd_position_is_no_crash(last: Position) -> None:
    told = msgspec.structs.replace(hello(LOG), last=last)
    try:
        found = judge(told, LOG.state, "a", True, 3, LOG.hashes.get(last.seq), 1)
    except RemoteError:
        return
    assert found is Verdict.DIVERGE


def test_an_absurd_history_is_no_crash() -> None:
    for epochs in (
        [Epoch(2**32, "b", Mode.GATED, 0, 0)],
        [Epoch(-5, "x", Mode.SOLO, -1, -1)],
        [LOG.state.history.epochs[-1]] * 3,
    ):
        told = msgspec.structs.replace(hello(LOG), epochs=epochs, last=Position(9, 9))
        found = judge(told, LOG.state, "a", True, 3, None, 1)
        assert found in (Verdict.FENCE, Verdict.TAIL, Verdict.DIVERGE)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": 0}, Reason.WRONG_VERSION),
        ({"version": 1}, Reason.WRONG_VERSION),
        ({"version": PROTOCOL_VERSION + 1, "cluster": "x", "node": "x"}, Reason.WRONG_VERSION),
        ({"cluster": ""}, Reason.WRONG_CLUSTER),
        ({"cluster": CLUSTER.upper() + "x"}, Reason.WRONG_CLUSTER),
        ({"node": "a"}, Reason.WRONG_NODE),
        ({"node": "B"}, Reason.WRONG_NODE),
        ({"ack_level": "received"}, Reason.WRONG_ACK_LEVEL),
    ],
)
def test_only_the_peer_of_this_pair_is_let_in(change: dict[str, object], reason: Reason) -> None:
    told = LinkHello(PROTOCOL_VERSION, CLUSTER, "b", 1, 1, [], GENESIS, 0, LEVEL)
    check_identity(told, CLUSTER, "b", LEVEL)
    with pytest.raises(RemoteError) as caught:
        check_identity(msgspec.structs.replace(told, **change), CLUSTER, "b", LEVEL)
    assert caught.value.reason is reason
