"""`verify`: is every byte of a journal what a node would have written?

Decides by reading all of it and trusting nothing: checksums, the hash chain, contiguity, producer
numbering, message counts, zero tails, the roll rule, and the checkpoints against the records. Uses
the same scan as recovery for where the log ends, and its own eyes for the rest.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..errors import JournalDamage, Reason, RemoteError
from ..log import Chain, LogState
from ..wire import Kind, Record, decode_messages
from .checkpoint import Checkpoint, list_checkpoints, load_checkpoint
from .reader import JournalReader, chain_before
from .scan import TornTail
from .segment import Segment


class Damage(msgspec.Struct, frozen=True):
    """Where the first damage is: `seq` was expected at `offset` of `file`."""

    file: str
    offset: int
    seq: int
    what: str


class Report(msgspec.Struct):
    """What `verify` found; the counts are those up to the first damage.

    A torn tail is no damage: a node that was killed may leave one, and cuts it at its next start;
    a running node is perhaps just writing there.
    """

    directory: str
    ok: bool = True
    first_seq: int = 0
    last_seq: int = 0
    last_hash: str = ""
    segments: int = 0
    records: int = 0
    messages: int = 0
    bytes: int = 0
    checkpoints: int = 0
    torn: TornTail | None = None
    damage: Damage | None = None


def verify(directory: Path) -> Report:
    """Checks every byte of the journal in `directory`, of a stopped or a running node.

    Raises UserError if there is no journal, LocalError if the disk fails.
    """
    report = Report(str(directory))
    reader = JournalReader(directory)
    report.first_seq = reader.first_seq
    # Before the records: a checkpoint that is visible covers only records that are.
    try:
        audit = _Audit(report, _load_checkpoints(directory))
        for segment, offset, record in reader.located(None, audit.take):
            audit.meet(segment, offset, record)
        audit.finish()
    except JournalDamage as damage:
        report.ok = False
        report.damage = Damage(damage.file, damage.offset, damage.seq, damage.what)
    report.torn = reader.torn
    return report


def _load_checkpoints(directory: Path) -> list[tuple[Path, Checkpoint | None]]:
    loaded = [(path, load_checkpoint(path)) for path in list_checkpoints(directory)]
    # A running node may have replaced the older one just now.
    return [(path, one) for path, one in reversed(loaded) if one is not None or path.exists()]


class _Audit:
    """What the records said so far, and what the checkpoints must agree with.

    A pruned log begins in the middle: until the first checkpoint tells the state there, the count
    of a producer is only checked to have no gap since the first record of it that is retained.
    """

    def __init__(self, report: Report, checkpoints: list[tuple[Path, Checkpoint | None]]) -> None:
        self._report = report
        self._checkpoints = checkpoints
        self._chain: Chain | None = None
        self._state: LogState | None = None
        self._counts: dict[str, int] = {}
        self._segment: Segment | None = None
        self._end = 0

    def take(self, record: Record) -> None:
        """Raises RemoteError or LocalError if `record` cannot be the next."""
        if self._state is None and record.seq == 1:
            self._state = LogState()
        if record.kind is Kind.DATA and len(decode_messages(record.payload)) != record.count:
            raise RemoteError(Reason.BAD_COUNT, f"it does not hold {record.count} messages")
        if self._state is not None:
            self._state.apply(record)
        else:
            self._chain = self._chain or chain_before(record)
            self._chain.check(record)
            self._count(record)
            self._chain.advance(record)

    def _count(self, record: Record) -> None:
        if record.kind is Kind.DATA:
            last = self._counts.get(record.producer, record.producer_seq - 1)
            if record.producer_seq != last + 1:
                raise RemoteError(
                    Reason.GAP, f"producer_seq {record.producer_seq} in the log after {last}"
                )
            self._counts[record.producer] = last + record.count

    def meet(self, segment: Segment, offset: int, record: Record) -> None:
        """Takes note of where `record` stands. Raises JournalDamage for a wrong place."""
        report = self._report
        size = len(record.raw)
        before = self._segment
        if segment is not before:
            report.segments += 1
            if before is not None and self._end + size <= before.size and offset == 0:
                raise JournalDamage(
                    str(segment.path),
                    0,
                    record.seq,
                    f"a segment begun too early (this record fits into {before.path.name})",
                )
            self._segment = segment
        self._end = offset + size
        report.records += 1
        report.messages += record.count
        report.bytes += size
        report.last_seq = record.last_seq
        report.last_hash = f"{record.hash:016x}"
        while self._checkpoints and (found := self._checkpoints[0][1]):
            if found.dump.position.seq > record.last_seq:
                break
            self._check(self._checkpoints.pop(0)[0], found, segment, offset, record)

    def _check(
        self, path: Path, found: Checkpoint, segment: Segment, offset: int, record: Record
    ) -> None:
        """Compares a checkpoint with the log at its record."""
        dump = found.dump
        if dump.position != record.position:
            raise _bad(path, dump.position.seq, "a checkpoint of another log")
        if (found.segment, found.offset) != (segment.first_seq, offset):
            raise _bad(path, record.last_seq, "a checkpoint that looks for its record elsewhere")
        if self._state is None:
            known = {name: dump.producers.get(name, (0, []))[0] for name in self._counts}
            if known != self._counts or (dump.epoch, dump.time_ns) != (
                record.epoch,
                record.time_ns,
            ):
                raise _bad(path, record.last_seq, "a checkpoint that contradicts the log")
            self._state = LogState.load(dump)
        elif self._state.dump() != dump:
            raise _bad(path, record.last_seq, "a checkpoint that contradicts the log")
        self._report.checkpoints += 1

    def finish(self) -> None:
        """The log has ended. Raises JournalDamage for a checkpoint that cannot be of this log."""
        for path, found in self._checkpoints:
            if found is None:
                raise _bad(path, int(path.stem), "a checkpoint that cannot be read")
            raise _bad(path, found.dump.position.seq, "a checkpoint beyond the end of the log")


def _bad(path: Path, seq: int, what: str) -> JournalDamage:
    return JournalDamage(str(path), 0, seq, what)
