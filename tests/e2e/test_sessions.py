"""Producers that lie, stumble, come back or share a name, on a running pair.

Each test has names of its own. After it a good message is confirmed and delivered by the same two
processes, and both journals are the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from interlock import Consumer
from interlock.cli.embedded import EmbeddedPair
from interlock.shared.errors import Reason
from interlock.shared.limits import MAX_PAYLOAD_BYTES, MAX_RECORD_MESSAGES
from interlock.shared.messages import (
    PROTOCOL_VERSION,
    Codec,
    Confirmed,
    IntakeReply,
    Message,
    ProducerBye,
    ProducerHello,
    ProducerPing,
    ProducerPong,
    ProducerWelcome,
    Refused,
    Submit,
)
from interlock.shared.producers import Run
from interlock.shared.wire import encode_messages
from support.pair import PATIENCE_S, Raw, assert_serves, counted, key, pair_of, status

_replies: Codec[IntakeReply] = Codec(IntakeReply)
pack = msgspec.msgpack.encode


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPair]:
    with pair_of(tmp_path_factory.mktemp("pair")) as started:
        yield started


@pytest.fixture(autouse=True)
def _the_pair_goes_on(pair: EmbeddedPair) -> Iterator[None]:
    yield
    assert_serves(pair)


class Talker(Raw):
    """A producer by hand: one connection, whatever is said on it."""

    def __init__(self, pair: EmbeddedPair) -> None:
        super().__init__(pair.config.node("a").intake)

    def ask(self, request: bytes | Message) -> IntakeReply:
        self.send(request)
        return self.reply()

    def reply(self) -> IntakeReply:
        reply: IntakeReply = self.receive(_replies)
        return reply

    def hello(self, name: str, session: int, *, resume: bool = False) -> IntakeReply:
        return self.ask(ProducerHello(PROTOCOL_VERSION, "", name, session, resume))

    def welcomed(self, name: str, session: int, *, resume: bool = False) -> ProducerWelcome:
        welcome = self.hello(name, session, resume=resume)
        assert isinstance(welcome, ProducerWelcome), welcome
        return welcome

    def submit(self, session: int, number: int, *bodies: bytes, attempt: int = 1) -> list[Run]:
        """Submits and waits until all of it is confirmed; the runs that confirmed it, in order."""
        self.send(submission(session, number, *bodies, attempt=attempt))
        runs: list[Run] = []
        while sum(run.count for run in runs) < len(bodies):
            reply = self.reply()
            assert isinstance(reply, Confirmed), reply
            runs += reply.runs
        return runs


def submission(
    session: int,
    number: int,
    *bodies: bytes,
    attempt: int = 1,
    count: int | None = None,
    payload: bytes | None = None,
) -> Submit:
    if payload is None:
        payload = encode_messages(bodies)
    return Submit(
        session, attempt, number, len(bodies) if count is None else count, msgspec.Raw(payload)
    )


def refusal(reply: IntakeReply, reason: Reason) -> Refused:
    assert isinstance(reply, Refused), reply
    assert reply.reason is reason
    assert reply.text
    return reply


# Submissions that are none --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "reason", "told"),
    [
        (submission(7, 1, b"x", b"y", count=3), Reason.BAD_COUNT, "counts 3 messages and holds 2"),
        (submission(7, 1, b"x", b"y", count=1), Reason.BAD_COUNT, "counts 1 messages and holds 2"),
        (submission(7, 1, count=1), Reason.BAD_COUNT, "holds 0"),
        (submission(7, 1, count=1, payload=pack(["text"])), Reason.MALFORMED, "byte strings"),
        (submission(7, 1, count=1, payload=pack([[b"x"]])), Reason.MALFORMED, "byte strings"),
        (submission(7, 1, count=1, payload=pack({"x": b"x"})), Reason.MALFORMED, "byte strings"),
        (submission(7, 1, count=1, payload=pack(b"x")), Reason.MALFORMED, "byte strings"),
        (submission(7, 1, count=1, payload=pack(None)), Reason.MALFORMED, "byte strings"),
        (submission(7, 1, count=2, payload=pack([b"x", 1])), Reason.MALFORMED, "byte strings"),
        (submission(7, 1, b"x" * 65_537), Reason.OVERSIZED, "limits.max_message_bytes is 65536"),
        (submission(7, 1, *[b"x" * 65_536] * 16), Reason.OVERSIZED, "1048576 are allowed"),
    ],
)
def test_a_submission_that_lies_is_refused_and_a_true_one_is_taken(
    pair: EmbeddedPair, bad: Submit, reason: Reason, told: str
) -> None:
    """Nothing of it gets a number or a seq: the same number is still free for the true one."""
    with Talker(pair) as talker:
        accepted = talker.welcomed("liar", 7).accepted_producer_seq
        bad = msgspec.structs.replace(bad, producer_seq=accepted + 1)
        with counted(pair, "a", key("intake", reason)):
            reply = refusal(talker.ask(bad), reason)
            assert told in reply.text
            assert (reply.session, reply.attempt) == (7, 1)
        (run,) = talker.submit(7, accepted + 1, b"true")
        assert (run.producer_seq, run.count) == (accepted + 1, 1)
        talker.send(ProducerBye(7))


@pytest.mark.parametrize(
    "bad",
    [
        submission(7, 1, count=0),
        submission(7, 1, b"x", count=MAX_RECORD_MESSAGES + 1),
        submission(7, 1, b"x", count=-1),
        submission(7, 0, b"x"),
        submission(7, 2**62, b"x"),
        submission(7, 1, b"x", payload=encode_messages([b"x"]) + b"\0"),
        submission(7, 1, b"x", payload=b""),
        submission(7, 1, b"x", payload=encode_messages([b"x"])[:-1]),
    ],
)
def test_what_breaks_the_message_itself_is_malformed(pair: EmbeddedPair, bad: Submit) -> None:
    """The node cannot even tell whose it is: the refusal names no session."""
    with Talker(pair) as talker:
        accepted = talker.welcomed("breaker", 7).accepted_producer_seq
        with counted(pair, "a", key("intake", Reason.MALFORMED)):
            assert refusal(talker.ask(bad), Reason.MALFORMED).session == 0
        talker.submit(7, accepted + 1, b"whole")
        talker.send(ProducerBye(7))


def test_what_is_at_a_bound_is_taken(pair: EmbeddedPair) -> None:
    """As many messages, as large a message and as large a record as there may be."""
    most = [b"%d" % number for number in range(MAX_RECORD_MESSAGES)]
    largest = [b"x" * 65_536] * 15 + [b"y" * 65_000]
    filler = MAX_PAYLOAD_BYTES - len(encode_messages([*largest, b"z" * 300]))
    largest.append(b"z" * (300 + filler))
    assert len(encode_messages(largest)) == MAX_PAYLOAD_BYTES
    with Talker(pair) as talker:
        talker.welcomed("bounds", 8)
        first = talker.submit(8, 1, *most)[0].seq
        talker.submit(8, 1 + len(most), *largest)
        last = talker.submit(8, 1 + len(most) + len(largest), b"", b"last")[0].seq + 1
        talker.send(ProducerBye(8))
    taken: list[bytes] = []
    with Consumer(pair.config, from_seq=first) as consumer:
        while (message := consumer.next(PATIENCE_S)).seq < last:
            taken.append(message.body)
    taken.append(message.body)
    assert taken[len(most) : -2] == largest
    assert taken[: len(most)] == most
    assert taken[-2:] == [b"", b"last"]


def test_after_a_refusal_in_a_pipeline_the_rest_is_a_gap(pair: EmbeddedPair) -> None:
    """Three records are under way and the second is bad: the third must not take its place."""
    with Talker(pair) as talker:
        talker.welcomed("pipeline", 9)
        talker.send(submission(9, 1, b"one", attempt=4))
        talker.send(submission(9, 2, b"two", count=2, attempt=4))
        talker.send(submission(9, 3, b"three", attempt=4))
        replies = [talker.reply() for _ in range(3)]
        confirmed = [reply for reply in replies if isinstance(reply, Confirmed)]
        lie, gap = (reply for reply in replies if isinstance(reply, Refused))
        assert refusal(lie, Reason.BAD_COUNT).attempt == 4
        assert (refusal(gap, Reason.GAP).expected, gap.attempt) == (2, 4)
        talker.submit(9, 2, b"two", b"three", attempt=5)
        assert len(confirmed) == 1


# Numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [2, 1_000, 2**61])
def test_a_gap_in_the_numbers_is_refused_with_the_expected_one(
    pair: EmbeddedPair, number: int
) -> None:
    with Talker(pair) as talker, counted(pair, "a", key("intake", Reason.GAP)):
        expected = talker.welcomed("gap", 10).accepted_producer_seq + 1
        reply = refusal(talker.ask(submission(10, expected + number, b"x")), Reason.GAP)
        assert reply.expected == expected
        assert f"{expected} was expected" in reply.text
        talker.submit(10, expected, b"x")
        talker.send(ProducerBye(10))


def test_a_stale_duplicate_is_confirmed_with_the_seq_that_it_has(pair: EmbeddedPair) -> None:
    duplicates = status(pair, "a").counters.get("duplicates", 0)
    with Talker(pair) as talker:
        talker.welcomed("stale", 11)
        seqs = [talker.submit(11, number, b"%d" % number)[0].seq for number in (1, 2, 3)]
        for number, seq in zip((1, 2, 3), seqs, strict=True):
            assert talker.submit(11, number, b"%d" % number) == [Run(number, seq, 1)]
        assert talker.submit(11, 2, b"other bytes, same number") == [Run(2, seqs[1], 1)]
        assert talker.submit(11, 4, b"4")[0].seq > seqs[2]
    assert status(pair, "a").counters["duplicates"] == duplicates + 4
    with Consumer(pair.config, from_seq=seqs[0]) as consumer:
        messages = [consumer.next(PATIENCE_S) for _ in range(4)]
    assert [message.body for message in messages] == [b"1", b"2", b"3", b"4"]


def test_of_an_overlap_only_the_new_part_is_sequenced(pair: EmbeddedPair) -> None:
    with Talker(pair) as talker:
        talker.welcomed("overlap", 12)
        (old,) = talker.submit(12, 1, b"1", b"2", b"3")
        runs = talker.submit(12, 2, b"2", b"3", b"4", b"5")
        assert [(run.producer_seq, run.count) for run in runs] == [(2, 2), (4, 2)]
        assert runs[0].seq == old.seq + 1
        assert runs[1].seq > old.seq + 2
    with Consumer(pair.config, from_seq=old.seq) as consumer:
        messages = [consumer.next(PATIENCE_S) for _ in range(5)]
    assert [message.body for message in messages] == [b"1", b"2", b"3", b"4", b"5"]
    assert [message.producer_seq for message in messages] == [1, 2, 3, 4, 5]


# Sessions -------------------------------------------------------------------------------------


def test_a_newer_session_takes_the_name_over_and_the_older_is_told(pair: EmbeddedPair) -> None:
    """The older one may not submit, ping, or come back; the newer one goes on with its numbers."""
    with Talker(pair) as older, Talker(pair) as newer:
        older.welcomed("shared", 21)
        older.submit(21, 1, b"of the older")
        assert newer.welcomed("shared", 22).accepted_producer_seq == 1
        told = refusal(older.reply(), Reason.TAKEN_OVER)
        assert told.session == 21
        assert "shared" in told.text
        for request in (submission(21, 2, b"late"), ProducerPing(21), ProducerBye(21)):
            with counted(pair, "a", key("intake", Reason.NO_SESSION)):
                refusal(older.ask(request), Reason.NO_SESSION)
        with counted(pair, "a", key("intake", Reason.TAKEN_OVER)):
            refusal(older.hello("shared", 21, resume=True), Reason.TAKEN_OVER)
        (run,) = newer.submit(22, 2, b"of the newer")
        assert isinstance(newer.ask(ProducerPing(22)), ProducerPong)
    with Consumer(pair.config, from_seq=run.seq - 1) as consumer:
        bodies = [consumer.next(PATIENCE_S).body for _ in range(2)]
    assert bodies == [b"of the older", b"of the newer"]


def test_a_session_goes_on_over_a_new_connection(pair: EmbeddedPair) -> None:
    """Resumed elsewhere, it is the same session; its old connection is forgotten, and the answers
    go to the new one."""
    with Talker(pair) as before, Talker(pair) as after:
        before.welcomed("moving", 23)
        before.submit(23, 1, b"one")
        assert after.welcomed("moving", 23, resume=True).accepted_producer_seq == 1
        refusal(before.ask(submission(23, 2, b"two")), Reason.NO_SESSION)
        after.submit(23, 2, b"two")
        assert before.frames(0) is None


def test_two_names_on_one_connection_are_one_at_a_time(pair: EmbeddedPair) -> None:
    """A connection has one session; a hello as somebody else ends the one before."""
    with Talker(pair) as talker, Talker(pair) as other:
        talker.welcomed("first", 31)
        talker.submit(31, 1, b"x")
        talker.welcomed("second", 32)
        refusal(talker.ask(submission(31, 2, b"y")), Reason.NO_SESSION)
        talker.submit(32, 1, b"x")
        assert talker.welcomed("first", 31, resume=True).accepted_producer_seq == 1
        talker.submit(31, 2, b"y")
        refusal(talker.ask(ProducerPing(32)), Reason.NO_SESSION)
        # A session that stands on another connection comes to this one.
        other.welcomed("third", 33)
        talker.welcomed("third", 33, resume=True)
        talker.submit(33, 1, b"x")
        talker.welcomed("first", 31, resume=True)
        talker.submit(31, 3, b"z")


def test_a_goodbye_ends_the_session_and_frees_the_name(pair: EmbeddedPair) -> None:
    with Talker(pair) as one, Talker(pair) as two:
        one.welcomed("leaver", 41)
        one.submit(41, 1, b"x")
        one.send(ProducerBye(41))
        refusal(one.ask(ProducerPing(41)), Reason.NO_SESSION)
        two.welcomed("leaver", 42, resume=True)
        two.submit(42, 2, b"y")
        assert one.frames(0) is None


def test_two_producers_side_by_side_do_not_mix(pair: EmbeddedPair) -> None:
    with Talker(pair) as one, Talker(pair) as two:
        one.welcomed("one", 51)
        two.welcomed("two", 51)  # session numbers are drawn by clients: equal ones do no harm
        for number in range(1, 21):
            one.send(submission(51, number, b"one %d" % number))
            two.send(submission(51, number, b"two %d" % number))
        seqs = []
        for talker in (one, two):
            runs: list[Run] = []
            while not runs or runs[-1].producer_seq + runs[-1].count <= 20:
                reply = talker.reply()
                assert isinstance(reply, Confirmed)
                runs += reply.runs
            assert [n for r in runs for n in range(r.producer_seq, r.producer_seq + r.count)] == [
                *range(1, 21)
            ]
            seqs.append([seq for run in runs for seq in range(run.seq, run.seq + run.count)])
    assert not set(seqs[0]) & set(seqs[1])
    with Consumer(pair.config, from_seq=min(seqs[0] + seqs[1])) as consumer:
        found = {
            message.seq: message.body for message in (consumer.next(PATIENCE_S) for _ in range(40))
        }
    for name, own in zip((b"one", b"two"), seqs, strict=True):
        for number, seq in enumerate(own, 1):
            assert found[seq] == b"%s %d" % (name, number)
