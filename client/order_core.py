"""A reader's place in the log: which record is next, and whether it carries on what was read.

Decides order and history. Does not decide where records come from nor who is asked for missing ones
(`consumer_core`, `replay_core`).

A record is taken if and only if it is the next one and carries on the hash chain. One that lies
ahead is kept, within a bound, until what is missing before it has come. One that lies behind must
be one that was read, by its hash; otherwise the log has another history.
"""

from __future__ import annotations

from collections import deque

import msgspec

from ..shared.errors import Reason, RemoteError
from ..shared.limits import CONSUMER_LIVE_BYTES, CONSUMER_RECENT_RECORDS
from ..shared.log import Chain
from ..shared.wire import GENESIS, Kind, Position, Record, decode_messages
from .errors import HistoryError


class Delivery(msgspec.Struct, gc=False):
    """A record that is next in the log, and its messages; the first `skip` were not asked for."""

    record: Record
    bodies: list[bytes]
    skip: int
    position: Position


class Order:
    """What was read so far, and what is kept of what comes later. `next` is 0 while unknown."""

    def __init__(self, from_seq: int, after: Position | None) -> None:
        """Begins after `after`, else with `from_seq`; 0: with whatever `begin_at` says."""
        self.next = from_seq if after is None else after.seq + 1
        self._start = GENESIS if after is None and from_seq == 1 else after
        self._chain: Chain | None = None
        self._recent: dict[int, int] = {}
        self._kept: deque[Record] = deque()
        self._kept_bytes = 0

    def begin_at(self, seq: int) -> None:
        """Sets where reading begins, if that was left open."""
        self.next = self.next or seq

    def take(self, record: Record) -> Delivery | None:
        """The record as a delivery if it is the next one; None if it was read before or is kept.

        Raises HistoryError if it belongs to another history than what was read.
        """
        if record.seq > self.next:
            self._keep(record)
            return None
        last = record.seq + record.count - 1
        if last < self.next:
            self._check_known(record, last)
            return None
        chain = self._chain
        if chain is None:
            chain = self._begin(record)
        try:
            chain.check(record)
            bodies = _bodies(record)
        except RemoteError as error:
            raise HistoryError(f"the log has another history than what was read: {error}") from None
        chain.advance(record)
        self._chain = chain
        self._recent[last] = record.hash
        if len(self._recent) > CONSUMER_RECENT_RECORDS:
            del self._recent[next(iter(self._recent))]
        skip = self.next - record.seq
        self.next = last + 1
        return Delivery(record, bodies, skip, Position(last, record.hash))

    def next_kept(self) -> Record | None:
        """A record that was kept and is not ahead any more, to be taken."""
        if not self._kept or self._kept[0].seq > self.next:
            return None
        record = self._kept.popleft()
        self._kept_bytes -= len(record.raw)
        return record

    def _begin(self, record: Record) -> Chain:
        """The chain that the first record must carry on: all that is known of what is before it."""
        start = self._start or Position(record.seq - 1, record.prev_hash)
        epoch = record.epoch - 1 if record.kind is Kind.EPOCH_OPENED else record.epoch
        return Chain(start, epoch, record.time_ns)

    def _check_known(self, record: Record, last: int) -> None:
        recent = self._recent
        if recent and last >= next(iter(recent)) and recent.get(last) != record.hash:
            raise HistoryError(
                f"the log has another history than what was read: a record that ends at seq {last} "
                f"has hash {record.hash:016x}, but another one was read there"
            )

    def _keep(self, record: Record) -> None:
        """The oldest give way: the newest are what replay will not have caught up with."""
        kept = self._kept
        if kept and record.seq <= kept[-1].seq:
            return
        kept.append(record)
        self._kept_bytes += len(record.raw)
        while self._kept_bytes > CONSUMER_LIVE_BYTES and len(kept) > 1:
            self._kept_bytes -= len(kept.popleft().raw)


def _bodies(record: Record) -> list[bytes]:
    if record.kind is not Kind.DATA:
        return [bytes(record.payload)]
    bodies = decode_messages(record.payload)
    if len(bodies) != record.count:
        raise RemoteError(
            Reason.BAD_COUNT,
            f"the record at seq {record.seq} counts {record.count} messages "
            f"and holds {len(bodies)}",
        )
    return bodies
