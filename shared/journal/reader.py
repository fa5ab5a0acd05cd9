"""Reading the journal of another process: a stopped node's, or a running one's.

Decides how a reader keeps up with a writer that it does not talk to. Takes no lock and changes
nothing; what is torn or damaged is judged by `scan`, as recovery does.

Why a running node is safe to read: a segment is renamed into the list only after all records of
the one before were written, and a record is overwritten by nothing but its own bytes. So a reader
that is at the end of all segments it knows lists them once more, and goes on if there is a new one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from ..errors import JournalDamage, UserError
from ..log import Chain
from ..wire import Kind, Position, Record
from .checkpoint import list_checkpoints, load_checkpoint
from .lookup import NO_END, walk_heads
from .scan import LogScan, TornTail
from .segment import Segment, list_segments, opened


class SegmentInfo(msgspec.Struct, frozen=True):
    """One segment as its headers tell it; `last_seq` is 0 while it holds no record."""

    file: str
    first_seq: int
    last_seq: int
    records: int
    bytes_used: int
    bytes: int


class CheckpointInfo(msgspec.Struct, frozen=True):
    """One checkpoint file: the seq that it covers, where a restart reads on; `ok` if it can be
    trusted by itself (the rest is 0 if not)."""

    file: str
    seq: int
    ok: bool
    segment: int
    offset: int
    producers: int
    bytes: int


def chain_before(record: Record) -> Chain:
    """The end of the log that `record` continues, as far as the record itself tells it.

    For a log whose beginning is not retained or not wanted. Nothing precedes seq 1, so there the
    check is strict.
    """
    if record.seq == 1:
        return Chain()
    epoch = record.epoch - 1 if record.kind is Kind.EPOCH_OPENED else record.epoch
    return Chain(Position(record.seq - 1, record.prev_hash), epoch, record.time_ns)


class JournalReader:
    """The journal in a data directory, read-only.

    torn: what stands at the end of the log and is no record, as the last iteration found it: the
    remains of a write that a stopped node's next start cuts, or one that a running node is at.
    """

    def __init__(self, directory: Path) -> None:
        """Raises UserError if `directory` holds no journal."""
        self.directory = directory
        self.torn: TornTail | None = None
        if not list_segments(directory):
            raise UserError(
                f"{directory} holds no journal (no file like {1:020d}.log); "
                "expected the data directory of a node"
            )

    @property
    def first_seq(self) -> int:
        """The first retained seq."""
        return list_segments(self.directory)[0].first_seq

    def segments(self) -> list[SegmentInfo]:
        """All segments, oldest first, by their headers alone: `verify` checks the contents."""
        return [_inspect(segment) for segment in list_segments(self.directory)]

    def checkpoints(self) -> list[CheckpointInfo]:
        """The checkpoints that a restart may use, newest first, each checked by itself only."""
        found = []
        for path in list_checkpoints(self.directory):
            one = load_checkpoint(path)
            with suppress(FileNotFoundError):  # a running node may replace it meanwhile
                size = path.stat().st_size
                segment, offset, producers = (
                    (one.segment, one.offset, len(one.dump.producers)) if one else (0, 0, 0)
                )
                found.append(
                    CheckpointInfo(
                        str(path), int(path.stem), bool(one), segment, offset, producers, size
                    )
                )
        return found

    def records(self, from_seq: int | None = None, to_seq: int | None = None) -> Iterator[Record]:
        """The records that cover from_seq..to_seq, in order, each checked to continue the log.

        Without `from_seq` from the first retained one, without `to_seq` up to the end, where a
        record that is not wholly written is left out. The payloads are views: copy what you keep.
        Raises UserError if `from_seq` is not retained, JournalDamage at damage.
        """
        chain: Chain | None = None

        def take(record: Record) -> None:
            nonlocal chain
            chain = chain or chain_before(record)
            chain.check(record)
            chain.advance(record)

        for _, _, record in self.located(from_seq, take):
            if to_seq is not None and record.seq > to_seq:
                return
            if from_seq is None or record.last_seq >= from_seq:
                yield record

    def located(
        self, from_seq: int | None, take: Callable[[Record], None]
    ) -> Iterator[tuple[Segment, int, Record]]:
        """As `records`, with file and offset, checked by `take` instead; begins where the segment
        does that holds `from_seq`."""
        segments = list_segments(self.directory)
        at = 0
        if from_seq is not None:
            at = bisect_right(segments, from_seq, key=lambda one: one.first_seq) - 1
            if at < 0:
                raise UserError(
                    f"seq {from_seq} is not in {self.directory}: "
                    f"its log begins at seq {segments[0].first_seq}"
                )
        scan = LogScan(segments[at:], 0, segments[at].first_seq, take)
        while True:
            yield from scan
            self.torn = scan.torn
            known, segments = segments, list_segments(self.directory)
            if segments[-1].first_seq <= known[-1].first_seq:
                return
            rest = [one for one in segments if one.first_seq >= scan.segment.first_seq]
            scan = LogScan(rest, scan.offset, scan.expected, take)


def _inspect(segment: Segment) -> SegmentInfo:
    last_seq = records = used = 0
    with opened(segment.path) as fd:
        try:
            for head in walk_heads(fd, segment.path, 0, segment.first_seq, NO_END):
                if head.end > segment.size:
                    break
                last_seq, used = head.last_seq, head.end
                records += 1
        except JournalDamage:
            pass  # no header: the tail of the segment
    return SegmentInfo(str(segment.path), segment.first_seq, last_seq, records, used, segment.size)
