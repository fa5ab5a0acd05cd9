"""Producers that speak the protocol themselves, as `docs/protocol.md` tells: many in one process,
records of a fixed size that are encoded once.

Decides nothing that a real producer must decide: a refusal or a lost connection ends the run, as
what is measured would be something else then.
"""

from __future__ import annotations

import secrets
import select
import struct
import time
from collections import deque
from typing import Any

import zmq

from ..shared.config import Config
from ..shared.credentials import Credentials, credentials
from ..shared.errors import InterlockError
from ..shared.messages import (
    PROTOCOL_VERSION,
    Codec,
    Confirmed,
    IntakeReply,
    ProducerHello,
    ProducerPong,
    ProducerWelcome,
    Refused,
    encode,
)
from .collect import Collector, Span
from .scenario import STAMP_BYTES, Load, Scenario

ANSWER_MS = 30_000
LOOK_S = 0.1  # the longest wait for a reply that nothing announces
FIXARRAY, FIXSTR, UINT32, UINT64, ARRAY16, BIN32 = 0x90, 0xA0, 0xCE, 0xCF, 0xDC, 0xC6
STAMP = struct.Struct("<Q")

Socket = zmq.Socket[Any]
_replies: Codec[IntakeReply] = Codec(IntakeReply)


def connect(
    context: zmq.Context[Any], kind: int, endpoint: str, who: Credentials, hwm: int = 0
) -> Socket:
    """A socket of a client that is none of the SDK's."""
    socket: Socket = context.socket(kind)
    socket.setsockopt(zmq.SNDHWM, hwm)
    socket.setsockopt(zmq.RCVHWM, hwm)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RCVTIMEO, ANSWER_MS)
    who.connect(socket, endpoint)
    return socket


class Submission:
    """The frame of a submit whose number and stamp are written over for each record."""

    def __init__(self, session: int, count: int, size: int) -> None:
        head = bytes([FIXARRAY | 6, FIXSTR | 6]) + b"submit"
        head += struct.pack(">BQBI", UINT64, session, UINT32, 1)
        self._number_at = len(head) + 1
        head += struct.pack(">BQBI", UINT64, 0, UINT32, count)
        head += struct.pack(">BH", ARRAY16, count)
        message = struct.pack(">BI", BIN32, size) + bytes(STAMP_BYTES) + b"x" * (size - STAMP_BYTES)
        self._stamp_at = len(head) + len(message) - size
        self.frame = bytearray(head + message * count)

    def prepare(self, number: int, stamp_ns: int) -> bytearray:
        """The frame of the record that begins with `number`; its first message is stamped."""
        struct.pack_into(">Q", self.frame, self._number_at, number)
        STAMP.pack_into(self.frame, self._stamp_at, stamp_ns)
        return self.frame


class RawSession:
    """One producer: its connection, its numbers, and what is in flight."""

    def __init__(
        self, context: zmq.Context[Any], endpoint: str, name: str, who: Credentials
    ) -> None:
        self.socket = connect(context, zmq.DEALER, endpoint, who)
        self.in_flight: deque[tuple[int, int]] = deque()  # last number, and when it was due
        self._id = secrets.randbits(62) | 1
        self._name = name
        self._next = 0

    def say_hello(self, cluster: str) -> None:
        self.socket.send(
            encode(ProducerHello(PROTOCOL_VERSION, cluster, self._name, self._id, False))
        )

    def await_welcome(self, count: int, size: int) -> None:
        reply = _replies.decode(self._receive())
        if not isinstance(reply, ProducerWelcome):
            raise InterlockError(f"{self._name} was not welcomed: {reply}")
        self._next = reply.accepted_producer_seq + 1
        self._count = count
        self._submission = Submission(self._id, count, size)

    def submit(self, due_ns: int) -> None:
        self.socket.send(self._submission.prepare(self._next, due_ns))
        self._next += self._count
        self.in_flight.append((self._next - 1, due_ns))

    def take(self, frame: bytes, collector: Collector) -> None:
        """A reply: what it confirms is no longer in flight."""
        reply = _replies.decode(frame)
        if isinstance(reply, Confirmed):
            run = reply.runs[-1]
            last, now = run.producer_seq + run.count - 1, time.monotonic_ns()
            while self.in_flight and self.in_flight[0][0] <= last:
                collector.take(self.in_flight.popleft()[1], now, self._count)
        elif isinstance(reply, Refused):
            raise InterlockError(f"{self._name} was refused ({reply.reason.value}): {reply.text}")
        elif not isinstance(reply, ProducerPong):
            raise InterlockError(f"{self._name} got what it does not expect: {reply}")

    def drain(self, collector: Collector) -> None:
        """Takes all replies that are here."""
        while True:
            try:
                frame = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            self.take(frame, collector)

    def wait(self, collector: Collector) -> None:
        """Takes the next reply, and all that came with it."""
        self.take(self._receive(), collector)
        self.drain(collector)

    def _receive(self) -> bytes:
        try:
            return self.socket.recv()
        except zmq.Again:
            text = f"{self._name} got no answer for {ANSWER_MS // 1_000} s"
            raise InterlockError(text) from None


class RawLoad:
    """All raw producers of a scenario, in this process."""

    def __init__(self, scenario: Scenario, config: Config, prefix: str) -> None:
        self._scenario = scenario
        self._collector = Collector()
        # A descriptor that is readable when one of the sockets' is, made before them: select, which
        # alone takes microseconds, knows small ones only.
        self._ready = select.epoll()
        self._context: zmq.Context[Any] = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, scenario.producers + 16)
        endpoint = config.node(config.pair.primary).intake
        who = credentials(config)
        self._sessions = [
            RawSession(self._context, endpoint, f"{prefix}-{index}", who)
            for index in range(scenario.producers)
        ]
        for session in self._sessions:
            session.say_hello(config.cluster)
        for session in self._sessions:
            session.await_welcome(scenario.record, scenario.size)
        self._by_fd = {
            int(session.socket.getsockopt(zmq.FD)): session for session in self._sessions
        }
        for fd in self._by_fd:
            self._ready.register(fd, select.EPOLLIN)

    def run(self, span: Span) -> Collector:
        """Sends until the span has ended, and waits for what is in flight then."""
        if self._scenario.load is Load.OPEN:
            self._run_open(span)
        else:
            self._run_full(span)
        while any(session.in_flight for session in self._sessions):
            self._take(LOOK_S)
            if time.monotonic_ns() > span.end_ns + ANSWER_MS * 1_000_000:
                raise InterlockError(f"records stayed unconfirmed for {ANSWER_MS // 1_000} s")
        self._context.destroy(linger=0)
        return self._collector

    def _run_full(self, span: Span) -> None:
        """Keeps the window of each producer full; it is one record in a closed loop."""
        depth = self._scenario.records_in_flight if self._scenario.load is not Load.CLOSED else 1
        alone = self._sessions[0] if len(self._sessions) == 1 else None
        ready = self._sessions
        while (now := time.monotonic_ns()) < span.end_ns:
            for session in ready:
                while len(session.in_flight) < depth:
                    session.submit(now)
                    now = time.monotonic_ns()
                session.drain(self._collector)
            if alone and alone.in_flight:
                alone.wait(self._collector)
            else:
                ready = self._take(LOOK_S) or self._sessions

    def _run_open(self, span: Span) -> None:
        """Submits each record when it is due, in turn over the producers; a window that is full
        makes records late, and never the schedule."""
        step_ns = 1e9 / self._scenario.rate
        self._collector.set_step(step_ns)
        count, begin_ns = self._scenario.record, time.monotonic_ns()
        sent = 0
        while True:
            # A record can leave once its last message is due; its first one has waited since.
            first_ns = begin_ns + int(sent * step_ns)
            due_ns = first_ns + int((count - 1) * step_ns)
            if due_ns >= span.end_ns:
                return
            session = self._sessions[sent // count % len(self._sessions)]
            if (ahead_ns := due_ns - time.monotonic_ns()) > 0:
                self._take(ahead_ns / 1e9)
            elif len(session.in_flight) < self._scenario.records_in_flight:
                session.submit(first_ns)
                session.drain(self._collector)
                sent += count
            else:
                self._take(LOOK_S)

    def _take(self, wait_s: float) -> list[RawSession]:
        """Takes what comes within `wait_s`; the producers that may have got something. Right only
        if each socket was found empty after its last use."""
        select.select([self._ready], [], [], wait_s)
        ready = [self._by_fd[fd] for fd, _ in self._ready.poll(0)]
        for session in ready:
            session.drain(self._collector)
        return ready
