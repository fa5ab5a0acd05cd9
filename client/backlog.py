"""What a producer was given and has not seen confirmed: collected, numbered, ready to repeat.

Decides which messages make up a record and which record is next to be sent, and what a
confirmation confirms. Does not decide when to send, to whom, or what a refusal means: that is
`producer_core`.

The messages of one record share one `Batch`, so that a message costs an append and a confirmation
costs a few steps per record. A ticket is a batch and an index: once a batch is confirmed only the
tickets that somebody still holds keep it alive.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from ..shared.limits import MAX_PAYLOAD_BYTES, MAX_RECORD_MESSAGES, PRODUCER_WINDOW_BYTES
from ..shared.producers import Run
from ..shared.wire import encode_messages

# MessagePack needs at most five bytes in front of a byte string, and of an array.
_ENVELOPE: Final = 5


class Batch:
    """The messages of one record, in the producer's order.

    `first` is the producer_seq of message 0. Messages 0 .. confirmed-1 are in the log for good;
    `places` says where: pairs of an index and its seq, each valid up to the next pair.
    """

    __slots__ = (
        "bodies", "bytes", "confirmed", "count", "first", "opened_ns", "payload", "places",
        "was_sent",
    )  # fmt: skip

    def __init__(self, first: int, opened_ns: int) -> None:
        self.first = first
        self.opened_ns = opened_ns
        self.bodies: list[bytes] = []
        self.bytes = _ENVELOPE
        self.count = 0
        self.confirmed = 0
        self.places: list[tuple[int, int]] = []
        self.payload: msgspec.Raw | None = None
        self.was_sent = False

    @property
    def last(self) -> int:
        return self.first + self.count - 1

    def encoded(self) -> msgspec.Raw:
        """The messages as they travel; encoded once, however often they are sent."""
        if self.payload is None:
            self.payload = msgspec.Raw(encode_messages(self.bodies))
            self.bodies = []
        return self.payload

    def seq_at(self, index: int) -> int:
        """The seq of a confirmed message; 0 if the log holds it and nobody remembers where."""
        for start, seq in reversed(self.places):
            if start <= index:
                return seq + index - start if seq else 0
        raise IndexError(index)

    def confirm(self, seq: int, count: int) -> None:
        """The next `count` messages have the seqs from `seq` on, or forgotten ones if `seq` is
        0.
        """
        places = self.places
        if not seq or not places or places[-1][1] + self.confirmed - places[-1][0] != seq:
            places.append((self.confirmed, seq))
        self.confirmed += count
        if self.confirmed == self.count:
            self.payload = None


class Backlog:
    """All unconfirmed messages of a producer, in order: sealed batches, then the open one.

    The first `sent` of the sealed batches are on their way in the present attempt.
    """

    def __init__(self, window: int, record_messages: int, record_bytes: int) -> None:
        """Raises ValueError for a number out of its bounds."""
        check_bound("window", window, 2**31)
        check_bound("record_messages", record_messages, MAX_RECORD_MESSAGES)
        check_bound("record_bytes", record_bytes, MAX_PAYLOAD_BYTES)
        self.window = window
        self.record_messages = record_messages
        self.record_bytes = record_bytes
        self.sealed: deque[Batch] = deque()
        self.open: Batch | None = None
        self.sent = 0
        self.next = 1
        self.confirmed = 0
        self._held_bytes = 0
        self._limit = window

    def start(self, confirmed: int) -> None:
        """The first message gets the number after `confirmed`."""
        self.next = confirmed + 1
        self._set_confirmed(confirmed)

    def _set_confirmed(self, confirmed: int) -> None:
        self.confirmed = confirmed
        self._limit = confirmed + self.window

    @property
    def unconfirmed(self) -> int:
        """Messages that were taken in and are not confirmed."""
        return self.next - 1 - self.confirmed

    @property
    def last_sealed(self) -> int:
        """The last number that is in a sealed batch, so that it can have been sent."""
        return self.next - 1 - (self.open.count if self.open else 0)

    def add(self, body: bytes, now_ns: int) -> Batch | None:
        """Takes a message in: it is the last one of the batch that is returned.

        None if the window is full: then nothing was taken.
        """
        size = len(body) + _ENVELOPE
        if self.next > self._limit or (
            self._held_bytes + size > PRODUCER_WINDOW_BYTES and self._held_bytes
        ):
            return None
        batch = self.open
        if batch is not None and batch.bytes + size > self.record_bytes:
            self.seal()
            batch = None
        if batch is None:
            batch = self.open = Batch(self.next, now_ns)
        batch.bodies.append(body)
        batch.bytes += size
        batch.count += 1
        self._held_bytes += size
        self.next += 1
        if batch.count >= self.record_messages:
            self.seal()
        return batch

    def seal(self) -> None:
        """Nothing more joins the open batch."""
        if self.open is not None:
            self.sealed.append(self.open)
            self.open = None

    def go_back(self, expected: int) -> None:
        """What holds `expected` is to be sent next; what is before it stays on its way."""
        self.sent = 0
        for batch in self.sealed:
            if batch.last >= expected:
                break
            self.sent += 1

    def confirm(self, run: Run) -> list[Batch] | None:
        """Takes note of a run that is released; returns the batches that it touched.

        Numbers that were confirmed before are skipped; so are numbers that were never sent here:
        the tail of an earlier session of this name, whose confirmation is not ours.
        None if numbers before the run are not confirmed: then nothing is taken note of.
        """
        expected = self.confirmed + 1
        first = max(run.producer_seq, expected)
        count = min(run.producer_seq + run.count - 1, self.last_sealed) - first + 1
        touched: list[Batch] = []
        if count <= 0:
            return touched
        if first > expected:
            return None
        seq = run.seq and run.seq + first - run.producer_seq
        self._set_confirmed(self.confirmed + count)
        while count:
            batch = self.sealed[0]
            part = min(count, batch.count - batch.confirmed)
            batch.confirm(seq, part)
            touched.append(batch)
            seq = seq and seq + part
            count -= part
            if batch.confirmed == batch.count:
                self.sealed.popleft()
                self._held_bytes -= batch.bytes - _ENVELOPE
                if self.sent:
                    self.sent -= 1
        return touched

    def renumber(self, confirmed: int) -> None:
        """Every unconfirmed message gets a new number, the first the one after `confirmed`."""
        shift = confirmed - self.confirmed
        for batch in self.sealed:
            batch.first += shift
        if self.open is not None:
            self.open.first += shift
        self.next += shift
        self._set_confirmed(confirmed)


def check_bound(name: str, value: int, high: int) -> None:
    """Raises ValueError unless `value` is 1 to `high`."""
    if not 1 <= value <= high:
        raise ValueError(f"{name} is {value}; it must be 1 to {high}")
