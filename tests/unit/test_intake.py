"""Intake: sessions, validity and exactly-once, without sockets; and the splitting of runs against
a naive twin."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.primary import intake as intake_module
from interlock.primary.intake import Fresh, Intake, Known, Refusal, Session, split_runs
from interlock.shared.config import Limits
from interlock.shared.errors import Reason, RemoteError
from interlock.shared.events import FromProducer
from interlock.shared.limits import MAX_PAYLOAD_BYTES, MAX_PRODUCER_RECORDS
from interlock.shared.messages import (
    PROTOCOL_VERSION,
    Confirmed,
    ProducerBye,
    ProducerHello,
    ProducerWelcome,
    Submit,
)
from interlock.shared.producers import ProducerTable, Run
from interlock.shared.wire import decode_messages, encode_messages
from support.world import World

CLUSTER = str(UUID(int=7))


@pytest.fixture
def table() -> ProducerTable:
    return ProducerTable()


@pytest.fixture
def intake(table: ProducerTable) -> Intake:
    return Intake(CLUSTER, Limits(max_message_bytes=100), table)


def hello(name: str = "p", session: int = 1, **changes: object) -> ProducerHello:
    made = ProducerHello(PROTOCOL_VERSION, CLUSTER, name, session, False)
    return msgspec.structs.replace(made, **changes)


def submit(number: int, *bodies: bytes, count: int | None = None) -> Submit:
    size = len(bodies) if count is None else count
    return Submit(1, 0, number, size, msgspec.Raw(encode_messages(bodies)))


def take(_producer: str, _size: int) -> Refusal | None:
    return None


def refuse(reason: Reason) -> Callable[[str, int], Refusal | None]:
    return lambda _producer, _size: Refusal(reason, "not now")


def reason_of(act: Callable[[], object]) -> Reason:
    with pytest.raises(RemoteError) as caught:
        act()
    assert caught.value.text
    return caught.value.reason


# Hello ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": 0}, Reason.WRONG_VERSION),
        ({"version": PROTOCOL_VERSION - 1}, Reason.WRONG_VERSION),
        ({"version": PROTOCOL_VERSION + 1}, Reason.WRONG_VERSION),
        ({"cluster": "another"}, Reason.WRONG_CLUSTER),
        ({"producer": ""}, Reason.BAD_NAME),
        ({"producer": "seventeen-letters"}, Reason.BAD_NAME),
        ({"producer": "a b"}, Reason.BAD_NAME),
        ({"producer": "ä"}, Reason.BAD_NAME),
        ({"producer": "a\0"}, Reason.BAD_NAME),
    ],
)
def test_a_hello_that_does_not_fit_makes_no_session(
    intake: Intake, changes: dict[str, object], reason: Reason
) -> None:
    assert reason_of(lambda: intake.hello(b"s", hello(**changes))) is reason
    assert intake.sessions() == []
    assert reason_of(lambda: intake.find(b"s", 1)) is Reason.NO_SESSION


def test_a_hello_without_a_cluster_fits_any(intake: Intake) -> None:
    session, older = intake.hello(b"s", hello(cluster=""))
    assert intake.find(b"s", 1) is session
    assert older is None


def test_the_newer_session_takes_over_and_a_resumed_one_never_does(intake: Intake) -> None:
    first, _ = intake.hello(b"s", hello(session=1))
    second, older = intake.hello(b"t", hello(session=2))
    assert older is first
    assert intake.of("p") is second
    assert reason_of(lambda: intake.find(b"s", 1)) is Reason.NO_SESSION
    assert reason_of(lambda: intake.hello(b"s", hello(session=1, resume=True))) is Reason.TAKEN_OVER
    assert intake.find(b"t", 2) is second


def test_a_session_resumes_on_another_connection(intake: Intake) -> None:
    session, _ = intake.hello(b"s", hello())
    assert intake.hello(b"t", hello(resume=True)) == (session, None)
    assert session.sender == b"t"
    assert intake.find(b"t", 1) is session
    assert reason_of(lambda: intake.find(b"s", 1)) is Reason.NO_SESSION


def test_a_repeated_hello_changes_nothing(intake: Intake) -> None:
    session, _ = intake.hello(b"s", hello())
    assert intake.hello(b"s", hello()) == (session, None)
    assert intake.hello(b"s", hello(resume=True)) == (session, None)
    assert intake.sessions() == [session]


def test_a_goodbye_frees_the_name(intake: Intake) -> None:
    session, _ = intake.hello(b"s", hello())
    intake.bye(session)
    assert intake.sessions() == []
    again, older = intake.hello(b"t", hello(session=2, resume=True))
    assert older is None
    assert intake.of("p") is again


def test_known_names_are_bounded(
    intake: Intake, table: ProducerTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of the log and of sessions count, each once; a name that is known is always let in."""
    monkeypatch.setattr(intake_module, "MAX_PRODUCERS", 3)
    table.append("logged", 1, 1, 1)
    intake.hello(b"s", hello("one"))
    intake.hello(b"t", hello("logged"))
    intake.hello(b"u", hello("two"))
    assert reason_of(lambda: intake.hello(b"v", hello("three"))) is Reason.TOO_MANY
    intake.hello(b"v", hello("logged", 2))
    intake.hello(b"w", hello("one", 2))


actions = st.lists(
    st.tuples(st.sampled_from("stu"), st.sampled_from("abc"), st.integers(1, 3), st.booleans()),
    max_size=30,
)


@given(actions)
def test_a_name_and_a_connection_have_one_session_each(
    script: list[tuple[str, str, int, bool]],
) -> None:
    """After any hellos: each session is found by its connection, and no connection or name twice.

    A session that only one of the two tables knew was told to say hello, welcomed, and told again.
    """
    intake = Intake(CLUSTER, Limits(), ProducerTable())
    for connection, name, number, resume in script:
        sender = connection.encode()
        try:
            session, _ = intake.hello(sender, hello(name, number, resume=resume))
        except RemoteError:
            assert resume  # of a session that a newer one has taken over
        else:
            assert intake.find(sender, number) is session is intake.of(name)
        sessions = intake.sessions()
        assert len({one.sender for one in sessions}) == len(sessions)
        assert len({one.name for one in sessions}) == len(sessions)
        for one in sessions:
            assert intake.find(one.sender, one.session) is one


# Submit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (submit(1, b"x", count=2), Reason.BAD_COUNT),
        (submit(1, b"x", b"y", count=1), Reason.BAD_COUNT),
        (submit(1, count=1), Reason.BAD_COUNT),
        (submit(1, b"x" * 101), Reason.OVERSIZED),
        (submit(1, *[b"x" * 100] * 10_500, count=4096), Reason.OVERSIZED),
        (Submit(1, 0, 1, 1, msgspec.Raw(b"\x91\xa1x")), Reason.MALFORMED),
        (Submit(1, 0, 1, 1, msgspec.Raw(b"\xc0")), Reason.MALFORMED),
        (Submit(1, 0, 1, 1, msgspec.Raw(b"\x91\xc4\x01x\0")), Reason.MALFORMED),
        (submit(2, b"x"), Reason.GAP),
    ],
)
def test_a_bad_submission_is_refused_whole(intake: Intake, bad: Submit, reason: Reason) -> None:
    session, _ = intake.hello(b"s", hello())
    assert reason_of(lambda: intake.submit(session, bad, 0, take)) is reason


def test_a_fresh_submission_keeps_its_bytes(intake: Intake) -> None:
    """Also when they are not the shortest encoding: what was hashed by nobody yet is not ours to
    change, and re-encoding costs."""
    session, _ = intake.hello(b"s", hello())
    long_form = b"\xdd\0\0\0\x01\xc6\0\0\0\x01x"
    known, fresh = intake.submit(session, Submit(1, 0, 1, 1, msgspec.Raw(long_form)), 0, take)
    assert known is None
    assert isinstance(fresh, Fresh)
    assert bytes(fresh.payload) == long_form
    assert (fresh.producer_seq, fresh.count) == (1, 1)


def test_of_an_overlap_the_rest_is_fresh(intake: Intake, table: ProducerTable) -> None:
    session, _ = intake.hello(b"s", hello())
    table.append("p", 1, 10, 3)
    known, fresh = intake.submit(session, submit(2, b"2", b"3", b"4", b"5"), 99, take)
    assert isinstance(known, Known)
    assert (known.first, known.last, known.runs) == (2, 3, [Run(2, 11, 2)])
    assert isinstance(fresh, Fresh)
    assert (fresh.producer_seq, fresh.count) == (4, 2)
    assert decode_messages(bytes(fresh.payload)) == [b"4", b"5"]


@given(
    st.lists(st.integers(1, 5), max_size=6),
    st.integers(1, 30),
    st.integers(1, 12),
    st.integers(0, 60),
)
def test_a_submission_is_cut_at_what_is_known(
    earlier: list[int], first: int, count: int, released_seq: int
) -> None:
    """Twin: a dict with the seq of each number that is in the log, and one body for each number."""
    table = ProducerTable()
    intake = Intake(CLUSTER, Limits(max_message_bytes=100), table)
    session, _ = intake.hello(b"s", hello())
    places: dict[int, int] = {}
    for size in earlier:
        seq = 10 + 2 * len(places)  # others submit in between
        table.append("p", len(places) + 1, seq, size)
        places |= {len(places) + 1 + index: seq + index for index in range(size)}
    numbers = range(first, first + count)
    submission = submit(first, *(b"%d" % number for number in numbers))
    if first > len(places) + 1:
        assert (
            reason_of(lambda: intake.submit(session, submission, released_seq, take)) is Reason.GAP
        )
        return
    known, fresh = intake.submit(session, submission, released_seq, take)
    said = {
        run.producer_seq + index: run.seq + index
        for run in (known.runs if known else [])
        for index in range(run.count)
    }
    assert {number: said[number] for number in numbers if number in places} == {
        number: seq for number, seq in places.items() if number in numbers
    }
    new = [number for number in numbers if number not in places]
    if fresh is None:
        assert not new
        return
    assert (fresh.producer_seq, fresh.count) == (new[0], len(new))
    assert decode_messages(bytes(fresh.payload)) == [b"%d" % number for number in new]


def test_what_is_known_is_answered_even_when_nothing_is_taken(
    intake: Intake, table: ProducerTable
) -> None:
    session, _ = intake.hello(b"s", hello())
    table.append("p", 1, 10, 3)
    known, fresh = intake.submit(session, submit(1, b"1", b"2"), 99, refuse(Reason.BUSY))
    assert fresh is None
    assert known is not None
    assert known.runs == [Run(1, 10, 2)]
    with pytest.raises(Refusal) as caught:
        intake.submit(session, submit(3, b"3", b"4"), 99, refuse(Reason.DISK_FULL))
    assert (caught.value.reason, caught.value.expected) == (Reason.DISK_FULL, 4)


def test_what_the_table_has_forgotten_is_a_run_without_a_seq(
    intake: Intake, table: ProducerTable
) -> None:
    session, _ = intake.hello(b"s", hello())
    for number in range(1, MAX_PRODUCER_RECORDS + 6):
        table.append("p", number, 100 + number, 1)
    known, _ = intake.submit(session, submit(4, b"4", b"5", b"6", b"7"), 999, take)
    assert known is not None
    assert known.runs == [Run(4, 0, 2), Run(6, 106, 1), Run(7, 107, 1)]


def test_no_record_is_forgotten_before_it_is_released(intake: Intake, table: ProducerTable) -> None:
    """The table is full of what is not released: one more would push the first one out."""
    session, _ = intake.hello(b"s", hello())
    for number in range(1, MAX_PRODUCER_RECORDS + 1):
        table.append("p", number, number, 1)
    more = submit(MAX_PRODUCER_RECORDS + 1, b"x")
    assert reason_of(lambda: intake.submit(session, more, 0, take)) is Reason.BUSY
    _, fresh = intake.submit(session, more, 1, take)
    assert fresh is not None


def test_the_largest_payload_is_taken(table: ProducerTable) -> None:
    intake = Intake(CLUSTER, Limits(max_message_bytes=MAX_PAYLOAD_BYTES - 8), table)
    session, _ = intake.hello(b"s", hello())
    body = b"x" * (MAX_PAYLOAD_BYTES - 6)
    assert len(encode_messages([body])) == MAX_PAYLOAD_BYTES
    intake.submit(session, submit(1, body[:-2]), 0, take)
    assert reason_of(lambda: intake.submit(session, submit(1, body), 0, take)) is Reason.OVERSIZED


# What is submitted again before it is released ------------------------------------------------


def test_a_producer_that_leaves_and_comes_back_is_not_confirmed_early() -> None:
    """In a stall a producer has submitted all that it may, says goodbye, and comes back: its count
    of unconfirmed records began anew, the table forgot the first ones to make room for more, and
    what it had forgotten it called released long ago. Nothing of it was released."""
    world = World().start()
    world.hello("p", 1)
    world.cut()
    world.settle(2_000)
    for number in range(1, MAX_PRODUCER_RECORDS + 1):
        world.submit(1, number, b"x")
    world.turn(world.a)
    world.primary.handle(FromProducer(b"1", ProducerBye(1)), world.now, world.wall)
    world.hello("p", 2)
    for number in range(MAX_PRODUCER_RECORDS + 1, MAX_PRODUCER_RECORDS + 100):
        world.submit(2, number, b"x")
    world.turn(world.a)
    welcome = world.hello("p", 2, resume=True)
    assert isinstance(welcome, ProducerWelcome)
    assert welcome.confirmed_producer_seq == 0
    world.submit(2, 1, b"x")
    world.turn(world.a)
    assert not [message for _, message in world.replies if isinstance(message, Confirmed)]
    world.link_up = True
    world.settle()
    assert sorted(number for _, number in world.confirmed) == [*range(1, MAX_PRODUCER_RECORDS + 1)]


def test_a_duplicate_of_what_is_released_does_not_forget_what_is_awaited() -> None:
    """The tail of an earlier run, submitted again, is confirmed as the standby acks it. In between
    the producer repeats a message that is released by now: the others were forgotten with it."""
    world = World(max_message_bytes=800_000).start()
    world.hello("p", 1)
    world.cut()
    bodies = [b"%d" % number * 700_000 for number in range(4)]  # one to a chunk of the stream
    for number, body in enumerate(bodies, 1):
        world.submit(1, number, body)
        world.turn(world.a)
    world.a.kill()
    world.a.start()
    world.link_up = True
    while not world.primary.reign.epoch:
        world.now += 50_000_000
        world.turn(world.b)
        world.turn(world.a)
    world.hello("p", 1, resume=True)
    for number, body in enumerate(bodies, 1):
        world.submit(1, number, body)
    world.turn(world.a)
    world.turn(world.b)
    world.turn(world.a)
    assert 0 < len(world.confirmed) < 4, "all at once: the test shows nothing"
    world.submit(1, 1, bodies[0])
    world.settle(1_000)
    assert sorted(number for _, number in world.confirmed) == [1, 2, 3, 4]


# Runs -----------------------------------------------------------------------------------------


def naive_split(runs: list[Run], released_seq: int) -> tuple[dict[int, int], dict[int, int]]:
    """The same, one message at a time: producer_seq to seq, released and not."""
    below: dict[int, int] = {}
    above: dict[int, int] = {}
    for run in runs:
        for index in range(run.count):
            seq = run.seq + index if run.seq else 0
            (below if seq <= released_seq else above)[run.producer_seq + index] = seq
    return below, above


def spread(runs: list[Run]) -> dict[int, int]:
    assert all(run.count > 0 for run in runs)
    return {
        run.producer_seq + index: run.seq + index if run.seq else 0
        for run in runs
        for index in range(run.count)
    }


@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(0, 4)), max_size=12),
    st.integers(0, 4),
    st.integers(0, 80),
)
def test_split_runs_against_its_naive_twin(
    script: list[tuple[int, int]], forgotten: int, released_seq: int
) -> None:
    runs = [Run(1, 0, forgotten)] if forgotten else []
    number, seq = forgotten + 1, 10
    for count, others in script:
        seq += others
        runs.append(Run(number, seq, count))
        number, seq = number + count, seq + count
    below, above = split_runs(runs, released_seq)
    assert (spread(below), spread(above)) == naive_split(runs, released_seq)


def test_sessions_pack_their_name_once() -> None:
    assert Session(b"s", "p", 1).packed_name == b"p".ljust(16, b"\0")
