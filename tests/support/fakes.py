"""Stand-ins for one node of a pair, to misbehave towards the other one, which is real.

They speak the protocol with `shared.messages` and keep a log of their own; what a test makes of
that is its own affair.
"""

from __future__ import annotations

import time
from typing import TypeVar

import zmq

from interlock.cli.embedded import EmbeddedPair
from interlock.primary.intake import Fresh, Session
from interlock.primary.sequence import Sequenced, Sequencer
from interlock.shared.epochs import Mode
from interlock.shared.handed import Opening
from interlock.shared.log import LogState
from interlock.shared.messages import (
    PROTOCOL_VERSION,
    Codec,
    LinkAck,
    LinkBeat,
    LinkFromPrimary,
    LinkFromSecondary,
    LinkHello,
    LinkPromise,
    LinkPromised,
    LinkRecords,
    LinkWelcome,
    Message,
)
from interlock.shared.wire import encode_messages, parse_records
from support.pair import PATIENCE_S, Raw

M = TypeVar("M", bound=Message)


class FakeStandby(Raw):
    """Node "b" towards a real node "a". `log` outlives it: give it to the next one."""

    _from_primary: Codec[LinkFromPrimary] = Codec(LinkFromPrimary)
    _sessions = 1 << 40

    def __init__(self, pair: EmbeddedPair, log: LogState) -> None:
        super().__init__(pair.config.node("a").link)
        self.cluster = pair.config.cluster
        self.log = log
        self.session = 0
        self.epoch = 0

    def hello(self) -> None:
        """A new session, from the end of the log."""
        FakeStandby._sessions += 1
        self.session = FakeStandby._sessions
        log, epochs = self.log, self.log.history.epochs
        self.send(
            LinkHello(
                PROTOCOL_VERSION,
                self.cluster,
                "b",
                1,
                self.session,
                epochs,
                log.position,
                log.history.number,
                "written",
            )
        )

    def follow(self) -> LinkWelcome:
        """Says hello, promises what it is asked for, and is welcomed."""
        self.hello()
        message = self.next_of(LinkPromise | LinkWelcome)
        if isinstance(message, LinkPromise):
            self.send(LinkPromised(self.session, message.epoch))
            message = self.next_of(LinkWelcome)
        assert isinstance(message, LinkWelcome)
        self.epoch = message.epoch
        while message.target and self.log.last_seq < message.target.seq:
            self.take_records()
        return message

    def take_records(self) -> None:
        """Takes the next frame of records in."""
        for record in parse_records(self.next_of(LinkRecords).records):
            self.log.apply(record)

    def ack(self) -> None:
        """Acknowledges all that it holds."""
        self.send(LinkAck(self.session, self.epoch, self.log.position))

    def next_of(self, kind: type[M]) -> M:
        """The next message of a kind; those before it are dropped."""
        end = time.monotonic() + PATIENCE_S
        while not isinstance(message := self.receive(self._from_primary), kind):
            assert time.monotonic() < end, f"no {kind} came; the last was {message}"
        return message


class FakePrimary(Raw):
    """Node "a" towards a real node "b"."""

    _from_secondary: Codec[LinkFromSecondary] = Codec(LinkFromSecondary)

    def __init__(self, pair: EmbeddedPair) -> None:
        super().__init__(pair.config.node("a").link, zmq.ROUTER, bind=True)
        self.level = pair.config.pair.ack_level.value
        self.log = LogState()
        self.sequencer = Sequencer(self.log, "a")
        self.sender = b""
        self.session = 0
        self._raws: list[tuple[int, bytes]] = []

    def next_of(self, kind: type[M]) -> M:
        """The next message of a kind, from whichever connection; those before it are dropped."""
        end = time.monotonic() + PATIENCE_S
        while True:
            frames = self.frames()
            assert frames is not None, "the standby is silent"
            message = self._from_secondary.decode(frames[1])
            if isinstance(message, kind):
                self.sender = frames[0]
                return message
            assert time.monotonic() < end, f"no {kind} came; the last was {message}"

    def accept(self) -> LinkHello:
        """Waits until the standby dials. While nobody listened it may have dialled more than once:
        the newest hello is the one that it stands by."""
        hello = self.next_of(LinkHello)
        while self.socket.poll(0):
            hello = self._newer(hello)
        self.session = hello.session
        return hello

    def _newer(self, hello: LinkHello) -> LinkHello:
        """The next message if it is a hello, or the one before it."""
        sender, frame = self.socket.recv_multipart()
        message = self._from_secondary.decode(frame)
        if not isinstance(message, LinkHello):
            return hello
        self.sender = sender
        return message

    def promised(self) -> LinkHello:
        """Has the standby promise the epoch of the log; the hello that it had said."""
        while True:
            hello = self.accept()
            self.tell(LinkPromise(hello.session, self.log.history.number))
            if isinstance(self.next_of(LinkPromised | LinkHello), LinkPromised):
                return hello

    def stand(self) -> None:
        """Lets the standby follow, and returns when it has acknowledged all of the log."""
        hello: LinkHello | None = None
        while True:
            hello = hello or self.accept()
            self.session = hello.session
            self.welcome(hello)
            self.stream(*(raw for seq, raw in self._raws if seq > hello.last.seq))
            answer = self.next_of(LinkAck | LinkHello)
            while isinstance(answer, LinkAck) and answer.session == hello.session:
                if answer.last == self.log.position:
                    return
                answer = self.next_of(LinkAck | LinkHello)
            # The test was held up for so long that the standby has dialled again.
            hello = answer if isinstance(answer, LinkHello) else None

    def tell(self, *frames: bytes | Message) -> None:
        """Sends to the standby."""
        self.send(self.sender, *frames)

    def welcome(self, hello: LinkHello, **changes: object) -> None:
        """Opens the stream where the standby's log ends, unless `changes` say otherwise."""
        fields: dict[str, object] = {
            "session": hello.session,
            "node": "a",
            "incarnation": 1,
            "epoch": self.log.history.number,
            "common": hello.last,
            "target": self.log.position,
            "ack_level": self.level,
        }
        self.tell(LinkWelcome(**{**fields, **changes}))  # type: ignore[arg-type]

    def stream(self, *raws: bytes, released_seq: int = 0) -> None:
        """Sends records, in one frame."""
        self.tell(LinkRecords(self.session, released_seq, memoryview(b"".join(raws))))

    def open_epoch(self) -> bytes:
        """The record that opens the next epoch; it is in the log."""
        number = self.log.history.number + 1
        opening = Opening(number, Mode.GATED, "", "test", "", False)
        return self._keep(self.sequencer.open_epoch(opening, 0, 0))

    def record(self, *bodies: bytes) -> bytes:
        """The next data record, of the producer "p"; it is in the log."""
        entry = self.log.producers.get("p")
        number = entry.last_producer_seq + 1 if entry else 1
        fresh = Fresh(Session(b"", "p", 1), number, len(bodies), encode_messages(bodies))
        return self._keep(self.sequencer.data(fresh, 0, time.time_ns()))

    def _keep(self, record: Sequenced) -> bytes:
        self._raws.append((record.last.seq, record.raw))
        return record.raw

    def await_ack(self) -> LinkAck:
        """Waits until the standby acknowledges all of the log."""
        while (ack := self.next_of(LinkAck)).last != self.log.position:
            pass
        return ack

    def beat(self, **changes: object) -> None:
        """A heartbeat; `changes` to what is true."""
        last_seq = self.log.last_seq
        fields = {
            "session": self.session,
            "epoch": self.log.history.number,
            "last_seq": last_seq,
            "synced_seq": last_seq,
            "released_seq": 0,
            "state": "GATED",
        }
        self.tell(LinkBeat(**{**fields, **changes}))  # type: ignore[arg-type]
