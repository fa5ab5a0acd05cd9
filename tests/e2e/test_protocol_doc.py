"""A producer and a consumer written from `docs/protocol.md` alone, against a real pair.

Until the line that says so, nothing here may import Interlock: what these two need and the page
does not tell is missing from the page. They are slow and obvious on purpose.
"""

from __future__ import annotations

import re
import secrets
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import zmq
from xxhash import xxh3_64_intdigest

HEADER = struct.Struct("<2sBBIIIQQ16sQQQ")  # the table of `Records`
GIVE_UP_S = 30.0


def connect(kind: int, *endpoints: str) -> zmq.Socket[bytes]:
    sock: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
    sock.linger = 0
    sock.maxmsgsize = 8_388_608
    if kind == zmq.SUB:
        sock.subscribe(b"")
    else:
        sock.immediate = 1
    for endpoint in endpoints:
        sock.connect(endpoint)
    return sock


def send(sock: zmq.Socket[bytes], *message: Any) -> None:
    try:
        sock.send(msgspec.msgpack.encode(message), zmq.NOBLOCK)
    except zmq.Again:
        time.sleep(0.01)  # nobody is connected (yet); whatever it was is sent again


class Lost(Exception):
    """The connection is of no more use; `where` may name a better endpoint."""

    def __init__(self, where: list[str]) -> None:
        super().__init__()
        self.where = where


class DocProducer:
    """One session. `seqs` maps the numbers that are confirmed to their seqs."""

    def __init__(self, intakes: list[str], cluster: str, name: str) -> None:
        self.intakes = intakes
        self.cluster = cluster
        self.name = name
        self.session = secrets.randbits(63) | 1
        self.bodies: dict[int, bytes] = {}
        self.seqs: dict[int, int] = {}
        self.start = self.confirmed = self.sent_high = 0
        self.attempt = 1
        self.welcomes = 0
        self.sock = connect(zmq.DEALER, intakes[0])
        self.open = False

    def hello(self, *, by_position: bool = False) -> None:
        """Until a node takes the session, if none has it."""
        end = time.monotonic() + GIVE_UP_S
        nodes = list(self.intakes)
        while not self.open:
            assert time.monotonic() < end, "no node took the session"
            self.sock.close()
            self.sock = connect(zmq.DEALER, nodes[0])
            nodes.append(nodes.pop(0))
            dialled = time.monotonic()
            try:
                while not self.open and time.monotonic() < dialled + 1:
                    resume = self.welcomes > 0
                    send(self.sock, "hello", 1, self.cluster, self.name, self.session, resume)
                    if self.sock.poll(250):
                        self.take(msgspec.msgpack.decode(self.sock.recv()), by_position)
            except Lost as lost:
                nodes = list(dict.fromkeys((*lost.where, *nodes)))

    def take(self, message: list[Any], by_position: bool = False) -> None:
        match message:
            case ["welcome", self.session, _, _, _, accepted, confirmed, longest, heartbeat_ms]:
                if not self.welcomes:
                    self.start = self.confirmed = confirmed if by_position else accepted
                    self.sent_high = accepted
                assert self.confirmed <= accepted <= self.sent_high, "another history or session"
                self.welcomes += 1
                self.open = True
                self.longest, self.heartbeat_s = longest, heartbeat_ms / 1000
                self.go_back(self.confirmed + 1)
            case ["confirmed", self.session, _, runs]:
                for number, seq, count in runs:
                    for index in range(count):
                        if self.start < number + index <= self.sent_high:
                            self.seqs.setdefault(number + index, seq and seq + index)
                while self.confirmed + 1 in self.seqs:
                    self.confirmed += 1
            case ["refused", reason, text, session, attempt, expected, leader]:
                if session in (0, self.session) and attempt in (0, self.attempt):
                    self.refused(reason, text, expected, leader)
            case ["pong", self.session, _]:
                pass
            case _:
                raise AssertionError(f"the page does not tell of {message}")

    def refused(self, reason: str, text: str, expected: int, leader: list[str]) -> None:
        match reason:
            case "busy" | "disk-full" | "gap" if self.open:
                time.sleep(0 if reason == "gap" else 0.02)
                self.go_back(expected)
            case "busy" | "disk-full" | "too-many":
                time.sleep(0.02)
            case "no-session" | "not-primary":
                raise Lost(leader)
            case _:
                raise AssertionError(f"{reason}: {text}")

    def go_back(self, number: int) -> None:
        self.attempt += 1
        self.next = number

    def publish(self, *bodies: bytes, per_record: int = 7) -> None:
        """Submits, and waits until all is confirmed."""
        self.hello()
        begin = max(self.bodies, default=self.start) + 1
        self.bodies |= dict(enumerate(bodies, begin))
        last = begin + len(bodies) - 1
        end = time.monotonic() + GIVE_UP_S
        heard = said = moved = time.monotonic()
        while self.confirmed < last:
            now = time.monotonic()
            assert now < end, f"{self.confirmed} of {last} confirmed"
            before = self.confirmed
            while self.next <= last and self.next <= self.confirmed + 16 * per_record:
                chunk = [self.bodies[n] for n in range(self.next, last + 1)[:per_record]]
                send(self.sock, "submit", self.session, self.attempt, self.next, len(chunk), chunk)
                self.next += len(chunk)
                self.sent_high = max(self.sent_high, self.next - 1)
                said = now
            if now - min(said, heard) >= self.heartbeat_s:
                send(self.sock, "ping", self.session)
                said = now
            try:
                while self.sock.poll(5):
                    heard = time.monotonic()
                    self.take(msgspec.msgpack.decode(self.sock.recv()))
                if time.monotonic() - heard > max(1.0, 5 * self.heartbeat_s):
                    raise Lost([])
            except Lost:
                self.open = False
                self.hello()
                heard = said = moved = time.monotonic()
            if self.confirmed > before:
                moved = time.monotonic()
            elif time.monotonic() - moved > 1 and self.seqs and max(self.seqs) > self.confirmed:
                self.go_back(self.confirmed + 1)

    def close(self) -> None:
        send(self.sock, "bye", self.session)
        self.sock.close(linger=200)


class DocRecord(NamedTuple):
    kind: int
    epoch: int
    count: int
    seq: int
    time_ns: int
    producer: str
    producer_seq: int
    prev_hash: int
    hash: int
    bodies: list[bytes]


def parse(frame: bytes) -> Iterator[DocRecord]:
    """The records of a frame, each checked by itself."""
    offset = 0
    while offset < len(frame):
        (magic, version, kind, epoch, length, count, seq, time_ns, name, number, prev, own) = (
            HEADER.unpack_from(frame, offset)
        )
        assert (magic, version) == (b"\xc1L", 1)
        assert 1 <= kind <= 7
        payload = frame[offset + 72 : offset + 72 + length]
        assert len(payload) == length
        assert xxh3_64_intdigest(frame[offset : offset + 64] + payload) == own
        bodies = msgspec.msgpack.decode(payload) if kind == 1 else [payload]
        assert len(bodies) == count
        assert all(isinstance(body, bytes) for body in bodies)
        producer = name.rstrip(b"\0").decode("ascii")
        yield DocRecord(kind, epoch, count, seq, time_ns, producer, number, prev, own, bodies)
        offset += 72 + length


class DocConsumer:
    """`messages` are (seq, producer, producer_seq, body) of data records, in log order."""

    def __init__(self, feeds: list[str], replays: list[str], cluster: str, from_seq: int) -> None:
        self.cluster = cluster
        self.feed = connect(zmq.SUB, *feeds)
        self.replays = [connect(zmq.DEALER, replay) for replay in replays]
        self.next = from_seq
        self.last: DocRecord | None = None
        self.head = 0
        self.request = 0
        self.messages: list[tuple[int, str, int, bytes]] = []
        self.taken = {"feed": 0, "replay": 0}
        self.refusals: list[str] = []

    def take(self, records: bytes, source: str) -> bool:
        """False if something is missing before them."""
        for record in parse(records):
            end = record.seq + record.count
            if record.seq > self.next:
                return False
            if end <= self.next:
                continue
            self.check(record)
            for index in range(self.next - record.seq, record.count if record.kind == 1 else 0):
                number = record.producer_seq + index
                body = record.bodies[index]
                self.messages.append((record.seq + index, record.producer, number, body))
                self.taken[source] += 1
            self.next, self.last = end, record
        return True

    def check(self, record: DocRecord) -> None:
        last = self.last
        if last is not None:
            assert record.prev_hash == last.hash, "another history"
            assert record.time_ns >= last.time_ns
            opened = record.kind == 2 and record.epoch > last.epoch
            assert opened or record.epoch == last.epoch
        elif record.seq == 1:
            assert (record.kind, record.prev_hash) == (2, 0)
            opened_by = msgspec.msgpack.decode(record.bodies[0])
            assert (opened_by["number"], opened_by["first_seq"]) == (record.epoch, 1)

    def replay(self) -> None:
        """Until a node has no more."""
        end = time.monotonic() + GIVE_UP_S
        nodes = list(self.replays)
        while True:
            assert time.monotonic() < end, "no node replays"
            node = nodes[0]
            self.request += 1
            send(node, "replay", 1, self.cluster, self.request, self.next, 100_000)
            message = msgspec.msgpack.decode(node.recv()) if node.poll(1_000) else []
            match message:
                case ["chunk", self.request, self.cluster, _, released, _, records]:
                    assert self.take(records, "replay")
                    self.head = max(self.head, released)
                    if self.head < self.next:
                        return
                    if records:
                        continue
                case ["replay-refused", self.request, reason, _, _, _]:
                    assert reason == "beyond-head"
                    self.refusals.append(reason)
                case _:
                    assert message == [] or message[1] != self.request
            nodes.append(nodes.pop(0))
            time.sleep(0.02)

    def follow(self, until: int) -> None:
        """Takes the feed, and replays what it leaves out, up to seq `until`."""
        end = time.monotonic() + GIVE_UP_S
        while self.next <= until:
            assert time.monotonic() < end, f"read up to seq {self.next - 1}"
            complete = False
            if self.feed.poll(1_000):
                frame = self.feed.recv()
                if frame[:1] == b"\xc1":
                    complete = self.take(frame, "feed")
                else:
                    name, cluster, _, _, released = msgspec.msgpack.decode(frame)
                    assert (name, cluster) == ("head", self.cluster)
                    self.head = max(self.head, released)
                    complete = released < self.next
            if not complete:
                self.replay()

    def close(self) -> None:
        for sock in (self.feed, *self.replays):
            sock.close()


# From here on Interlock is known ----------------------------------------------------------------

from interlock.cli.embedded import EmbeddedPair  # noqa: E402
from interlock.shared.config import Config  # noqa: E402

BODIES = [b"message %d" % number + b"." * (number % 90) for number in range(1_000)]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[EmbeddedPair]:
    with EmbeddedPair(tmp_path / "pair") as pair:
        pair.start("a")
        pair.start("b")
        pair.wait_until_gated()
        yield pair


def test_the_clients_of_the_page_do_not_know_interlock() -> None:
    source, marker, _ = Path(__file__).read_text("utf-8").partition("\n# From here on ")
    assert marker
    assert not re.findall(r"^\s*(?:import|from) interlock", source, re.MULTILINE)


def doc_producer(config: Config, name: str = "doc") -> DocProducer:
    """Knows the secondary's intake first: it has to be sent on."""
    intakes = [config.node(node).intake for node in ("b", "a")]
    return DocProducer(intakes, config.cluster, name)


def doc_consumer(config: Config, from_seq: int = 1) -> DocConsumer:
    feeds = [config.node(node).feed for node in ("a", "b")]
    replays = [config.node(node).replay for node in ("b", "a")]
    return DocConsumer(feeds, replays, config.cluster, from_seq)


def test_what_is_submitted_by_the_page_is_read_by_the_page(pair: EmbeddedPair) -> None:
    """The first half comes by replay, the second by the feed; both are one log."""
    producer = doc_producer(pair.config)
    producer.publish(*BODIES[:500])
    consumer = doc_consumer(pair.config)
    while consumer.next <= max(producer.seqs.values()):
        consumer.replay()  # the standby may not know at once that all of it is released
    assert consumer.taken == {"feed": 0, "replay": 500}
    assert consumer.feed.poll(5_000), "no head was published"  # the subscription stands
    producer.publish(*BODIES[500:])
    consumer.follow(max(producer.seqs.values()))
    assert consumer.taken["feed"] > 0
    assert consumer.messages == [
        (producer.seqs[number], "doc", number, body) for number, body in enumerate(BODIES, 1)
    ]
    producer.close()
    consumer.close()


def test_the_session_outlives_its_node(pair: EmbeddedPair) -> None:
    """The primary is killed and started again: the producer resumes, the consumer goes on."""
    producer, consumer = doc_producer(pair.config), doc_consumer(pair.config)
    producer.publish(*BODIES[:300])
    pair.kill("a")
    pair.start("a")
    producer.publish(*BODIES[300:])
    assert producer.welcomes > 1
    consumer.follow(max(producer.seqs.values()))
    assert [message[2:] for message in consumer.messages] == list(enumerate(BODIES, 1))
    assert [message[0] for message in consumer.messages] == sorted(producer.seqs.values())
    producer.close()
    consumer.close()


def test_what_is_submitted_again_gets_the_seqs_that_it_has(pair: EmbeddedPair) -> None:
    """Another session submits from number 1 on, in other records, and beyond what is there."""
    first = doc_producer(pair.config)
    first.publish(*BODIES[:100])
    again = doc_producer(pair.config)
    again.hello(by_position=True)
    assert again.start == 100, "by position only what follows would be submitted"
    again.start = again.confirmed = 0
    again.go_back(1)
    again.publish(*BODIES[:120], per_record=11)
    assert {number: again.seqs[number] for number in first.seqs} == first.seqs
    consumer = doc_consumer(pair.config)
    consumer.follow(again.seqs[120])
    assert [body for *_, body in consumer.messages] == BODIES[:120]
    again.close()
    consumer.close()


def test_reading_may_begin_within_a_record(pair: EmbeddedPair) -> None:
    producer = doc_producer(pair.config)
    producer.publish(*BODIES[:50], per_record=50)
    seq = producer.seqs[20]
    consumer = doc_consumer(pair.config, seq)
    consumer.follow(producer.seqs[50])
    assert consumer.messages[0] == (seq, "doc", 20, BODIES[19])
    assert len(consumer.messages) == 31
    producer.close()
    consumer.close()
