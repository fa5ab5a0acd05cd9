"""Replay requests that ask too much, too early, too often, or of the wrong pair; on both nodes.

The journals are pruned for real: small segments, and more data than is retained.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from uuid import uuid4

import msgspec
import pytest
import zmq

from interlock import BeyondHeadError, Consumer, NotRetainedError, Producer
from interlock.cli.embedded import EmbeddedPair
from interlock.shared.errors import Reason
from interlock.shared.limits import CHUNK_BYTES, MIB
from interlock.shared.messages import (
    PROTOCOL_VERSION,
    Codec,
    ReplayChunk,
    ReplayRefused,
    ReplayReply,
    ReplayRequest,
)
from interlock.shared.wire import Record, parse_records
from support.pair import (
    PATIENCE_S,
    Raw,
    assert_serves,
    counted,
    endpoint,
    key,
    pair_of,
    resident_bytes,
    status,
    wait_for,
)

_replies: Codec[ReplayReply] = Codec(ReplayReply)
BODY_BYTES = 60_000
RETAINED = 2 * MIB


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPair]:
    """A pair whose two journals have lost their beginning, and whose log is quiet."""
    directory = tmp_path_factory.mktemp("pair")
    with pair_of(directory, retain_bytes=RETAINED, tick_interval_ms=0) as started:
        with Producer("filler", started.config) as producer:
            for number in range(8 * MIB // BODY_BYTES):
                producer.send(b"%d " % number * (BODY_BYTES // len(b"%d " % number)))
        for name in "ab":
            wait_for(f"node {name} to prune", lambda name=name: first_seq(started, name) > 1)
        yield started


@pytest.fixture(autouse=True)
def _the_pair_goes_on(pair: EmbeddedPair) -> Iterator[None]:
    yield
    assert_serves(pair)


def first_seq(pair: EmbeddedPair, name: str) -> int:
    return status(pair, name).journal.first_seq


def head(pair: EmbeddedPair, name: str) -> int:
    """The last released seq as node `name` knows it; a standby once it knows as much as the
    primary."""
    leads = status(pair, "a").watermarks.released_seq
    wait_for(
        f"node {name} to know the head",
        lambda: status(pair, name).watermarks.released_seq == leads,
    )
    return leads


def asking(pair: EmbeddedPair, name: str, hwm: int = 1_000) -> Raw:
    """A consumer by hand, in whose socket up to `hwm` answers wait to be read."""
    return Raw(endpoint(pair.config, name, "replay"), hwm=hwm)


def request(from_seq: int, max_bytes: int = CHUNK_BYTES, **changes: object) -> ReplayRequest:
    made = ReplayRequest(PROTOCOL_VERSION, "", 42, from_seq, max_bytes)
    return msgspec.structs.replace(made, **changes)


def refusal(raw: Raw, asked: ReplayRequest) -> ReplayRefused:
    raw.send(asked)
    reply = raw.receive(_replies)
    assert isinstance(reply, ReplayRefused)
    assert reply.text
    return reply


def chunk(raw: Raw, asked: ReplayRequest) -> list[Record]:
    raw.send(asked)
    reply = raw.receive(_replies)
    assert isinstance(reply, ReplayChunk)
    assert reply.request == asked.request
    return parse_records(reply.records)


both = pytest.mark.parametrize("name", ["a", "b"])


@both
@pytest.mark.parametrize("ahead", [2, 1_000, 2**60])
def test_beyond_the_head_is_refused_and_tells_the_head(
    pair: EmbeddedPair, name: str, ahead: int
) -> None:
    last = head(pair, name)
    with asking(pair, name) as raw, counted(pair, name, key("replay", Reason.BEYOND_HEAD)):
        reply = refusal(raw, request(last + ahead))
        assert reply.reason is Reason.BEYOND_HEAD
        assert (reply.request, reply.released_seq) == (42, last)
        assert reply.first_seq == first_seq(pair, name)


@both
def test_the_next_seq_is_no_mistake_and_is_answered_with_nothing(
    pair: EmbeddedPair, name: str
) -> None:
    last = head(pair, name)
    with asking(pair, name) as raw:
        assert chunk(raw, request(last + 1)) == []
        assert [record.last_seq for record in chunk(raw, request(last))] == [last]


@both
@pytest.mark.parametrize("before", [1, 2])
def test_before_the_retained_log_is_refused_and_tells_its_beginning(
    pair: EmbeddedPair, name: str, before: int
) -> None:
    first = first_seq(pair, name)
    asked = {1: 1, 2: first - 1}[before]
    with asking(pair, name) as raw, counted(pair, name, key("replay", Reason.NOT_RETAINED)):
        reply = refusal(raw, request(asked))
        assert reply.reason is Reason.NOT_RETAINED
        assert (reply.request, reply.first_seq) == (42, first)
        assert f"begins at {first}" in reply.text
        assert chunk(raw, request(first))[0].seq == first


def test_a_consumer_is_told_in_its_own_words(pair: EmbeddedPair) -> None:
    first = min(first_seq(pair, name) for name in "ab")
    with Consumer(pair.config, from_seq=1) as consumer:
        with pytest.raises(NotRetainedError) as early:
            consumer.next(PATIENCE_S)
        assert early.value.first_seq == first
    last = head(pair, "b")
    with Consumer(pair.config, from_seq=last + 100) as consumer:
        with pytest.raises(BeyondHeadError) as late:
            consumer.next(PATIENCE_S)
        assert late.value.released_seq == last


@both
@pytest.mark.parametrize(
    ("change", "reason", "told"),
    [
        ({"version": 1}, Reason.WRONG_VERSION, "speaks 3"),
        ({"version": -1}, Reason.WRONG_VERSION, "version -1"),
        ({"cluster": str(uuid4())}, Reason.WRONG_CLUSTER, "this is cluster"),
        ({"cluster": "c" * 1_000}, Reason.WRONG_CLUSTER, "this is cluster"),
    ],
)
def test_a_request_to_another_pair_is_refused(
    pair: EmbeddedPair, name: str, change: dict[str, object], reason: Reason, told: str
) -> None:
    with asking(pair, name) as raw, counted(pair, name, key("replay", reason)):
        reply = refusal(raw, request(first_seq(pair, name), **change))
        assert reply.reason is reason
        assert reply.request == 42
        assert told in reply.text


@both
@pytest.mark.parametrize("from_seq", [0, -1, 2**62])
def test_a_seq_that_cannot_be_is_malformed(pair: EmbeddedPair, name: str, from_seq: int) -> None:
    """The request's number is not known then: it is 0 in the answer."""
    with asking(pair, name) as raw, counted(pair, name, key("replay", Reason.MALFORMED)):
        reply = refusal(raw, request(from_seq))
        assert (reply.reason, reply.request) == (Reason.MALFORMED, 0)


@both
def test_what_is_asked_for_is_bounded_both_ways(pair: EmbeddedPair, name: str) -> None:
    """However much is asked for, a chunk; however little, a record: so every request gets on."""
    first = first_seq(pair, name)
    with asking(pair, name) as raw:
        for huge in (CHUNK_BYTES, 2**32 - 1):
            records = chunk(raw, request(first, huge))
            assert len(records) > 1
            assert sum(len(record.raw) for record in records) <= CHUNK_BYTES
        for tiny in (0, 1, 100):
            records = chunk(raw, request(first, tiny))
            assert [record.seq for record in records] == [first]


@both
def test_all_that_is_retained_can_be_read_chunk_by_chunk(pair: EmbeddedPair, name: str) -> None:
    seq, last = first_seq(pair, name), head(pair, name)
    prev_hash = None
    with asking(pair, name) as raw:
        while seq <= last:
            records = chunk(raw, request(seq))
            assert records[0].seq == seq
            for record in records:
                assert prev_hash in (None, record.prev_hash)
                prev_hash = record.hash
            seq = records[-1].last_seq + 1
    assert seq == last + 1


@both
def test_who_asks_and_never_reads_the_answers_costs_little(pair: EmbeddedPair, name: str) -> None:
    """Hundreds of requests for a chunk each, and no answer is taken: the answers must not pile up
    in the node, nor keep it from serving others. Later it is served again like anybody."""
    pid = pair.processes[name].pid
    first = first_seq(pair, name)
    before, dropped = resident_bytes(pid), drops(pair, name)
    with asking(pair, name, hwm=1) as greedy, asking(pair, name) as modest:
        greedy.socket.setsockopt(zmq.SNDTIMEO, 10)

        def asked_in_vain() -> bool:
            with suppress(zmq.Again):
                greedy.send(request(first))
            return drops(pair, name) >= dropped + 100

        wait_for("the node to drop answers", asked_in_vain)
        assert chunk(modest, request(first))
        assert_serves(pair)
        grown = resident_bytes(pid) - before
        assert grown < 64 * MIB, f"the node grew by {grown / MIB:.0f} MiB"
        while greedy.frames(0.1):
            pass
        assert chunk(greedy, request(first))


def drops(pair: EmbeddedPair, name: str) -> int:
    return status(pair, name).counters.get("replay-dropped", 0)
