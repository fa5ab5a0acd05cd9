"""A real standby against a primary that breaks the protocol.

Nothing that is wrong may get into the journal; the standby says why, hangs up, and dials again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from interlock.cli.embedded import EmbeddedPair
from interlock.shared.epochs import EpochClosed, EpochOpened, Mode
from interlock.shared.errors import Reason
from interlock.shared.journal import JournalReader
from interlock.shared.limits import MAX_FRAME_BYTES, MAX_PAYLOAD_BYTES
from interlock.shared.messages import (
    LinkAck,
    LinkEngage,
    LinkFetch,
    LinkHello,
    LinkPromise,
    LinkPromised,
    LinkRecords,
    Refused,
)
from interlock.shared.wire import (
    GENESIS,
    Kind,
    Position,
    encode_messages,
    encode_record,
    pack_name,
)
from support.fakes import FakePrimary
from support.pair import (
    counted,
    key,
    pair_of,
    refused,
    status,
    wait_for,
    wait_for_state,
)


@pytest.fixture(scope="module")
def secondary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPair]:
    """A real standby alone."""
    with pair_of(
        tmp_path_factory.mktemp("secondary"), "b", link_timeout_ms=350, retain_bytes=1
    ) as pair:
        yield pair


@pytest.fixture(scope="module")
def fake(secondary: EmbeddedPair) -> Iterator[FakePrimary]:
    """A fake primary that has opened an epoch; the standby holds the record that opens it."""
    with FakePrimary(secondary) as made:
        made.open_epoch()
        assert made.promised().last == GENESIS
        made.stand()
        yield made


@pytest.fixture
def leader(fake: FakePrimary) -> FakePrimary:
    """The fake primary with a stream that stands at the end of its log."""
    fake.record(b"good")
    fake.stand()
    return fake


def made_record(leader: FakePrimary, **changes: object) -> bytes:
    """The next record as it could be, after `changes`; its hash is right, and it is in no log."""
    chain = leader.log.chain
    entry = leader.log.producers.get("p")
    assert entry is not None
    fields: dict[str, object] = {
        "kind": Kind.DATA,
        "epoch": chain.epoch,
        "seq": chain.last_seq + 1,
        "time_ns": chain.time_ns,
        "producer": pack_name("p"),
        "producer_seq": entry.last_producer_seq + 1,
        "count": 1,
        "payload": encode_messages([b"made"]),
        "prev_hash": chain.hash,
    }
    return encode_record(**{**fields, **changes})[0]  # type: ignore[arg-type]


def flipped(raw: bytes, offset: int) -> bytes:
    changed = bytearray(raw)
    changed[offset] ^= 1
    return bytes(changed)


def opening(leader: FakePrimary, epoch: int, **changes: object) -> bytes:
    """A record that opens `epoch`, after `changes` to what it says of that."""
    opened = EpochOpened(epoch, "a", Mode.GATED, leader.log.last_seq + 1, "", "")
    payload = msgspec.msgpack.encode(msgspec.structs.replace(opened, **changes))
    return made_record(leader, kind=Kind.EPOCH_OPENED, epoch=epoch, producer_seq=0, payload=payload)


def control(leader: FakePrimary, kind: Kind, payload: bytes = b"\x80") -> bytes:
    """The next record, of a kind of control."""
    return made_record(leader, kind=kind, producer_seq=0, payload=payload)


def closing(number: int) -> bytes:
    return msgspec.msgpack.encode(EpochClosed(number, "a", "b", True, "ann", "test", "00ff"))


def expect_refusal(secondary: EmbeddedPair, leader: FakePrimary, reason: Reason) -> None:
    """The standby says why, counts it, hangs up, and dials again from where it was."""
    answer = leader.next_of(Refused)
    assert answer.reason is reason
    assert answer.session == leader.session
    found = wait_for_state(secondary, "b", "ORPHANED", answer.text)
    assert found.watermarks.written_seq == leader.log.last_seq
    assert not found.link.up


BAD_RECORDS: dict[str, tuple[Callable[[FakePrimary], bytes], Reason]] = {
    "payload changed": (lambda a: flipped(made_record(a), -1), Reason.BAD_HASH),
    "time changed": (lambda a: flipped(made_record(a), 24), Reason.BAD_HASH),
    "hash changed": (lambda a: flipped(made_record(a), 64), Reason.BAD_HASH),
    "a good one, then a payload changed": (
        lambda a: made_record(a) + flipped(made_record(a), -1),
        Reason.BAD_HASH,
    ),
    "no magic": (lambda a: flipped(made_record(a), 0), Reason.MALFORMED),
    "another version": (lambda a: flipped(made_record(a), 2), Reason.WRONG_VERSION),
    "cut in the payload": (lambda a: made_record(a)[:-1], Reason.MALFORMED),
    "cut in the header": (lambda a: made_record(a)[:40], Reason.MALFORMED),
    "a byte too many": (lambda a: made_record(a) + b"\0", Reason.MALFORMED),
    "unknown kind": (lambda a: made_record(a, kind=99), Reason.MALFORMED),
    "no messages": (lambda a: made_record(a, count=0), Reason.BAD_COUNT),
    "too many messages": (lambda a: made_record(a, count=4097), Reason.BAD_COUNT),
    "two ticks in one": (lambda a: made_record(a, kind=Kind.TICK, count=2), Reason.BAD_COUNT),
    "too large": (lambda a: made_record(a, payload=bytes(MAX_PAYLOAD_BYTES + 1)), Reason.OVERSIZED),
    "a name that is not ASCII": (lambda a: made_record(a, producer=b"\xff" * 16), Reason.BAD_NAME),
    "a name with a space": (
        lambda a: made_record(a, producer=b"a b".ljust(16, b"\0")),
        Reason.BAD_NAME,
    ),
    "a seq left out": (lambda a: made_record(a, seq=a.log.last_seq + 2), Reason.GAP),
    "a seq again": (lambda a: made_record(a, seq=a.log.last_seq), Reason.GAP),
    "a seq far ahead": (lambda a: made_record(a, seq=2**64 - 1), Reason.GAP),
    "a producer_seq again": (lambda a: made_record(a, producer_seq=1), Reason.GAP),
    "a new producer that begins at 2": (
        lambda a: made_record(a, producer=pack_name("new"), producer_seq=2),
        Reason.GAP,
    ),
    "a producer_seq of 0": (lambda a: made_record(a, producer_seq=0), Reason.GAP),
    "an epoch that was not opened": (
        lambda a: made_record(a, epoch=a.log.history.number + 1),
        Reason.WRONG_EPOCH,
    ),
    "epoch 0": (lambda a: made_record(a, epoch=0), Reason.WRONG_EPOCH),
    "time runs back": (lambda a: made_record(a, time_ns=a.log.chain.time_ns - 1), Reason.MALFORMED),
    "an epoch opened twice": (lambda a: opening(a, 1), Reason.WRONG_EPOCH),
    "an opening that says another epoch": (lambda a: opening(a, 9, number=8), Reason.MALFORMED),
    "an opening that says another seq": (lambda a: opening(a, 9, first_seq=1), Reason.MALFORMED),
    "an opening that says nothing": (
        lambda a: made_record(a, kind=Kind.EPOCH_OPENED, epoch=9, payload=b"\x80"),
        Reason.MALFORMED,
    ),
    "a closing of another epoch": (
        lambda a: control(a, Kind.EPOCH_CLOSED, closing(a.log.history.number + 1)),
        Reason.MALFORMED,
    ),
    "a closing that says nothing": (lambda a: control(a, Kind.EPOCH_CLOSED), Reason.MALFORMED),
    "a receipt that says nothing": (lambda a: control(a, Kind.OPERATION), Reason.MALFORMED),
}


@pytest.mark.parametrize(("bad", "reason"), BAD_RECORDS.values(), ids=BAD_RECORDS)
def test_a_record_that_is_wrong_is_refused_and_not_written(
    secondary: EmbeddedPair,
    leader: FakePrimary,
    bad: Callable[[FakePrimary], bytes],
    reason: Reason,
) -> None:
    with counted(secondary, "b", key("link", reason)):
        leader.stream(bad(leader))
        expect_refusal(secondary, leader, reason)


def test_what_stands_before_a_gap_is_kept_and_the_rest_is_not(
    secondary: EmbeddedPair, leader: FakePrimary
) -> None:
    """Whole, checked records that continue the log are as good as any; they are not acknowledged
    in a session that has broken, but claimed by the next hello."""
    good = leader.record(b"kept")
    with counted(secondary, "b", key("link", Reason.GAP)):
        leader.stream(good, made_record(leader, seq=leader.log.last_seq + 5))
        expect_refusal(secondary, leader, Reason.GAP)


BAD_WORDS: dict[str, tuple[Callable[[FakePrimary], None], Reason]] = {
    "sent more than was sent": (lambda a: a.beat(last_seq=a.log.last_seq + 1), Reason.GAP),
    "a promise of the open epoch": (
        lambda a: a.tell(LinkPromise(a.session, a.log.history.number)),
        Reason.WRONG_EPOCH,
    ),
    "a promise of epoch 0": (lambda a: a.tell(LinkPromise(a.session, 0)), Reason.WRONG_EPOCH),
    "a gate that engages without a promise": (
        lambda a: a.tell(LinkEngage(a.session, a.log.history.number + 1, a.log.position)),
        Reason.WRONG_EPOCH,
    ),
    "a gate that engages in epoch 0": (
        lambda a: a.tell(LinkEngage(a.session, 0, GENESIS)),
        Reason.WRONG_EPOCH,
    ),
}


@pytest.mark.parametrize(("bad", "reason"), BAD_WORDS.values(), ids=BAD_WORDS)
def test_a_word_that_is_wrong_is_refused(
    secondary: EmbeddedPair,
    leader: FakePrimary,
    bad: Callable[[FakePrimary], None],
    reason: Reason,
) -> None:
    with counted(secondary, "b", key("link", reason)):
        bad(leader)
        expect_refusal(secondary, leader, reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"node": "c"}, Reason.WRONG_NODE),
        ({"epoch": 0}, Reason.WRONG_EPOCH),
        ({"common": GENESIS}, Reason.GAP),
        ({"common": Position(1, 1)}, Reason.GAP),
        ({"ack_level": "synced"}, Reason.WRONG_ACK_LEVEL),
    ],
)
def test_a_welcome_that_does_not_fit_is_refused(
    secondary: EmbeddedPair, fake: FakePrimary, change: dict[str, object], reason: Reason
) -> None:
    hello = fake.accept()
    with counted(secondary, "b", key("link", reason)):
        fake.welcome(hello, **change)
        expect_refusal(secondary, fake, reason)


def test_records_before_a_welcome_are_refused(secondary: EmbeddedPair, fake: FakePrimary) -> None:
    fake.accept()
    with counted(secondary, "b", key("link", Reason.NO_SESSION)):
        fake.stream(made_record(fake))
        expect_refusal(secondary, fake, Reason.NO_SESSION)


def test_a_refusal_by_the_primary_is_shown_and_answered_by_dialling(
    secondary: EmbeddedPair, fake: FakePrimary
) -> None:
    hello = fake.accept()
    fake.tell(Refused(Reason.NOT_PRIMARY, "come back later", hello.session))
    wait_for_state(secondary, "b", "ORPHANED", "the primary a refused: come back later")
    assert fake.accept().session > hello.session


def test_what_is_no_message_or_of_no_session_does_not_touch_the_stream(
    secondary: EmbeddedPair, leader: FakePrimary
) -> None:
    """Nobody can answer it: it is counted, and the stream goes on."""
    stale = status(secondary, "b").counters.get("stale-link-messages", 0)
    with counted(secondary, "b", key("link", Reason.MALFORMED), 5):
        leader.tell(b"")
        leader.tell(b"\xc1L\x01")
        leader.tell(b"two", b"frames")
        leader.tell(LinkHello(1, "", "b", 1, 1, [], GENESIS, 0, 0))
        leader.tell(b"\x91" * 100_000)
    for message in (
        LinkRecords(leader.session - 1, 0, memoryview(made_record(leader))),
        LinkPromise(leader.session - 1, 50),
        Refused(Reason.DIFFERENT_HISTORY, "not for you", 0),
    ):
        leader.tell(message)
    leader.stream(leader.record(b"still here"))
    leader.await_ack()
    found = status(secondary, "b")
    assert found.counters["stale-link-messages"] == stale + 3
    assert (found.state, found.promised_epoch) == ("IN_SYNC", leader.log.history.number)


def test_a_frame_above_the_bound_breaks_the_stream_and_the_standby_dials_again(
    secondary: EmbeddedPair, leader: FakePrimary
) -> None:
    session = leader.session
    leader.tell(bytes(MAX_FRAME_BYTES + 1))
    assert leader.accept().session > session


def test_a_fetch_from_before_the_retained_log_is_refused(
    secondary: EmbeddedPair, leader: FakePrimary
) -> None:
    """A primary that lost everything asks for the log from its beginning, which is pruned: the
    standby used to end with an error."""
    for _ in range(8):
        leader.stream(leader.record(*[bytes(65_000)] * 16), released_seq=leader.log.last_seq)
        leader.await_ack()
        leader.beat(released_seq=leader.log.last_seq)

    def pruned() -> bool:
        leader.beat(released_seq=leader.log.last_seq)
        return status(secondary, "b").journal.first_seq > 1

    wait_for("the standby to prune its journal", pruned)
    with counted(secondary, "b", key("link", Reason.NOT_RETAINED)):
        leader.tell(LinkFetch(leader.session, GENESIS))
        expect_refusal(secondary, leader, Reason.NOT_RETAINED)


def test_the_standby_that_was_lied_to_holds_the_log_and_nothing_else(
    secondary: EmbeddedPair, leader: FakePrimary
) -> None:
    """The journal on its disk, read by other eyes, is what the fake primary has sequenced."""
    reader = JournalReader(secondary.config.data_dir("b"))
    *_, last = reader.records()
    assert last.position == leader.log.position
    found = status(secondary, "b")
    assert (found.incarnation, found.producers_known) == (1, 1)


@pytest.mark.parametrize(
    ("say", "told"),
    [
        (lambda a: a.stream(made_record(a, prev_hash=1)), "continues another history"),
        (lambda a: a.tell(LinkFetch(a.session, Position(a.log.last_seq, 1))), "the logs differ"),
        (lambda a: a.tell(LinkFetch(a.session, Position(2**64 - 1, 1))), "the logs differ"),
        (
            lambda a: a.tell(Refused(Reason.DIFFERENT_HISTORY, "not mine", a.session)),
            "the primary a refused: not mine",
        ),
    ],
    ids=["a record", "a fetch", "a fetch far beyond", "a refusal"],
)
def test_another_history_stops_the_standby_until_somebody_looks(
    tmp_path: Path, say: Callable[[FakePrimary], None], told: str
) -> None:
    """It refuses, writes nothing, and does not dial again by itself: dialling cannot mend it."""
    with pair_of(tmp_path, "b", link_timeout_ms=300) as pair, FakePrimary(pair) as leader:
        leader.open_epoch()
        leader.record(b"first")
        leader.stand()
        say(leader)
        found = wait_for_state(pair, "b", "DIVERGED", told)
        assert found.watermarks.written_seq == 2
        assert refused(pair, "b", key("link", Reason.DIFFERENT_HISTORY)) == (
            0 if "refused" in told else 1
        )
        dials = found.counters["dials"]

        def dialling_was_due() -> bool:
            now = status(pair, "b")
            return now.time_ns - now.state_since_ns > 700_000_000

        wait_for("some time-outs to pass", dialling_was_due)
        assert status(pair, "b").counters["dials"] == dials


def test_behind_a_primary_in_solo_a_standby_is_no_candidate_until_the_gate_engages(
    tmp_path: Path,
) -> None:
    """It holds all that was sent, and still lacks what is released next. Once it has promised the
    gated epoch, nothing is acknowledged until that one is open: an ack would be of the old one."""
    with pair_of(tmp_path, "b", link_timeout_ms=3_000) as pair, FakePrimary(pair) as leader:
        leader.open_epoch()
        leader.stand()
        assert wait_for_state(pair, "b", "IN_SYNC").promotable
        leader.tell(Refused(Reason.NO_SESSION, "dial again", leader.session))
        leader.welcome(leader.accept(), target=None)
        found = wait_for_state(pair, "b", "CATCHING_UP", "in solo")
        assert not found.promotable
        assert "in solo" in found.doubt
        number = leader.log.history.number + 1
        leader.tell(LinkPromise(leader.session, number))
        assert leader.next_of(LinkPromised).epoch == number
        leader.tell(LinkPromise(leader.session, number))
        assert leader.next_of(LinkPromised).epoch == number, "asked again, it says so again"
        leader.stream(leader.open_epoch())
        wait_for(
            "the opening to be written",
            lambda: status(pair, "b").watermarks.written_seq == leader.log.last_seq,
        )
        assert not status(pair, "b").promotable
        leader.tell(LinkEngage(leader.session, number, leader.log.position))
        first = leader.next_of(LinkAck)
        assert (first.epoch, first.last) == (number, leader.log.position)
        found = wait_for_state(pair, "b", "IN_SYNC")
        assert (found.promotable, found.doubt, found.epoch) == (True, "", number)
