"""What may follow in a log, and how two histories compare."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.shared.epochs import (
    Epoch,
    EpochClosed,
    EpochOpened,
    History,
    Mode,
    Relation,
    common_seq,
    compare,
    describe,
)
from interlock.shared.errors import LocalError, Reason, RemoteError
from interlock.shared.limits import MAX_OPERATIONS_KNOWN
from interlock.shared.log import Chain, LogDump, LogState, closed_for
from interlock.shared.operations import Operation, Receipt, Request, Result
from interlock.shared.wire import (
    GENESIS,
    Kind,
    Position,
    Record,
    encode_messages,
    encode_record,
    pack_name,
    parse_record,
)
from support.journal_kit import make_log, state_at


def closing(number: int = 2, *, handover: bool = True) -> bytes:
    closed = EpochClosed(number, "b", "a", handover, "ann", "patching", "00ff")
    return msgspec.msgpack.encode(closed)


def receipt(
    operation: Operation, result: Result = Result.DONE, name: str = "00ff", operator: str = "ann"
) -> bytes:
    request = Request(operation, "b")
    return msgspec.msgpack.encode(
        Receipt(name, request, operator, [], "a drill", "", result, "", [], 2, 1, 2)
    )


def record(kind: Kind = Kind.TICK, payload: bytes | None = None, **changes: int) -> Record:
    """A record that continues the log of `base`, but for the changes."""
    fields = {"epoch": 2, "seq": 11, "time_ns": 100, "prev_hash": 77, "producer_seq": 0} | changes
    if payload is not None:
        pass
    elif kind is Kind.EPOCH_OPENED:
        payload = msgspec.msgpack.encode(
            EpochOpened(fields["epoch"], "a", Mode.GATED, fields["seq"], "", "")
        )
    elif kind is Kind.EPOCH_CLOSED:
        payload = closing(fields["epoch"])
    elif kind is Kind.OPERATION:
        payload = receipt(Operation.SOLO)
    else:
        payload = encode_messages([b"x"]) if kind is Kind.DATA else b"\x80"
    raw, _ = encode_record(
        kind,
        fields["epoch"],
        fields["seq"],
        fields["time_ns"],
        pack_name("p"),
        fields["producer_seq"],
        1,
        payload,
        fields["prev_hash"],
    )
    return parse_record(memoryview(raw), 0)


def base() -> LogState:
    """A log of 10 messages in epoch 2, the last at time 100, with two messages of producer p."""
    producers = {"p": (2, [])}
    epochs = [Epoch(1, "a", Mode.GATED, 1, 5), Epoch(2, "b", Mode.GATED, 4, 6)]
    return LogState.load(LogDump(Position(10, 77), 2, 100, epochs, producers))


# Chain and LogState ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "good",
    [
        record(),
        record(time_ns=100),
        record(time_ns=2**63),
        record(Kind.EPOCH_OPENED, epoch=3),
        record(Kind.EPOCH_OPENED, epoch=30),
        record(Kind.DATA, producer_seq=3),
        record(Kind.EPOCH_CLOSED),
        record(Kind.OPERATION),
    ],
)
def test_what_continues_the_log_is_taken(good: Record) -> None:
    state = base()
    state.apply(good)
    assert state.position == Position(11, good.hash)
    assert state.chain.epoch == good.epoch
    assert state.chain.time_ns == good.time_ns
    assert state.history.number == good.epoch


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (record(seq=10), Reason.GAP),
        (record(seq=12), Reason.GAP),
        (record(prev_hash=78), Reason.DIFFERENT_HISTORY),
        (record(epoch=1), Reason.WRONG_EPOCH),
        (record(epoch=3), Reason.WRONG_EPOCH),
        (record(Kind.EPOCH_OPENED, epoch=2), Reason.WRONG_EPOCH),
        (record(Kind.EPOCH_OPENED, epoch=1), Reason.WRONG_EPOCH),
        (record(time_ns=99), Reason.MALFORMED),
        (record(Kind.DATA, producer_seq=2), Reason.GAP),
        (record(Kind.DATA, producer_seq=4), Reason.GAP),
        (record(Kind.DATA, producer_seq=0), Reason.GAP),
        (record(Kind.EPOCH_CLOSED, epoch=3), Reason.WRONG_EPOCH),
        (record(Kind.EPOCH_CLOSED, closing(1)), Reason.MALFORMED),
        (record(Kind.EPOCH_CLOSED, b"\x80"), Reason.MALFORMED),
        (record(Kind.EPOCH_CLOSED, b"\xc1"), Reason.MALFORMED),
        (record(Kind.OPERATION, b"\x80"), Reason.MALFORMED),
        (record(Kind.OPERATION, b""), Reason.MALFORMED),
        (record(Kind.OPERATION, receipt(Operation.PAUSE)[:-1]), Reason.MALFORMED),
        (record(Kind.EPOCH_OPENED, b"\x80", epoch=3), Reason.MALFORMED),
    ],
)
def test_what_does_not_continue_the_log_is_refused_and_changes_nothing(
    bad: Record, reason: Reason
) -> None:
    state = base()
    before = state.dump()
    with pytest.raises(RemoteError) as caught:
        state.apply(bad)
    assert caught.value.reason is reason
    assert state.dump() == before


def test_an_empty_log_begins_at_seq_1_with_an_epoch() -> None:
    chain = Chain()
    assert chain.position == GENESIS
    chain.check(record(Kind.EPOCH_OPENED, epoch=1, seq=1, prev_hash=0))
    with pytest.raises(RemoteError, match="of epoch 1, not 0"):
        chain.check(record(epoch=1, seq=1, prev_hash=0))


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(0, 12))
def test_a_state_loaded_from_its_dump_goes_on_the_same(sizes: list[int], cut: int) -> None:
    """A checkpoint: dump, encode, decode and load must not change what the log amounts to."""
    maker = make_log(sizes)
    cut = min(cut, len(maker.records))
    encoded = msgspec.msgpack.encode(state_at(maker, cut).dump())
    state = LogState.load(msgspec.msgpack.decode(encoded, type=LogDump))
    for raw in maker.records[cut:]:
        state.apply(parse_record(memoryview(raw), 0))
    assert state.dump() == maker.state.dump()


# Closings and receipts ------------------------------------------------------------------------


def after(state: LogState, kind: Kind, payload: bytes | None = None, **changes: int) -> Record:
    """A record that continues `state`, but for the changes."""
    fields = {
        "epoch": state.chain.epoch,
        "seq": state.last_seq + 1,
        "prev_hash": state.chain.hash,
    }
    return record(kind, payload, **(fields | changes))


def test_the_closing_of_an_epoch_is_known_until_the_next_one_opens() -> None:
    state = base()
    state.apply(record(Kind.EPOCH_CLOSED))
    assert state.closed == EpochClosed(2, "b", "a", True, "ann", "patching", "00ff")
    assert closed_for(state) == "a"
    state.apply(after(state, Kind.EPOCH_OPENED, epoch=3))
    assert state.closed is None
    assert closed_for(state) == ""


def test_an_epoch_that_was_closed_for_nobody_hands_nothing_over() -> None:
    """A demote: the successor may be promoted, but does not take the lead by itself."""
    state = base()
    assert closed_for(state) == ""
    state.apply(record(Kind.EPOCH_CLOSED, closing(handover=False)))
    assert state.closed is not None
    assert closed_for(state) == ""


@pytest.mark.parametrize("kind", sorted(set(Kind) - {Kind.EPOCH_OPENED}))
def test_nothing_follows_a_closing_but_an_opening(kind: Kind) -> None:
    """Whoever leads next may have opened its epoch right there: a record more in the closed epoch
    would be a second value of that seq."""
    state = base()
    state.apply(record(Kind.EPOCH_CLOSED))
    before = state.dump()
    late = after(state, kind, producer_seq=3 if kind is Kind.DATA else 0)
    with pytest.raises(RemoteError, match="closed before") as caught:
        state.apply(late)
    assert caught.value.reason is Reason.WRONG_EPOCH
    assert state.dump() == before


def test_the_pair_is_paused_and_resumed_by_receipts_of_what_was_done() -> None:
    state = base()
    for operation, result, paused in (
        (Operation.PAUSE, Result.REFUSED, ""),
        (Operation.PAUSE, Result.UNKNOWN, ""),
        (Operation.SOLO, Result.DONE, ""),
        (Operation.PAUSE, Result.DONE, "paused by ann: a drill"),
        (Operation.RESUME, Result.REFUSED, "paused by ann: a drill"),
        (Operation.GATE, Result.DONE, "paused by ann: a drill"),
        (Operation.RESUME, Result.DONE, ""),
    ):
        state.apply(after(state, Kind.OPERATION, receipt(operation, result)))
        assert state.paused == paused, (operation, result)


def test_a_pause_outlives_the_epoch_and_its_leader() -> None:
    """It is a decision about the pair, not about a node."""
    state = base()
    state.apply(record(Kind.OPERATION, receipt(Operation.PAUSE)))
    state.apply(after(state, Kind.EPOCH_CLOSED))
    state.apply(after(state, Kind.EPOCH_OPENED, epoch=3))
    assert state.paused == "paused by ann: a drill"


def test_the_newest_operations_are_known_by_their_ids() -> None:
    """So that a receipt that is told twice is logged once; what did not happen is known too."""
    state = base()
    for number in range(MAX_OPERATIONS_KNOWN + 2):
        result = (Result.DONE, Result.REFUSED, Result.UNKNOWN)[number % 3]
        state.apply(after(state, Kind.OPERATION, receipt(Operation.GATE, result, f"{number:x}")))
    assert list(state.operations) == [f"{number:x}" for number in range(2, number + 1)]


def test_what_operations_left_is_in_the_dump() -> None:
    state = base()
    state.apply(record(Kind.OPERATION, receipt(Operation.PAUSE)))
    state.apply(after(state, Kind.EPOCH_CLOSED))
    encoded = msgspec.msgpack.encode(state.dump())
    again = LogState.load(msgspec.msgpack.decode(encoded, type=LogDump))
    assert again.dump() == state.dump()
    assert (again.closed, again.paused) == (state.closed, state.paused)
    assert list(again.operations) == ["00ff"]
    with pytest.raises(RemoteError, match="closed before"):
        again.apply(after(again, Kind.TICK))


def test_an_opening_that_accepted_loss_is_marked_in_the_history() -> None:
    opened = EpochOpened(3, "a", Mode.SOLO, 11, "ann", "all is lost", "00ff", accepted_loss=True)
    taken = record(Kind.EPOCH_OPENED, msgspec.msgpack.encode(opened), epoch=3)
    state = base()
    state.apply(taken)
    assert state.history.last == Epoch(3, "a", Mode.SOLO, 11, taken.hash, True)
    assert state.history.last != Epoch(3, "a", Mode.SOLO, 11, taken.hash)


# History and compare --------------------------------------------------------------------------


def test_epochs_only_rise() -> None:
    history = History()
    assert history.number == 0
    assert history.last is None
    first = Epoch(2, "a", Mode.GATED, 1, 5)
    history.open(first)
    for wrong in (Epoch(2, "a", Mode.GATED, 9, 6), Epoch(3, "a", Mode.GATED, 1, 6)):
        with pytest.raises(LocalError, match="cannot follow"):
            history.open(wrong)
    assert history.epochs == [first]


E1 = Epoch(1, "a", Mode.GATED, 1, 101)
E2 = Epoch(2, "a", Mode.GATED, 11, 202)
E2_OF_B = Epoch(2, "b", Mode.GATED, 11, 999)
E3 = Epoch(3, "b", Mode.GATED, 21, 303)

AT_8, AT_15, AT_25 = Position(8, 8), Position(15, 15), Position(25, 25)


@pytest.mark.parametrize(
    ("ours", "our_last", "theirs", "their_last", "our_hash_there", "relation"),
    [
        # Two empty logs; one that is empty.
        ([], GENESIS, [], GENESIS, 0, Relation.SAME),
        ([E1], AT_8, [], GENESIS, 0, Relation.BEHIND),
        ([], GENESIS, [E1], AT_8, None, Relation.AHEAD),
        # Not longer than ours: the hash decides, whatever the epochs say.
        ([E1], AT_8, [E1], AT_8, 8, Relation.SAME),
        ([E1], AT_8, [E1], Position(8, 9), 8, Relation.DIVERGED),
        ([E1, E2], AT_15, [E1], AT_8, 8, Relation.BEHIND),
        ([E1, E2], AT_15, [E1], Position(8, 9), 8, Relation.DIVERGED),
        # No record of ours ends where theirs does: they cut it otherwise.
        ([E1, E2], AT_15, [E1], AT_8, None, Relation.DIVERGED),
        # Longer than ours: our newest epoch must be one of theirs, and reach beyond our end.
        ([E1], AT_8, [E1], AT_15, None, Relation.AHEAD),
        ([E1], AT_8, [E1, E2], AT_15, None, Relation.AHEAD),
        ([E1, E2], AT_15, [E1, E2, E3], AT_25, None, Relation.AHEAD),
        # A wrote 15 in epoch 1; B was promoted at 10: "25 > 15" does not make A a prefix of B.
        ([E1], AT_15, [E1, E2_OF_B, E3], AT_25, None, Relation.DIVERGED),
        # The same number, another opening.
        ([E1, E2], AT_15, [E1, E2_OF_B], AT_25, None, Relation.DIVERGED),
        # They never saw our newest epoch.
        ([E1, E2], AT_15, [E1, E3], AT_25, None, Relation.DIVERGED),
        ([E1, E2], AT_15, [E1], AT_25, None, Relation.DIVERGED),
        ([E1], AT_8, [], AT_25, None, Relation.DIVERGED),
        # We hold records but no epoch: no history of ours to find in theirs.
        ([], AT_8, [E1], AT_25, None, Relation.DIVERGED),
    ],
)
def test_how_their_log_stands_to_ours(
    ours: list[Epoch],
    our_last: Position,
    theirs: list[Epoch],
    their_last: Position,
    our_hash_there: int | None,
    relation: Relation,
) -> None:
    assert compare(History(ours), our_last, theirs, their_last, our_hash_there) is relation


def test_an_epoch_that_begins_right_after_our_end_is_ahead() -> None:
    """The border of the rule: the next epoch's first seq is our last plus one."""
    ours, theirs = History([E1]), [E1, E2]
    assert compare(ours, Position(10, 1), theirs, AT_25, None) is Relation.AHEAD
    assert compare(ours, Position(11, 1), theirs, AT_25, None) is Relation.DIVERGED


@pytest.mark.parametrize(
    ("ours", "our_last", "theirs", "their_last", "common"),
    [
        ([], 0, [], 0, 0),
        ([E1], 8, [], 0, 0),
        ([], 0, [E1], 8, 0),
        # In the same epoch the shorter log ends first.
        ([E1], 8, [E1], 5, 5),
        ([E1], 8, [E1], 8, 8),
        ([E1], 8, [E1], 15, 8),
        # One went on into an epoch that the other does not know: they part where it opened.
        ([E1, E2], 15, [E1], 8, 8),
        ([E1, E2], 15, [E1], 19, 10),
        ([E1], 19, [E1, E2], 15, 10),
        ([E1, E2], 15, [E1, E2_OF_B], 25, 10),
        ([E1, E2], 15, [E1, E3], 25, 10),
        ([E1, E2], 25, [E1, E2, E3], 30, 20),
        ([E1, E2, E3], 30, [E1, E2], 25, 20),
        # No epoch is shared: nothing is.
        ([E2], 15, [E2_OF_B], 15, 0),
    ],
)
def test_where_two_logs_part(
    ours: list[Epoch], our_last: int, theirs: list[Epoch], their_last: int, common: int
) -> None:
    assert common_seq(ours, our_last, theirs, their_last) == common
    assert common_seq(theirs, their_last, ours, our_last) == common


def test_what_lies_beyond_is_told_by_epoch() -> None:
    assert describe([E1, E2, E3], 15, 25) == [
        "epoch 2 (gated), led by a: seq 16 to 20",
        "epoch 3 (gated), led by b: seq 21 to 25",
    ]
    assert describe([E1, E2, E3], 25, 25) == []
    assert len(describe([E1, E2, E3], 0, 25)) == 3
