"""What the tests of the client share: a log to read, cores with short calls, and a fake node.

The fake node speaks the protocol on real sockets and does what a test tells it to. It is slow and
obvious on purpose: one thread, lists, no gate and no standby.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import zmq
from msgspec.msgpack import encode as pack

from interlock.client.producer_core import ProducerCore
from interlock.shared.epochs import EpochOpened, Mode
from interlock.shared.errors import Reason, RemoteError
from interlock.shared.messages import (
    Codec,
    Confirmed,
    Head,
    IntakeReply,
    IntakeRequest,
    Message,
    ProducerBye,
    ProducerHello,
    ProducerPing,
    ProducerPong,
    ProducerWelcome,
    Refused,
    ReplayChunk,
    ReplayRefused,
    ReplayRequest,
    Submit,
    encode,
)
from interlock.shared.producers import ProducerTable, Run
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
        self, accepted: int = 0, confirmed: int | None = None, cluster: str = CLUSTER
    ) -> None:
        confirmed = accepted if confirmed is None else confirmed
        self.hear(ProducerWelcome(SESSION, cluster, "a", 1, accepted, confirmed, 65_536, 100))

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


class FakeNode:
    """One node that is primary from the start. While it is `mute` it reads nothing, like a process
    that was stopped. Give it a `script` to answer a submission otherwise."""

    def __init__(self, name: str = "a", cluster: str = CLUSTER) -> None:
        self.name = name
        self.cluster = cluster
        self.log = LogBook()
        self.log.open(1, name)
        self.table = ProducerTable()
        self.sessions: dict[str, tuple[bytes, int]] = {}
        self.hellos: list[ProducerHello] = []
        self.byes = 0
        self.mute = False
        self.publishing = True
        self.refuse_with: Refused | None = None
        self.script: Callable[[Submit], Message | None] | None = None
        self.lock = threading.Lock()
        self._ports: dict[str, str] = {}
        self._unconfirmed: list[tuple[str, Run]] = []
        self.start()

    @property
    def intake(self) -> str:
        return self._ports["intake"]

    @property
    def feed(self) -> str:
        return self._ports["feed"]

    @property
    def replay(self) -> str:
        return self._ports["replay"]

    def start(self) -> None:
        """Binds (again, to the same ports) and serves in a thread."""
        self._context: zmq.Context[Any] = zmq.Context()
        self._sockets = {
            "intake": self._context.socket(zmq.ROUTER),
            "feed": self._context.socket(zmq.PUB),
            "replay": self._context.socket(zmq.ROUTER),
        }
        for key, socket in self._sockets.items():
            socket.setsockopt(zmq.LINGER, 0)
            socket.bind(self._ports.get(key, "tcp://127.0.0.1:*"))
            self._ports[key] = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """As if killed: sessions are forgotten, the log stays."""
        self._stopping = True
        self._thread.join(10)
        self._context.destroy(linger=0)
        self.sessions.clear()

    def append(self, *bodies: bytes, producer: str = "other", publish: bool = True) -> None:
        """Puts messages of somebody else into the log."""
        with self.lock:
            self._append(producer, list(bodies), publish)

    def _append(self, producer: str, bodies: list[bytes], publish: bool = True) -> Run:
        entry = self.table.get(producer)
        first = (entry.last_producer_seq if entry else 0) + 1
        seq = self.log.last_seq + 1
        raw = self.log.data(*bodies, producer=producer, producer_seq=first)
        self.table.append(producer, first, seq, len(bodies))
        if publish and self.publishing:
            self._sockets["feed"].send(raw)
        return Run(first, seq, len(bodies))

    def _run(self) -> None:
        poller = zmq.Poller()
        intake, replay = self._sockets["intake"], self._sockets["replay"]
        poller.register(intake, zmq.POLLIN)
        poller.register(replay, zmq.POLLIN)
        requests: Codec[IntakeRequest] = Codec(IntakeRequest)
        replays: Codec[ReplayRequest] = Codec(ReplayRequest)
        while not self._stopping:
            ready = dict(poller.poll(20))
            with self.lock:
                if self.mute:
                    time.sleep(0.001)
                elif intake in ready:
                    sender, frame = intake.recv_multipart()
                    answer = self._on_intake(sender, requests.decode(frame))
                    if answer is not None:
                        intake.send_multipart([sender, encode(answer)])
                elif replay in ready:
                    sender, frame = replay.recv_multipart()
                    replay.send_multipart([sender, self._on_replay(replays.decode(frame))])
                elif self.publishing:
                    head = Head(self.cluster, self.name, self.log.epoch, self.log.last_seq)
                    self._sockets["feed"].send(encode(head))

    def _on_intake(self, sender: bytes, message: IntakeRequest) -> IntakeReply | None:
        if self.refuse_with is not None:
            return self.refuse_with
        match message:
            case ProducerHello():
                return self._on_hello(sender, message)
            case ProducerBye():
                self.byes += 1
                return None
            case ProducerPing(session):
                return (
                    ProducerPong(session, "GATED")
                    if self._known(sender)
                    else self._unknown(session)
                )
            case Submit():
                name = self._known(sender)
                if name is None:
                    return self._unknown(message.session)
                if self.script is not None and (answer := self.script(message)) is not None:
                    return answer  # type: ignore[return-value]
                return self._on_submit(name, message)

    def _on_hello(self, sender: bytes, hello: ProducerHello) -> IntakeReply:
        self.hellos.append(hello)
        older = self.sessions.get(hello.producer)
        if older is not None and older[1] != hello.session:
            if hello.resume:
                return Refused(Reason.TAKEN_OVER, "a newer session", hello.session)
            self._sockets["intake"].send_multipart(
                [older[0], encode(Refused(Reason.TAKEN_OVER, "a newer session", older[1]))]
            )
        self.sessions[hello.producer] = (sender, hello.session)
        entry = self.table.get(hello.producer)
        last = entry.last_producer_seq if entry else 0
        return ProducerWelcome(hello.session, self.cluster, self.name, 1, last, last, 1_000, 50)

    def _on_submit(self, name: str, submit: Submit) -> IntakeReply:
        entry = self.table.get(name)
        accepted = entry.last_producer_seq if entry else 0
        bodies = decode_messages(submit.messages)
        if submit.producer_seq > accepted + 1:
            return Refused(Reason.GAP, "gap", submit.session, submit.attempt, expected=accepted + 1)
        fresh = bodies[accepted + 1 - submit.producer_seq :]
        if fresh:
            self._append(name, fresh)
        entry = self.table.get(name)
        last = submit.producer_seq + submit.count - 1
        runs = entry.find(submit.producer_seq, last) if entry else []
        return Confirmed(submit.session, 1, runs)

    def _known(self, sender: bytes) -> str | None:
        return next((name for name, (at, _) in self.sessions.items() if at == sender), None)

    def _unknown(self, session: int) -> Refused:
        return Refused(Reason.NO_SESSION, "say hello", session)

    def _on_replay(self, request: ReplayRequest) -> bytes:
        released = self.log.last_seq
        if request.from_seq > released + 1:
            return encode(
                ReplayRefused(request.request, Reason.BEYOND_HEAD, "not yet", 1, released)
            )
        records = self.log.replay(request.from_seq, 50)
        return encode(
            ReplayChunk(request.request, self.cluster, self.name, released, 1, memoryview(records))
        )


def bodies_of(log: LogBook, producer: str) -> list[bytes]:
    """What the log holds of a producer."""
    found: list[bytes] = []
    for raw in log.records:
        record = parse_records(raw)[0]
        if record.kind is Kind.DATA and record.producer == producer:
            found += decode_messages(record.payload)
    return found


def damaged(frame: bytes) -> bytes:
    """The same frame with one bit of its last byte turned; it must not be readable any more."""
    broken = frame[:-1] + bytes([frame[-1] ^ 1])
    try:
        parse_records(broken)
    except RemoteError:
        return broken
    raise AssertionError("the damage does not show")
