"""A node on real sockets that does what a test tells it to.

It is slow and obvious on purpose: one thread, lists, no gate and no standby.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import zmq

from interlock.shared.errors import Reason
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
    parse_records,
)
from interlock.tests.unit.client_kit import CLUSTER, LogBook


class FakeNode:
    """One node that is primary from the start. While it is `mute` it reads nothing, like a process
    that was stopped. Give it a `script` to answer a submission otherwise.

    `follow` makes it a standby that names its leader, `take_over` the leader. While it is `holding`
    it keeps hellos back, while `draining` it takes nothing; what it takes while not `releasing` is
    in its log and nobody hears of it."""

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
        self.releasing = True
        self.holding = False
        self.draining = False
        self.heartbeat_ms = 50
        self.leader: FakeNode | None = None
        self.refuse_with: Refused | None = None
        self.script: Callable[[Submit], Message | None] | None = None
        self.lock = threading.Lock()
        self._ports: dict[str, str] = {}
        self._held: list[tuple[bytes, ProducerHello]] = []
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

    def follow(self, leader: FakeNode) -> None:
        """Holds what `leader` holds, and sends producers there; those that it has are told."""
        with self.lock:
            self.leader, self.draining = leader, False
            self.log, self.table = leader.log, leader.table
            for sender, session in self.sessions.values():
                self._sockets["intake"].send_multipart([sender, encode(self._redirect(session))])
            self.sessions.clear()

    def take_over(self, other: FakeNode, epoch: int, lost: int = 0) -> None:
        """Leads in `epoch` with the other's log but the last `lost` records; answers who waits."""
        with self.lock:
            self.log, self.table = other.log.copy(), ProducerTable()
            self.log.cut(lost)
            for raw in self.log.records:
                record = parse_records(raw)[0]
                if record.kind is Kind.DATA:
                    self.table.append(
                        record.producer, record.producer_seq, record.seq, record.count
                    )
            opened = self.log.open(epoch, self.name)
            self.leader, self.holding = None, False
            if self.publishing:
                self._sockets["feed"].send(opened)
            for sender, hello in self._held:
                answer = encode(self._on_hello(sender, hello))
                self._sockets["intake"].send_multipart([sender, answer])
            self._held.clear()

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
                elif self.publishing and self.leader is None:
                    head = Head(self.cluster, self.name, self.log.epoch, self.log.last_seq)
                    self._sockets["feed"].send(encode(head))

    def _on_intake(self, sender: bytes, message: IntakeRequest) -> IntakeReply | None:
        if self.refuse_with is not None:
            return self.refuse_with
        attempt = message.attempt if isinstance(message, Submit) else 0
        if self.leader is not None:
            return self._redirect(message.session, attempt)
        if self.draining and isinstance(message, ProducerHello | Submit):
            return Refused(Reason.BUSY, "it drains for a switchover", message.session, attempt)
        match message:
            case ProducerHello() if self.holding:
                self.hellos.append(message)
                self._held.append((sender, message))
                return None
            case ProducerHello():
                self.hellos.append(message)
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
        return ProducerWelcome(
            hello.session,
            self.cluster,
            self.name,
            self.log.epoch,
            last,
            last,
            1_000,
            self.heartbeat_ms,
        )

    def _redirect(self, session: int, attempt: int = 0) -> Refused:
        named = [self.leader.intake] if self.leader else []
        return Refused(Reason.NOT_PRIMARY, "a standby", session, attempt, leader=named)

    def _on_submit(self, name: str, submit: Submit) -> IntakeReply | None:
        entry = self.table.get(name)
        accepted = entry.last_producer_seq if entry else 0
        bodies = decode_messages(submit.messages)
        if submit.producer_seq > accepted + 1:
            return Refused(Reason.GAP, "gap", submit.session, submit.attempt, expected=accepted + 1)
        fresh = bodies[accepted + 1 - submit.producer_seq :]
        if fresh:
            self._append(name, fresh, self.releasing)
        if not self.releasing:
            return None
        entry = self.table.get(name)
        last = submit.producer_seq + submit.count - 1
        runs = entry.find(submit.producer_seq, last) if entry else []
        return Confirmed(submit.session, self.log.epoch, runs)

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
