"""What a log amounts to so far, and the check that a record continues it.

Decides whether a record may follow. Every reader of records uses this one check: the standby, a
consumer, recovery and `interlock log verify`.
"""

from __future__ import annotations

from collections import deque

import msgspec

from .epochs import Epoch, EpochClosed, History, decode_epoch_closed
from .errors import LocalError, Reason, RemoteError
from .limits import MAX_OPERATIONS_KNOWN
from .operations import Operation, Receipt, Result, decode_receipt
from .producers import ProducerTable, Run
from .wire import GENESIS, Kind, Position, Record


class Chain:
    """The end of a log: the next record must carry on its seq, hash, epoch and time."""

    __slots__ = ("epoch", "hash", "last_seq", "time_ns")

    def __init__(self, last: Position = GENESIS, epoch: int = 0, time_ns: int = 0) -> None:
        self.last_seq = last.seq
        self.hash = last.hash
        self.epoch = epoch
        self.time_ns = time_ns

    @property
    def position(self) -> Position:
        return Position(self.last_seq, self.hash)

    def check(self, record: Record) -> None:
        """Raises RemoteError if `record` cannot be the next of this log.

        GAP: another seq than the next; DIFFERENT_HISTORY: the right seq on another past;
        WRONG_EPOCH: an epoch that was not opened here, or a lower one; MALFORMED: time runs back.
        """
        if record.seq != self.last_seq + 1:
            raise RemoteError(
                Reason.GAP, f"seq {record.seq} where {self.last_seq + 1} was expected"
            )
        if record.prev_hash != self.hash:
            raise RemoteError(
                Reason.DIFFERENT_HISTORY,
                f"the record at seq {record.seq} continues another history: it follows hash "
                f"{record.prev_hash:016x}, this log has {self.hash:016x} at seq {self.last_seq}",
            )
        if record.kind is Kind.EPOCH_OPENED:
            if record.epoch <= self.epoch:
                raise RemoteError(
                    Reason.WRONG_EPOCH,
                    f"seq {record.seq} opens epoch {record.epoch} after epoch {self.epoch}",
                )
        elif record.epoch != self.epoch:
            raise RemoteError(
                Reason.WRONG_EPOCH, f"seq {record.seq} is of epoch {record.epoch}, not {self.epoch}"
            )
        if record.time_ns < self.time_ns:
            raise RemoteError(Reason.MALFORMED, f"the time of seq {record.seq} runs back")

    def advance(self, record: Record) -> None:
        self.last_seq = record.seq + record.count - 1
        self.hash = record.hash
        self.epoch = record.epoch
        self.time_ns = record.time_ns


class LogDump(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A log state as plain data, for a checkpoint."""

    position: Position
    epoch: int
    time_ns: int
    epochs: list[Epoch]
    producers: dict[str, tuple[int, list[Run]]]
    closed: EpochClosed | None = None
    paused: str = ""
    operations: list[str] = []


class LogState:
    """Everything that a node must know of its log to carry it on; a function of the log alone."""

    def __init__(self) -> None:
        self.chain = Chain()
        self.history = History()
        self.producers = ProducerTable()
        self.closed: EpochClosed | None = None  # the closing of the newest epoch, if it is closed
        self.paused = ""  # why no submissions are taken; empty: they are
        self.operations: deque[str] = deque(maxlen=MAX_OPERATIONS_KNOWN)  # ids, oldest first

    @property
    def position(self) -> Position:
        return self.chain.position

    @property
    def last_seq(self) -> int:
        return self.chain.last_seq

    def apply(self, record: Record) -> None:
        """Checks that `record` continues this log and takes it in.

        Raises RemoteError as `Chain.check` and `History.apply` do, and RemoteError(GAP) if it does
        not continue its producer's count; the state is then unchanged.
        """
        self.chain.check(record)
        if self.closed is not None and record.kind is not Kind.EPOCH_OPENED:
            raise RemoteError(
                Reason.WRONG_EPOCH,
                f"seq {record.seq} in epoch {record.epoch}, which was closed before it",
            )
        if record.kind is Kind.DATA:
            try:
                self.producers.append(
                    record.producer, record.producer_seq, record.seq, record.count
                )
            except LocalError as error:
                raise RemoteError(Reason.GAP, f"the record at seq {record.seq}: {error}") from None
        elif record.kind is Kind.EPOCH_OPENED:
            self.history.apply(record)
            self.closed = None
        elif record.kind is Kind.EPOCH_CLOSED:
            self.closed = decode_epoch_closed(record)
        elif record.kind is Kind.OPERATION:
            self.take_receipt(decode_receipt(record))
        self.chain.advance(record)

    def take_receipt(self, receipt: Receipt) -> None:
        """What an operation record changes: whether the pair takes submissions."""
        self.operations.append(receipt.id)
        if receipt.result is Result.DONE:
            operation = receipt.request.operation
            if operation is Operation.PAUSE:
                self.paused = f"paused by {receipt.operator}: {receipt.reason}"
            elif operation is Operation.RESUME:
                self.paused = ""

    def dump(self) -> LogDump:
        return LogDump(
            self.position,
            self.chain.epoch,
            self.chain.time_ns,
            list(self.history.epochs),
            self.producers.dump(),
            self.closed,
            self.paused,
            list(self.operations),
        )

    @classmethod
    def load(cls, dump: LogDump) -> LogState:
        state = cls()
        state.chain = Chain(dump.position, dump.epoch, dump.time_ns)
        state.history = History(dump.epochs)
        state.producers = ProducerTable.load(dump.producers)
        state.closed = dump.closed
        state.paused = dump.paused
        state.operations.extend(dump.operations)
        return state


def closed_for(log: LogState) -> str:
    """The node to which the newest epoch was handed over; empty if it was not."""
    return log.closed.successor if log.closed and log.closed.handover else ""
