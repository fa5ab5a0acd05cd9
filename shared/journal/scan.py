"""Where a log ends: cleanly, in a torn record, or not at all because it is damaged.

Decides this one question for recovery, for readers and for `verify`. Changes nothing on the disk.

At the first bytes that are no record:
- only zeros follow, and no later segment: the log ends here, cleanly;
- only zeros follow, and the next segment begins with the expected seq: the log goes on there;
- something follows, but no valid record, here or in later segments: a torn tail, which nobody
  can have been told is written, or a power cut took it back;
- a valid record follows anywhere: records that may be acknowledged stand behind the bad spot, so
  cutting would lose them. That is damage.

A record that is valid by itself but does not continue the log is damage too, wherever it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum

import msgspec

from ..errors import JournalDamage, LocalError, RemoteError
from ..wire import Record, parse_record
from .segment import (
    MAX_RECORD_BYTES,
    RecordWalk,
    Segment,
    data_end,
    find_record,
    opened,
    read_at,
    segment_path,
)


class TornTail(msgspec.Struct, frozen=True):
    """The remains of a record that was never wholly written: `bytes` from `offset` of `file` on,
    where the record with `seq` was expected."""

    file: str
    offset: int
    bytes: int
    seq: int

    def __str__(self) -> str:
        return (
            f"{self.bytes} bytes in {self.file} at offset {self.offset}, "
            f"where seq {self.seq} was expected"
        )


class _Verdict(Enum):
    AGAIN = 1  # a running node completed the record meanwhile: walk on from here
    NEXT = 2  # the log goes on in the next segment
    END = 3  # the log ends here


class LogScan:
    """Iterates (segment, offset, record) over segments, from `offset` in the first of them.

    `expected` is the seq expected there; `take` is called with each record and raises RemoteError
    or LocalError if the record does not continue the log. Raises JournalDamage at damage.

    After the iteration `segment` and `offset` say where the log ends, `torn` what stands there that
    is no record, and `spare` which segments follow that hold none. A last segment without a record
    is spare too: the log ends in the one before, in which the next record may still fit.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        offset: int,
        expected: int,
        take: Callable[[Record], None],
    ) -> None:
        self.segment = segments[0]
        self.offset = offset
        self.expected = expected
        self.torn: TornTail | None = None
        self.spare: list[Segment] = []
        self._segments = list(segments)
        self._take = take

    def __iter__(self) -> Iterator[tuple[Segment, int, Record]]:
        ended = (self.segment, self.offset)
        for index, segment in enumerate(self._segments):
            later = self._segments[index + 1 :]
            if index:
                self.segment, self.offset = segment, 0
            with opened(segment.path) as fd:
                verdict = _Verdict.AGAIN
                while verdict is _Verdict.AGAIN:
                    yield from self._records(fd)
                    verdict = self._judge(fd, later)
            if verdict is _Verdict.END:
                self.spare = later
                break
            ended = (self.segment, self.offset)
        if self.offset == 0 and self.segment is not ended[0]:
            self.spare = [self.segment, *self.spare]
            self.segment, self.offset = ended

    def _records(self, fd: int) -> Iterator[tuple[Segment, int, Record]]:
        walk = RecordWalk(fd, self.segment.path, self.offset)
        for record in walk:
            self.offset = walk.offset
            try:
                self._take(record)
            except (RemoteError, LocalError) as error:
                raise self._damage(f"a record that does not continue the log ({error})") from error
            self.expected = record.last_seq + 1
            yield self.segment, walk.offset, record
        self.offset = walk.offset

    def _judge(self, fd: int, later: Sequence[Segment]) -> _Verdict:
        path = self.segment.path
        end = data_end(fd, path, self.offset)
        bad = end > self.offset
        if bad:
            found = find_record(fd, path, self.offset, end, self.expected)
            if found and self._is_record_now(fd):
                return _Verdict.AGAIN
            if found:
                raise self._damage(
                    f"bytes that are no record, before a valid one (seq {found[1]} at "
                    f"offset {found[0]})"
                )
            self.torn = TornTail(str(path), self.offset, end - self.offset, self.expected)
        elif later and later[0].first_seq == self.expected:
            return _Verdict.NEXT
        for segment in later:
            self._must_hold_nothing(segment, bad)
        return _Verdict.END

    def _is_record_now(self, fd: int) -> bool:
        """A node that runs may have finished writing the record between two looks at it."""
        view = memoryview(read_at(fd, MAX_RECORD_BYTES, self.offset, self.segment.path))
        try:
            parse_record(view, 0)
        except RemoteError:
            return False
        return True

    def _must_hold_nothing(self, segment: Segment, bad: bool) -> None:
        """The log seems to end before `segment`: in `bad` bytes, or in zeros."""
        with opened(segment.path) as fd:
            end = data_end(fd, segment.path, 0)
            found = find_record(fd, segment.path, 0, end, self.expected)
        if found and bad:
            raise self._damage(
                f"bytes that are no record, before valid ones (seq {found[1]} in {segment.path})"
            )
        if found:
            missing = segment_path(segment.path.parent, self.expected)
            raise JournalDamage(
                str(missing),
                0,
                self.expected,
                f"records or a whole segment are missing before {segment.path.name}",
            )
        if end and self.torn is None:
            self.torn = TornTail(str(segment.path), 0, end, self.expected)

    def _damage(self, what: str) -> JournalDamage:
        return JournalDamage(str(self.segment.path), self.offset, self.expected, what)
