"""Epochs: the reigns of the log, and how two histories compare.

Decides whether one log is a prefix of another, by epoch entries and hashes, never by length alone.
Does not decide who may open an epoch (primary and secondary do, by promises).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import msgspec

from .errors import LocalError, Reason, RemoteError
from .wire import Position, Record


class Mode(Enum):
    """How releases are decided in an epoch."""

    GATED = "gated"  # nothing is released before the standby holds it
    SOLO = "solo"  # released without a standby, by an operator's decision


class EpochOpened(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Payload of an epoch-opened record. `first_seq` is the seq of that record itself.

    `operation` is the id of the operation that opened it, empty if the leader did so by itself.
    `accepted_loss`: the operator opened it knowing that released messages may be missing before it.
    """

    number: int
    leader: str
    mode: Mode
    first_seq: int
    operator: str
    reason: str
    operation: str = ""
    accepted_loss: bool = False


class EpochClosed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Payload of an epoch-closed record: the last of its epoch. Its leader surrenders once the
    successor has acknowledged it; with `handover` the successor takes the lead by itself."""

    number: int
    leader: str
    successor: str
    handover: bool
    operator: str
    reason: str
    operation: str


class Epoch(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One entry of the history: what was opened, and the hash of the record that opened it."""

    number: int
    leader: str
    mode: Mode
    first_seq: int
    hash: int
    accepted_loss: bool = False


_opened_decoder = msgspec.msgpack.Decoder(EpochOpened)
_closed_decoder = msgspec.msgpack.Decoder(EpochClosed)


def decode_epoch_closed(record: Record) -> EpochClosed:
    """The payload of an epoch-closed record. Raises RemoteError(MALFORMED) if it is not one."""
    try:
        closed = _closed_decoder.decode(record.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteError(
            Reason.MALFORMED, f"an epoch-closed record that cannot be read: {error}"
        ) from None
    if closed.number != record.epoch:
        raise RemoteError(
            Reason.MALFORMED,
            f"a record of epoch {record.epoch} at seq {record.seq} that closes {closed.number}",
        )
    return closed


def decode_epoch_opened(record: Record) -> EpochOpened:
    """The payload of an epoch-opened record. Raises RemoteError(MALFORMED) if it is not one."""
    try:
        opened = _opened_decoder.decode(record.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteError(
            Reason.MALFORMED, f"an epoch record that cannot be read: {error}"
        ) from None
    if (opened.number, opened.first_seq) != (record.epoch, record.seq):
        raise RemoteError(
            Reason.MALFORMED,
            f"an epoch record at seq {record.seq}, epoch {record.epoch}, that says it opens "
            f"epoch {opened.number} at seq {opened.first_seq}",
        )
    return opened


class History:
    """The epochs of a log, oldest first, numbers strictly rising."""

    def __init__(self, epochs: Sequence[Epoch] = ()) -> None:
        self.epochs = list(epochs)

    @property
    def last(self) -> Epoch | None:
        return self.epochs[-1] if self.epochs else None

    @property
    def number(self) -> int:
        """The number of the newest epoch; 0 for an empty log."""
        return self.epochs[-1].number if self.epochs else 0

    def open(self, epoch: Epoch) -> None:
        last = self.last
        if last and (epoch.number <= last.number or epoch.first_seq <= last.first_seq):
            raise LocalError(f"epoch {epoch} cannot follow {last}")
        self.epochs.append(epoch)

    def apply(self, record: Record) -> None:
        """Takes note of an epoch-opened record. Raises RemoteError if it opens no later epoch."""
        opened = decode_epoch_opened(record)
        if opened.number <= self.number:
            raise RemoteError(
                Reason.WRONG_EPOCH, f"epoch {opened.number} opened after epoch {self.number}"
            )
        self.open(
            Epoch(
                opened.number,
                opened.leader,
                opened.mode,
                record.seq,
                record.hash,
                opened.accepted_loss,
            )
        )


class Relation(Enum):
    """How another log stands to ours."""

    SAME = "same"  # both end at the same record
    BEHIND = "behind"  # theirs is a prefix of ours, proven by the hash at its end
    AHEAD = "ahead"  # ours can be a prefix of theirs: they have to prove it by the hash at our end
    DIVERGED = "diverged"  # the same seq has two values


def compare(
    ours: History,
    our_last: Position,
    theirs: Sequence[Epoch],
    their_last: Position,
    our_hash_at_their_last: int | None,
) -> Relation:
    """The relation of their log to ours.

    `our_hash_at_their_last` is the hash of our record that ends at `their_last.seq`, 0 for seq 0,
    None if no record of ours ends there. The hash chain makes one equal hash prove the whole
    prefix.

    Why lengths are not enough: A releases 10, B is promoted at 8 and goes on to 12. "12 > 10" would
    call A a prefix of B, but 9 and 10 differ (ZooKeeper 1154, Kafka KIP-101).
    """
    if their_last.seq <= our_last.seq:
        if our_hash_at_their_last != their_last.hash:
            return Relation.DIVERGED
        return Relation.SAME if their_last.seq == our_last.seq else Relation.BEHIND
    newest = ours.last
    if newest is None:
        return Relation.AHEAD if our_last.seq == 0 else Relation.DIVERGED
    for index, epoch in enumerate(theirs):
        if epoch == newest:
            later = theirs[index + 1] if index + 1 < len(theirs) else None
            if later is None or later.first_seq > our_last.seq:
                return Relation.AHEAD
            return Relation.DIVERGED
    return Relation.DIVERGED


def common_seq(
    ours: Sequence[Epoch], our_last_seq: int, theirs: Sequence[Epoch], their_last_seq: int
) -> int:
    """The last seq at which both logs can hold the same record; 0 if they share no epoch.

    Within an epoch, which has one leader, one log is a prefix of the other. So the logs part where
    the newest epoch that both know ends in one of them. The hashes there have to prove it.
    """
    known = set(theirs)
    for index in range(len(ours) - 1, -1, -1):
        if ours[index] in known:
            our_end = ours[index + 1].first_seq - 1 if index + 1 < len(ours) else our_last_seq
            after = [epoch.first_seq for epoch in theirs if epoch.number > ours[index].number]
            return min(our_end, min(after) - 1 if after else their_last_seq)
    return 0


def describe(epochs: Sequence[Epoch], after_seq: int, last_seq: int) -> list[str]:
    """Where the epochs beyond `after_seq` lie, a line each, for an operator."""
    lines = []
    for index, epoch in enumerate(epochs):
        end = epochs[index + 1].first_seq - 1 if index + 1 < len(epochs) else last_seq
        if end > after_seq:
            first = max(epoch.first_seq, after_seq + 1)
            lines.append(
                f"epoch {epoch.number} ({epoch.mode.value}), led by {epoch.leader}: "
                f"seq {first} to {end}"
            )
    return lines
