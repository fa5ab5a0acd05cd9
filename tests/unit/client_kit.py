"""What the tests of the client's cores share: a log to read, and cores with short ways to talk."""

from __future__ import annotations

from typing import Any

from msgspec.msgpack import encode as pack

from interlock.client.consumer_core import ConsumerCore
from interlock.client.producer_core import ProducerCore
from interlock.shared.epochs import EpochOpened, Mode
from interlock.shared.errors import Reason, RemoteError
from interlock.shared.messages import (
    Codec,
    Confirmed,
    Head,
    IntakeRequest,
    Message,
    ProducerWelcome,
    Refused,
    ReplayChunk,
    ReplayRefused,
    ReplayRequest,
    Submit,
    encode,
)
from interlock.shared.producers import Run
from interlock.shared.wire import (
    Kind,
    decode_messages,
    encode_messages,
    encode_record,
    pack_name,
    parse_records,
)

MS = 1_000_000
SECOND = 1_000 * MS
CLUSTER = "7d0e4d2c-0000-4000-8000-000000000001"
SESSION = 77


class LogBook:
    """Records of a log, encoded one after the other."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.firsts: list[int] = []
        self.last_seq = 0
        self.epoch = 0
        self._hash = 0

    def copy(self) -> LogBook:
        other = LogBook()
        other.records, other.firsts = list(self.records), list(self.firsts)
        other.last_seq, other.epoch, other._hash = self.last_seq, self.epoch, self._hash
        return other

    def cut(self, records: int) -> None:
        """Drops the newest `records` of them."""
        if records:
            del self.records[-records:], self.firsts[-records:]
            last = parse_records(self.records[-1])[0]
            self.last_seq, self.epoch, self._hash = last.last_seq, last.epoch, last.hash

    def _add(self, kind: Kind, name: str, producer_seq: int, count: int, payload: bytes) -> bytes:
        first = self.last_seq + 1
        raw, self._hash = encode_record(
            kind,
            self.epoch,
            first,
            1_000 + first,
            pack_name(name),
            producer_seq,
            count,
            payload,
            self._hash,
        )
        self.records.append(raw)
        self.firsts.append(first)
        self.last_seq = first + count - 1
        return raw

    def open(self, epoch: int, leader: str = "a") -> bytes:
        self.epoch = epoch
        opened = EpochOpened(epoch, leader, Mode.GATED, self.last_seq + 1, "op", "test")
        return self._add(Kind.EPOCH_OPENED, leader, 0, 1, pack(opened))

    def tick(self) -> bytes:
        return self._add(Kind.TICK, "a", 0, 1, b"")

    def data(self, *bodies: bytes, producer: str = "p", producer_seq: int = 1) -> bytes:
        return self._add(Kind.DATA, producer, producer_seq, len(bodies), encode_messages(bodies))

    def replay(self, from_seq: int, max_records: int = 10**9, upto: int = 10**18) -> bytes:
        """Records from the one that covers `from_seq`, none that begins after `upto`."""
        raws = [
            raw
            for raw, record in ((raw, parse_records(raw)[0]) for raw in self.records)
            if record.last_seq >= from_seq and record.seq <= upto
        ]
        return b"".join(raws[:max_records])


class ProducerDriver:
    """A ProducerCore, the time, and short ways to say what the node says."""

    _requests: Codec[IntakeRequest] = Codec(IntakeRequest)

    def __init__(self, *, endpoints: list[str] | None = None, **options: Any) -> None:
        self.now = 1 * SECOND
        settings: dict[str, Any] = {
            "window": 1_000,
            "record_messages": 4,
            "record_bytes": 1_000,
            "records_in_flight": 3,
            "resume": False,
        }
        self.core = ProducerCore(
            "p",
            "",
            SESSION,
            endpoints or ["tcp://a:1", "tcp://b:1"],
            self.now,
            **settings | options,
        )
        self.core.tick(self.now)

    def dialled(self) -> str | None:
        """The endpoint that the core wants a new connection to."""
        endpoint, self.core.connection.dial = self.core.connection.dial, None
        return endpoint

    def sent(self) -> list[IntakeRequest]:
        """What the core has sent since the last call."""
        frames, self.core.outbox[:] = list(self.core.outbox), []
        return [self._requests.decode(frame) for frame in frames]

    def submitted(self) -> list[tuple[int, int, list[bytes]]]:
        """(attempt, producer_seq, bodies) of the submissions since the last call."""
        return [
            (submit.attempt, submit.producer_seq, decode_messages(submit.messages))
            for submit in self.sent()
            if isinstance(submit, Submit)
        ]

    def hear(self, *messages: Message) -> None:
        for message in messages:
            self.core.received(encode(message), self.now)

    def welcome(
        self,
        accepted: int = 0,
        confirmed: int | None = None,
        cluster: str = CLUSTER,
        epoch: int = 1,
    ) -> None:
        confirmed = accepted if confirmed is None else confirmed
        self.hear(ProducerWelcome(SESSION, cluster, "a", epoch, accepted, confirmed, 65_536, 100))

    def confirm(self, *runs: tuple[int, int, int]) -> None:
        self.hear(Confirmed(SESSION, 1, [Run(*run) for run in runs]))

    def refuse(
        self, reason: Reason, attempt: int = 0, expected: int = 0, leader: list[str] | None = None
    ) -> None:
        self.hear(Refused(reason, "because", SESSION, attempt, expected, leader or []))

    def send(self, *bodies: bytes) -> list[tuple[Any, int]]:
        """Submits; returns (batch, index) for each, or (None, 0) for one that had no room."""
        found = []
        for body in bodies:
            batch = self.core.submit(body, self.now)
            found.append((batch, batch.count - 1 if batch else 0))
        return found

    def pass_ms(self, ms: float) -> None:
        """Lets time pass, ticking whenever the core asked for it."""
        end = self.now + int(ms * MS)
        at_once = 0
        while self.core.deadline_ns <= end:
            at_once = at_once + 1 if self.core.deadline_ns <= self.now else 0
            if at_once > 3:
                raise AssertionError("the core asks to be ticked at once again and again")
            self.now = max(self.now, self.core.deadline_ns)
            self.core.tick(self.now)
        self.now = end


def connected(accepted: int = 0, confirmed: int | None = None, **options: object) -> ProducerDriver:
    driver = ProducerDriver(**options)
    driver.dialled()
    driver.welcome(accepted, confirmed)
    driver.sent()
    return driver


def seqs(tickets: list) -> list[int]:
    return [batch.seq_at(index) for batch, index in tickets]


class Reader:
    """A ConsumerCore, the time, and short ways to say what the nodes say.

    Node 0 is `b`, the standby; node 1 is `a`, which publishes.
    """

    _requests: Codec[ReplayRequest] = Codec(ReplayRequest)

    def __init__(self, nodes: int = 2, cluster: str = CLUSTER, **options: Any) -> None:
        self.now = 1 * SECOND
        self.core = ConsumerCore(cluster, nodes, self.now, **options)

    def asked(self) -> tuple[int, int] | None:
        """(node, from_seq) of the request that the core wants to send."""
        request, self.core.request = self.core.request, None
        if request is None:
            return None
        node, frame = request
        self.last = self._requests.decode(frame)
        return node, self.last.from_seq

    def got(self) -> list[bytes]:
        """The bodies delivered since the last call."""
        found: list[bytes] = []
        while self.core.deliveries:
            delivery = self.core.deliveries.popleft()
            found += delivery.bodies[delivery.skip :]
        return found

    def feed(self, *frames: bytes) -> None:
        for frame in frames:
            self.core.feed(frame, self.now)

    def head(self, seq: int, epoch: int = 1, node: str = "a", cluster: str = CLUSTER) -> None:
        self.feed(encode(Head(cluster, node, epoch, seq)))

    def chunk(self, node: int, records: bytes, released: int, request: int | None = None) -> None:
        number = self.last.request if request is None else request
        message = ReplayChunk(number, CLUSTER, "ba"[node], released, 1, memoryview(records))
        self.core.replayed(node, encode(message), self.now)

    def refuse(self, node: int, reason: Reason, first: int = 1, released: int = 0) -> None:
        message = ReplayRefused(self.last.request, reason, "because", first, released)
        self.core.replayed(node, encode(message), self.now)

    def pass_ms(self, ms: float) -> None:
        end = self.now + int(ms * MS)
        at_once = 0
        while self.core.deadline_ns <= end:
            at_once = at_once + 1 if self.core.deadline_ns <= self.now else 0
            assert at_once < 4, "the core asks to be ticked at once again and again"
            self.now = max(self.now, self.core.deadline_ns)
            self.core.tick(self.now)
        self.now = end


def small_log() -> LogBook:
    """1: epoch; 2-4: a b c; 5-6: d e; 7: tick; 8: f; 9-10: g h."""
    log = LogBook()
    log.open(1)
    log.data(b"a", b"b", b"c")
    log.data(b"d", b"e", producer_seq=4)
    log.tick()
    log.data(b"f", producer_seq=6)
    log.data(b"g", b"h", producer_seq=7)
    return log


def caught_up(log: LogBook, upto: int, **options: Any) -> Reader:
    """A reader that has read the records of `log` that end at `upto` or before."""
    reader = Reader(**options)
    node, from_seq = reader.asked() or (0, 0)
    reader.chunk(node, log.replay(from_seq, upto=upto), upto)
    reader.got()
    assert reader.asked() is None
    return reader


def damaged(frame: bytes) -> bytes:
    """The same frame with one bit of its last byte turned; it must not be readable any more."""
    broken = frame[:-1] + bytes([frame[-1] ^ 1])
    try:
        parse_records(broken)
    except RemoteError:
        return broken
    raise AssertionError("the damage does not show")
