"""Submits the messages of a quarantined tail again: each under its own producer's name and number.

Decides what of it is new, what the log has already, and what must be left alone. Exactly-once does
the work: the leader takes each number once, so the same tail may be submitted any number of times.

Why a living producer is left alone: it keeps what was not confirmed and submits it by itself. A
second session under its name would take the name away from it in the middle of that. So this one
only asks for names that nobody uses (`resume`), and what was refused is told, never forced.

A number that the log has is known by its number alone. If a producer was started anew and gave the
number to another message, the quarantined one stays out, and only its export shows it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from enum import Enum

import msgspec

from ..shared.credentials import PLAIN, Credentials
from ..shared.errors import Reason
from ..shared.messages import (
    PROTOCOL_VERSION,
    Codec,
    Confirmed,
    IntakeReply,
    Message,
    ProducerBye,
    ProducerHello,
    ProducerPing,
    ProducerWelcome,
    Refused,
    Submit,
    encode,
)
from ..shared.wire import Kind, Record
from .dealer import Dealer

_replies: Codec[IntakeReply] = Codec(IntakeReply)

RETRY_S = 0.1
PING_S = 0.2
BYE_LINGER_MS = 200


class Fate(Enum):
    """What became of one producer's part of a tail."""

    DONE = "done"  # all of it is in the log and released
    CONNECTED = "connected"  # the producer has a session and submits by itself: left alone
    GAP = "gap"  # numbers before it are in neither: what is after them cannot be submitted
    REFUSED = "refused"  # the leader took no more; the text says why
    UNKNOWN = "unknown"  # no confirmation came: the last submission may be in the log


class ProducerPart(msgspec.Struct):
    """One producer's messages of a tail, and what became of them: counts of messages."""

    producer: str
    first_producer_seq: int
    last_producer_seq: int
    messages: int
    submitted: int = 0
    already_there: int = 0
    skipped: int = 0
    fate: Fate = Fate.DONE
    text: str = ""


def by_producer(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The data records of a tail by producer, each in the order of its numbers."""
    found: dict[str, list[Record]] = {}
    for record in records:
        if record.kind is Kind.DATA:
            found.setdefault(record.producer, []).append(record)
    return found


def part_of(producer: str, records: Sequence[Record]) -> ProducerPart:
    """What there is to submit of one producer."""
    last = records[-1]
    return ProducerPart(
        producer,
        records[0].producer_seq,
        last.producer_seq + last.count - 1,
        sum(record.count for record in records),
    )


def resubmit(
    intake: str,
    cluster: str,
    records: Sequence[Record],
    timeout: float = 10.0,
    who: Credentials = PLAIN,
) -> list[ProducerPart]:
    """Submits the data records of a tail to the leader's `intake`, one producer after the other.

    `timeout`: seconds for each hello and each record. What was not submitted, and why, is in the
    parts; nothing is raised for it.
    """
    parts = []
    for producer, own in by_producer(records).items():
        part = part_of(producer, own)
        session = _Session(intake, cluster, who, part, timeout)
        try:
            session.run(own)
        finally:
            session.close()
        part.skipped = part.messages - part.submitted - part.already_there
        parts.append(part)
    return parts


class _Stop(Exception):
    """This producer's part ends here."""

    def __init__(self, fate: Fate, text: str) -> None:
        super().__init__(text)
        self.fate = fate
        self.text = text


class _Session:
    """One producer's session with the leader: a record at a time, each confirmed before the next.

    Slow beside `Producer`, and simple: nothing is under way that could be confirmed twice.
    """

    def __init__(
        self, intake: str, cluster: str, who: Credentials, part: ProducerPart, timeout: float
    ) -> None:
        self._part = part
        self._cluster = cluster
        self._timeout = timeout
        self._session = secrets.randbits(63)
        self._attempt = 1
        self._accepted = 0
        self._welcomed = False
        self._socket = Dealer(intake, who)

    def run(self, records: Sequence[Record]) -> None:
        try:
            self._hello()
            for record in records:
                self._one(record)
        except _Stop as stop:
            self._part.fate, self._part.text = stop.fate, stop.text

    def close(self) -> None:
        if self._welcomed:
            self._socket.send(encode(ProducerBye(self._session)))
        self._socket.close(BYE_LINGER_MS)

    def _hello(self) -> None:
        producer = self._part.producer
        hello = ProducerHello(PROTOCOL_VERSION, self._cluster, producer, self._session, resume=True)
        end = time.monotonic() + self._timeout
        self._send(hello)
        while True:
            reply = self._receive(end)
            match reply:
                case None:
                    raise _Stop(Fate.REFUSED, "the leader's intake did not answer: none submitted")
                case ProducerWelcome():
                    self._welcomed = True
                    self._accepted = reply.accepted_producer_seq
                    return
                case Refused(Reason.BUSY | Reason.NOT_PRIMARY):
                    self._pause(end, reply)
                    self._send(hello)
                case Refused():
                    raise self._refused(reply)
                case _:
                    pass

    def _one(self, record: Record) -> None:
        """Brings one record into the log, or finds that it is there."""
        first, last = record.producer_seq, record.producer_seq + record.count - 1
        if first > self._accepted + 1:
            raise _Stop(
                Fate.GAP,
                f"the log ends at number {self._accepted} of this producer and the tail goes on at "
                f"{first}: {self._accepted + 1} to {first - 1} are in neither",
            )
        fresh = max(0, last - self._accepted)
        # What the log has is submitted too: it may be sequenced and not be released yet.
        self._submit(record, last)
        self._part.submitted += fresh
        self._part.already_there += record.count - fresh
        self._accepted = max(self._accepted, last)

    def _submit(self, record: Record, last: int) -> None:
        end = time.monotonic() + self._timeout
        self._send(self._submission(record))
        confirmed = record.producer_seq - 1
        while confirmed < last:
            reply = self._receive(end)
            match reply:
                case None:
                    raise _Stop(
                        Fate.UNKNOWN,
                        f"numbers {record.producer_seq} to {last} were submitted and not confirmed "
                        f"within {self._timeout:g} s: they may be in the log; run it again",
                    )
                case Confirmed():
                    for run in reply.runs:
                        if run.producer_seq <= confirmed + 1:
                            confirmed = max(confirmed, run.producer_seq + run.count - 1)
                case Refused(Reason.BUSY | Reason.DISK_FULL) if reply.attempt == self._attempt:
                    self._pause(end, reply)
                    self._attempt += 1
                    self._send(self._submission(record))
                case Refused() if reply.attempt in (0, self._attempt):
                    raise self._refused(reply)
                case _:
                    pass

    def _submission(self, record: Record) -> Submit:
        payload = msgspec.Raw(bytes(record.payload))
        return Submit(self._session, self._attempt, record.producer_seq, record.count, payload)

    def _refused(self, reply: Refused) -> _Stop:
        if reply.reason is Reason.TAKEN_OVER:
            return _Stop(
                Fate.CONNECTED,
                f"producer {self._part.producer} is connected and submits by itself",
            )
        return _Stop(Fate.REFUSED, f"{reply.reason.value}: {reply.text}")

    def _pause(self, end: float, reply: Refused) -> None:
        if time.monotonic() + RETRY_S >= end:
            raise _Stop(Fate.REFUSED, f"{reply.reason.value}: {reply.text}")
        time.sleep(RETRY_S)

    def _send(self, message: Message) -> None:
        self._socket.send(encode(message))

    def _receive(self, end: float) -> IntakeReply | None:
        """The next answer of this session; None if there is none until `end`. Pings meanwhile."""
        while (left := end - time.monotonic()) > 0:
            if (frame := self._socket.receive(min(left, PING_S))) is not None:
                reply = _replies.decode(frame)
                if isinstance(reply, Refused) and reply.session == 0:
                    return reply
                if reply.session == self._session:
                    return reply
            elif self._welcomed:
                self._send(ProducerPing(self._session))
        return None
