"""A log put together from the good stretches of an own journal and, where none fits, the peer's.

Decides what follows what, by seq and hash alone. What the peer gave is bound at both ends to
records that this node wrote itself. Only where the very end is lost there is nothing of our own to
arrive at; then all that the peer holds is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..errors import RemoteError, UserError
from ..wire import Position, Record, parse_records
from .salvage import Salvaged, Stretch
from .segment import opened, read_at

Fetch = Callable[[Position], bytes]
Progress = Callable[[int, int], None]


def misfit(directory: Path, what: str) -> UserError:
    """A journal that cannot be repaired from this peer."""
    return UserError(
        f"cannot repair {directory}: {what}; nothing was changed; set this copy aside and stream "
        "the whole log from the leader with: interlock reinstate --reseed"
    )


class Assembly:
    """The log after `base`, as `parts`: own stretches, and fetched ones in the file `spool`.

    A part lies in one of the own segment files or, if it was fetched, between the first seqs of
    two. own_end: up to here the log is made sure by an own record at its end.
    """

    def __init__(
        self, directory: Path, base: Position, found: list[Salvaged], reached: int, spool: Path
    ) -> None:
        """`found`: oldest first. `reached`: a seq that the log is known to have reached."""
        self.parts: list[Stretch] = []
        self.base = base
        self.last = base
        self.own_end = base.seq
        self.fetched_records = 0
        self.fetched_bytes = 0
        self.fetched_messages = 0
        self._directory = directory
        self._reached = reached
        self._spool = spool
        self._files = {one.segment.first_seq: one.segment.path for one in found}
        self._ahead = [stretch for one in found for stretch in one.stretches]
        self._joins: dict[Position, Stretch] = {}
        for stretch in self._ahead:
            self._joins.setdefault(stretch.before, stretch)
        self._place: tuple[Path | None, int] = None, 0  # where the next record belongs

    def run(self, fetch: Fetch, progress: Progress) -> None:
        """Raises UserError if the peer's records do not fit, or are too few."""
        self._spool.touch()
        end_lost = False
        while True:
            goal = max([self._reached, *(one.before.seq for one in self._ahead)])
            done = self.last.seq - self.base.seq
            progress(done, max(done, goal - self.base.seq))
            if (own := self._joins.get(self.last)) is not None:
                self._take(own)
            elif self._ahead:
                self._fetch(fetch, goal)
            elif end_lost or self.last.seq < self._reached:
                end_lost = True
                if not self._fetched(fetch):
                    break
            else:
                break
        if self.last.seq < self._reached:
            raise misfit(
                self._directory,
                f"the peer's log ends at seq {self.last.seq}, and this one had reached seq "
                f"{self._reached}",
            )

    def _take(self, own: Stretch) -> None:
        self.parts.append(own)
        self.last = own.last
        self.own_end = own.last.seq
        self._place = own.path, own.end
        self._ahead = [one for one in self._ahead if one.before.seq >= self.last.seq]

    def _fetch(self, fetch: Fetch, goal: int) -> None:
        """Towards the next own stretch."""
        if self.last.seq >= goal or not self._fetched(fetch):
            raise misfit(
                self._directory,
                f"the peer's log, followed from seq {self.own_end} to seq {self.last.seq}, leads "
                "to none of the records that this node holds after it",
            )

    def _fetched(self, fetch: Fetch) -> bool:
        """Takes what the peer has next, up to where an own stretch continues it."""
        try:
            records = parse_records(fetch(self.last))
        except RemoteError as error:
            raise misfit(
                self._directory, f"the peer gives nothing after seq {self.last.seq} ({error})"
            ) from error
        with self._spool.open("ab") as spool:
            for record in records:
                if Position(record.seq - 1, record.prev_hash) != self.last:
                    raise misfit(
                        self._directory,
                        f"what the peer sent after seq {self.last.seq} does not continue it",
                    )
                self._add(record, spool.tell())
                spool.write(record.raw)
                if self.last in self._joins:
                    break
        return bool(records)

    def _add(self, record: Record, offset: int) -> None:
        size = len(record.raw)
        part = self.parts[-1] if self.parts else None
        if part is None or part.path != self._spool or record.seq in self._files:
            self.parts.append(
                Stretch(self._spool, offset, offset + size, self.last, record.position)
            )
        else:
            part.end, part.last = offset + size, record.position
        if record.seq in self._files:
            self._place = self._files[record.seq], 0
        self._ahead = [one for one in self._ahead if not self._is_within(record, one)]
        self._place = self._place[0], self._place[1] + size
        self.last = record.position
        self.fetched_records += 1
        self.fetched_messages += record.count
        self.fetched_bytes += size

    def _is_within(self, record: Record, found: Stretch) -> bool:
        """Whether what was found is no record of the log, but a part of `record`'s payload, which
        stood damaged in this place."""
        path, start = self._place
        if found.path != path or not start < found.offset < found.end <= start + len(record.raw):
            return False
        with opened(path) as fd:
            data = read_at(fd, found.end - found.offset, found.offset, path)
        return bytes(record.raw[found.offset - start : found.end - start]) == data
