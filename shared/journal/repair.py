"""Repairing a damaged journal from the peer's copy, with all that is good in the own one.

Decides when a repair is proven and how it is taken into use. Does not decide what belongs to the
log (`assemble`), how segments are cut (`rebuild`), or who is asked (`fetch` does that). For a
directory that is locked and whose journal is closed.

The log is built beside the journal, in `repair.tmp`, where files that are good are links, and
verified there as a whole. If that fails, nothing was changed. Only then are the files that it
replaces kept in the quarantine, and replaced by renaming. A death in between leaves a journal that
is partly repaired, for the next run.
"""

from __future__ import annotations

import os
import shutil
from bisect import bisect_right
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Final

import msgspec

from ..errors import LocalError
from ..wire import GENESIS, HEADER, HEADER_BYTES, Position, record_size
from .assemble import Assembly, Fetch, Progress, misfit
from .audit import Report, verify
from .checkpoint import list_checkpoints, load_checkpoint
from .disk import Disk
from .index import index_path
from .quarantine import QuarantineStore, disk_errors, sync_names
from .rebuild import build_segments, same_bytes
from .salvage import Salvaged, Stretch, salvage
from .segment import list_segments, opened, read_at

STAGING: Final = "repair.tmp"
_SPOOL: Final = "fetched"


class RepairReport(msgspec.Struct):
    """What `repair` found and did. `damage` is empty if there was none, and nothing was done.

    rebuilt: segment files that were written anew; removed: files that are no part of the log, as
    checkpoints that cannot be trusted; set_aside: the quarantine entry that holds the originals.
    """

    directory: str
    damage: str = ""
    rebuilt: list[str] = []
    removed: list[str] = []
    set_aside: str = ""
    fetched_records: int = 0
    fetched_messages: int = 0
    fetched_bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0


def repair(
    directory: Path,
    segment_bytes: int,
    fetch: Fetch,
    progress: Progress,
    now_ns: int,
    disk: Disk | None = None,
) -> RepairReport:
    """Makes a damaged journal whole.

    `fetch(after)` returns whole records of the peer's log that follow `after`, empty if it has no
    more; it raises RemoteError if the peer does not hold `after`. `progress(done, total)` tells how
    many messages are put together. `segment_bytes`: the size of segments that are missing.
    Raises UserError if there is no journal, or the peer's log does not fit or is too short,
    LocalError or DiskFull if the disk fails. Nothing is then changed.
    """
    staging = directory / STAGING
    shutil.rmtree(staging, ignore_errors=True)  # of a run that was killed
    damage, checked = _look(directory)
    report = RepairReport(str(directory), damage)
    if not damage:
        report.first_seq, report.last_seq = checked.first_seq, checked.last_seq
        return report
    with disk_errors(f"cannot repair the journal {directory}"):
        staging.mkdir()
        try:
            repairing = _Repair(directory, segment_bytes, report, disk or Disk())
            repairing.build(fetch, progress)
            repairing.prove()
            repairing.take_into_use(now_ns)
        finally:
            shutil.rmtree(staging)
    return report


def _look(directory: Path) -> tuple[str, Report]:
    """What is damaged, or would keep the journal from opening; empty if nothing is."""
    try:
        report = verify(directory)
    except LocalError as error:  # the disk cannot read it
        return str(error), Report(str(directory))
    text = ""
    if (found := report.damage) is not None:
        text = f"{found.what} in {found.file} at offset {found.offset} (seq {found.seq})"
    elif report.first_seq != 1 and not report.checkpoints:
        text = f"no checkpoint says what came before seq {report.first_seq}"
    return text, report


class _Repair:
    def __init__(
        self, directory: Path, segment_bytes: int, report: RepairReport, disk: Disk
    ) -> None:
        self._directory = directory
        self._staging = directory / STAGING
        self._segment_bytes = segment_bytes
        self._report = report
        self._disk = disk
        self._found = {one.first_seq: salvage(one) for one in list_segments(directory)}
        first_seq = next(iter(self._found))
        checkpoints = list_checkpoints(directory)
        loaded = [(path, load_checkpoint(path)) for path in checkpoints]
        self._usable = [path for path, one in loaded if one and one.segment >= first_seq]
        # Names of files tell how far the log went, whatever became of their contents.
        reached = max([*(int(path.stem) for path in checkpoints), *(s - 1 for s in self._found)])
        self._log = Assembly(
            directory,
            self._base(first_seq),
            list(self._found.values()),
            reached,
            self._staging / _SPOOL,
        )

    def _base(self, first_seq: int) -> Position:
        """What the log continues: nothing, or what was pruned."""
        if first_seq == 1 or not self._usable:
            return GENESIS
        path = self._found[first_seq].segment.path
        with opened(path) as fd:
            head = read_at(fd, HEADER_BYTES, 0, path)
        # If the first record is damaged its header may not be; what it says is proven by the peer.
        if len(head) < HEADER_BYTES or HEADER.unpack(head)[6] != first_seq:
            raise misfit(self._directory, f"what came before seq {first_seq} cannot be told")
        return Position(first_seq - 1, HEADER.unpack(head)[10])

    # Beside the journal ------------------------------------------------------------------------

    def build(self, fetch: Fetch, progress: Progress) -> None:
        """All segments of the log, and the checkpoints that may be used."""
        log, report = self._log, self._report
        log.run(fetch, progress)
        report.fetched_records = log.fetched_records
        report.fetched_messages = log.fetched_messages
        report.fetched_bytes = log.fetched_bytes
        starts = sorted({log.base.seq + 1, *self._found})
        groups = [
            (first_seq, list(parts))
            for first_seq, parts in groupby(
                log.parts, lambda part: starts[bisect_right(starts, part.before.seq + 1) - 1]
            )
        ]
        following = [parts[0] for _, parts in groups[1:]]
        for (first_seq, parts), after in zip_longest(groups, following):
            self._stage(first_seq, parts, after)
        # Killed between the making of a segment and its first record.
        last = self._found.get(log.last.seq + 1)
        if last is not None and last.intact:
            self._link(last.segment.path)
        for path in self._usable:
            self._link(path)

    def _stage(self, first_seq: int, parts: list[Stretch], following: Stretch | None) -> None:
        """The segment that begins with `first_seq`, and missing ones after it."""
        own: Salvaged | None = self._found.get(first_seq)
        next_bytes = _first_bytes(following) if following else None
        if own is not None and own.intact and own.stretches == parts:
            full = next_bytes is None or parts[-1].end + next_bytes > own.segment.size
            if full:  # not so, if the file was made longer
                self._link(own.segment.path)
                return
        sizes = self._segment_bytes, own.segment.size if own else 0
        for built in build_segments(self._staging, parts, next_bytes, sizes, self._disk):
            if own and own.intact and same_bytes(built, own.segment.path):
                built.unlink()
                self._link(self._directory / built.name)
            else:
                self._report.rebuilt.append(built.name)

    def _link(self, path: Path) -> None:
        os.link(path, self._staging / path.name)

    def prove(self) -> None:
        """Verifies the whole. A checkpoint that contradicts it goes, if own records prove it wrong.

        One beyond them is the only witness for what the peer gave there: it must agree.
        """
        while (damage := (checked := verify(self._staging)).damage) is not None:
            path = Path(damage.file)
            if path.suffix != ".ckpt" or int(path.stem) > self._log.own_end:
                raise misfit(
                    self._directory,
                    f"with the peer's records it is not whole either ({damage.what} in "
                    f"{path.name} at offset {damage.offset}, where seq {damage.seq} was expected)",
                )
            path.unlink()
        if checked.first_seq != 1 and not checked.checkpoints:
            raise misfit(
                self._directory,
                f"no valid checkpoint says what came before seq {checked.first_seq}",
            )
        self._report.first_seq, self._report.last_seq = checked.first_seq, checked.last_seq

    # In its place ------------------------------------------------------------------------------

    def take_into_use(self, now_ns: int) -> None:
        """Keeps what is replaced in the quarantine, and replaces it."""
        report, directory, disk = self._report, self._directory, self._disk
        segments = [one.segment.path for one in self._found.values()]
        files = [*list_checkpoints(directory), *segments]
        report.removed = [one.name for one in files if not (self._staging / one.name).exists()]
        changed = [directory / name for name in (*report.removed, *report.rebuilt)]
        originals = [path for path in changed if path.exists()]
        if originals:
            store = QuarantineStore(directory, disk)
            why = f"replaced by interlock log repair: {report.damage}"
            report.set_aside = store.set_aside(originals, why, now_ns, leave=True).name
        for path in changed:
            disk.unlink(index_path(path))
        for name in report.removed:
            disk.unlink(directory / name)
        for name in report.rebuilt:
            disk.rename(self._staging / name, directory / name)
        sync_names(directory, disk)


def _first_bytes(stretch: Stretch) -> int:
    """The size of the first record."""
    with opened(stretch.path) as fd:
        return record_size(read_at(fd, HEADER_BYTES, stretch.offset, stretch.path), 0)
