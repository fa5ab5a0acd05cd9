"""A producer, a consumer and an operator written from `docs/protocol.md` alone.

Nothing here may import Interlock: what these three need and the page does not tell is missing from
the page. They are slow and obvious on purpose.
"""

from __future__ import annotations

import secrets
import struct
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import zmq
from xxhash import xxh3_64_intdigest

HEADER = struct.Struct("<2sBBIIIQQ16sQQQ")  # the table of `Records`
GIVE_UP_S = 30.0
VERSION = 3


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
        self.welcomes = self.epoch = 0
        self.sock = connect(zmq.DEALER, intakes[0])
        self.open = False

    def hello(self, leaders: list[str] | None = None, *, by_position: bool = False) -> None:
        """Until a node takes the session, if none has it; `leaders` were named, and go first."""
        end = time.monotonic() + GIVE_UP_S
        nodes = list(dict.fromkeys((*(leaders or ()), *self.intakes)))
        while not self.open:
            assert time.monotonic() < end, "no node took the session"
            self.sock.close()
            self.sock = connect(zmq.DEALER, nodes[0])
            nodes.append(nodes.pop(0))
            dialled = time.monotonic()
            try:
                while not self.open and time.monotonic() < dialled + 1:
                    resume = self.welcomes > 0
                    hello = ("hello", VERSION, self.cluster, self.name, self.session, resume)
                    send(self.sock, *hello)
                    if self.sock.poll(250):
                        self.take(msgspec.msgpack.decode(self.sock.recv()), by_position)
            except Lost as lost:
                nodes = list(dict.fromkeys((*lost.where, *nodes)))
                time.sleep(0.005)

    def take(self, message: list[Any], by_position: bool = False) -> None:
        match message:
            case ["welcome", self.session, _, _, epoch, accepted, confirmed, longest, beat_ms]:
                if epoch < self.epoch:
                    raise Lost([])
                self.epoch = epoch
                if not self.welcomes:
                    self.start = self.confirmed = confirmed if by_position else accepted
                    self.sent_high = accepted
                assert self.confirmed <= accepted <= self.sent_high, "another history or session"
                self.welcomes += 1
                self.open = True
                self.longest, self.heartbeat_s = longest, beat_ms / 1000
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
            except Lost as lost:
                self.open = False
                self.hello(lost.where)
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
    """`messages` are (seq, producer, producer_seq, body) of data records, in log order; `control`
    are (kind, epoch, payload) of the others."""

    def __init__(self, feeds: list[str], replays: list[str], cluster: str, from_seq: int) -> None:
        self.cluster = cluster
        self.feed = connect(zmq.SUB, *feeds)
        self.replays = [connect(zmq.DEALER, replay) for replay in replays]
        self.next = from_seq
        self.last: DocRecord | None = None
        self.head = self.epoch = 0
        self.request = 0
        self.messages: list[tuple[int, str, int, bytes]] = []
        self.control: list[tuple[int, int, dict[str, Any]]] = []
        self.taken = {"feed": 0, "replay": 0}
        self.refusals: list[str] = []

    def take(self, records: bytes, source: str) -> bool:
        """False if something is missing before them."""
        for record in parse(records):
            end = record.seq + record.count
            if self.is_old(record):
                continue
            if record.seq > self.next:
                return False
            if end <= self.next:
                continue
            self.check(record)
            if record.kind != 1:
                payload = msgspec.msgpack.decode(record.bodies[0])
                self.control.append((record.kind, record.epoch, payload))
            for index in range(self.next - record.seq, record.count if record.kind == 1 else 0):
                number = record.producer_seq + index
                body = record.bodies[index]
                self.messages.append((record.seq + index, record.producer, number, body))
                self.taken[source] += 1
            self.next, self.last = end, record
        return True

    def is_old(self, record: DocRecord) -> bool:
        """Of an ended epoch, and not of this log."""
        last = self.last
        if last is None or record.epoch >= last.epoch:
            return False
        ends = record.seq + record.count
        covers = record.seq <= self.next < ends
        return record.seq > self.next or (covers and record.prev_hash != last.hash)

    def check(self, record: DocRecord) -> None:
        last = self.last
        if last is not None:
            assert record.kind == 2 or last.kind != 3
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
            send(node, "replay", VERSION, self.cluster, self.request, self.next, 100_000)
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
                    name, cluster, _, epoch, released = msgspec.msgpack.decode(frame)
                    assert (name, cluster) == ("head", self.cluster)
                    if epoch < max(self.epoch, self.last.epoch if self.last else 0):
                        continue
                    self.epoch = epoch
                    self.head = max(self.head, released)
                    complete = released < self.next
            if not complete:
                self.replay()

    def close(self) -> None:
        for sock in (self.feed, *self.replays):
            sock.close()


class DocOperator:
    """Asks nodes by name. A connection for each question."""

    def __init__(self, controls: dict[str, str], cluster: str) -> None:
        self.controls = controls
        self.cluster = cluster

    def ask(self, node: str, name: str, *fields: Any, seconds: float = 5.0) -> list[Any]:
        """The answer."""
        sock = connect(zmq.DEALER, self.controls[node])
        sock.immediate = 0  # for this one answer it may wait until the node is there
        sock.send(msgspec.msgpack.encode([name, VERSION, *fields]))
        assert sock.poll(int(seconds * 1000)), f"{node} has not answered {name}"
        answer: list[Any] = msgspec.msgpack.decode(sock.recv())
        sock.close()
        return answer

    def status(self, node: str) -> dict[str, Any]:
        name, status = self.ask(node, "get-status")
        assert name == "status"
        assert status["cluster"] == self.cluster
        found: dict[str, Any] = status
        return found

    def leader(self) -> str:
        """The node that leads; empty if nobody does."""
        leading = {
            status["epoch"]: node
            for node in self.controls
            for status in [self.status(node)]
            if status["role"] == "primary"
            and status["leader"] == node
            and status["state"] in ("GATED", "STALLED", "SOLO", "DRAINING")
        }
        return leading[max(leading)] if leading else ""

    def preflight(self, operation: str, node: str, **arguments: Any) -> dict[str, Any]:
        request = {"operation": operation, "node": node, **arguments}
        name, found = self.ask(node, "get-preflight", self.cluster, request)
        assert name == "preflight"
        assert found["request"].items() >= request.items()
        assert bool(found["token"]) == all(guard["passed"] for guard in found["guards"])
        preflight: dict[str, Any] = found
        return preflight

    def execute(self, node: str, token: str, confirm: str, attestation: str = "") -> list[Any]:
        typed = ("doc", "by the page", confirm, attestation)
        return self.ask(node, "execute", self.cluster, token, *typed, seconds=GIVE_UP_S)
