"""A reader's place in the log: which record is next, and whether it carries on what was read.

Decides order and history. Does not decide where records come from nor who is asked for missing ones
(`consumer_core`, `replay_core`).

A record is taken if and only if it is the next one and carries on the hash chain. One that lies
ahead is kept, within a bound, until what is missing before it has come. One that lies behind must
be one that was read, by its epoch and hash; otherwise the log has another history.

Epochs never fall along a log. So a record of a lower epoch than the one that was read at its place
(or, ahead, than the last one that was read) is not in this log: it comes from a primary whose epoch
has ended, and it is refused (`refused`). `consumer_core` decides whether that ends reading. Reading
old records, in order, is another thing: what is behind the reader's place was read, what is next
only has to carry on. Of the rest, each of these ends reading:
- the next record does not carry on the last one that was read, in the same epoch or a higher one;
- a record of a higher epoch lies where one of a lower epoch was read: the new leader's log parts
  from what was read before that place;
- a record of the epoch that was read has another hash or other bounds than the one that was read.
"""

from __future__ import annotations

from collections import deque

import msgspec

from ..shared.errors import Reason, RemoteError
from ..shared.limits import CONSUMER_LIVE_BYTES, CONSUMER_RECENT_RECORDS
from ..shared.log import Chain
from ..shared.wire import GENESIS, Kind, Position, Record, decode_messages
from .errors import HistoryError

# Epochs of which a reader remembers where they began; of older ones it compares hashes only.
_REIGNS = 64


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
        self.refused: Record | None = None  # the last record of an ended epoch, until it is judged
        self._chain: Chain | None = None
        self._reigns: deque[tuple[int, int]] = deque(maxlen=_REIGNS)
        self._recent: dict[int, int] = {after.seq: after.hash} if after and after.seq else {}
        self._kept: deque[Record] = deque()
        self._kept_bytes = 0

    @property
    def epoch(self) -> int:
        """The epoch of the last record that was read; 0 before that."""
        return self._chain.epoch if self._chain is not None else 0

    def begin_at(self, seq: int) -> None:
        """Sets where reading begins, if that was left open."""
        self.next = self.next or seq

    def take(self, record: Record) -> Delivery | None:
        """The record as a delivery if it is the next one; None if it was read before, is kept, or
        is refused.

        Raises HistoryError if it belongs to another history than what was read.
        """
        chain = self._chain
        ended = chain is not None and record.epoch < chain.epoch
        if record.seq > self.next:
            if ended:
                self.refused = record
            else:
                self._keep(record)
            return None
        last = record.seq + record.count - 1
        if last < self.next:
            self._check_known(record, last)
            return None
        if chain is None:
            chain = self._begin(record)
        elif ended and record.prev_hash != chain.hash:
            self.refused = record
            return None
        try:
            chain.check(record)
            bodies = _bodies(record)
        except RemoteError as error:
            raise _other_history(record, self.epoch, str(error)) from None
        if record.epoch != self.epoch:
            self._begin_reign(record)
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

    def _begin_reign(self, record: Record) -> None:
        """A higher epoch has begun. What was kept of lower ones lies ahead of it, and so cannot be
        in this log; it was not delivered, so there is nothing to complain of.
        """
        self._reigns.append((record.seq, record.epoch))
        if self._kept:
            self._kept = deque(kept for kept in self._kept if kept.epoch >= record.epoch)
            self._kept_bytes = sum(len(kept.raw) for kept in self._kept)

    def _check_known(self, record: Record, last: int) -> None:
        read = next((epoch for first, epoch in reversed(self._reigns) if first <= last), None)
        if read is not None and record.epoch < read:
            self.refused = record
            return
        if read is not None and record.epoch > read:
            raise _other_history(record, read, "it lies where another record was read")
        recent = self._recent
        if recent and last >= next(iter(recent)) and recent.get(last) != record.hash:
            raise _other_history(
                record,
                read or 0,
                f"a record that ends at seq {last} has hash {record.hash:016x}, "
                "but another one was read there",
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


def _other_history(record: Record, read: int, what: str) -> HistoryError:
    """Names the place and both epochs (`read` 0: it is only known which position was read), how it
    can have come about, and what is to be done.
    """
    place = f"at seq {record.seq} there is a record of epoch {record.epoch}"
    cause = "compare what the nodes hold with interlock log diff before going on"
    if not read:
        cause = (
            "the position to go on after is of another log, or of records that were given up since "
            "(--accept-loss): see interlock history, and begin anew at a seq instead"
        )
    elif record.epoch > read:
        cause = (
            f"epoch {record.epoch} was begun without records that were read here: an operator gave "
            "them up (--accept-loss), or a node came back with an older copy of the log: see "
            f"interlock history, undo what was done with seq {record.seq} and after, and read from "
            "there again"
        )
    if read:
        place += f", after epoch {read} was read"
    return HistoryError(f"the log has another history than what was read: {place}: {what}; {cause}")
