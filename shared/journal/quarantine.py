"""The quarantine: what was taken out of a node's log, kept for the operator to decide about.

Decides how it lies on the disk and when an entry exists. Does not decide what is cut (`cut`), what
is replaced (`repair`), or what becomes of an entry (the operator does).

In `quarantine/` of the data directory, an entry NAME is its description `NAME.json` and either
`NAME.records`, the records that were cut, byte for byte and back to back; or, for whole files that
were set aside unread, a folder `NAME/` with these files.

A tail exists once its description does, and that is written when its bytes are durable: killed
before, the records are still in the log, and what lies here without a description is swept away by
the next `keep`. Files that are set aside are described first: nothing leaves the journal for a
place that is not listed.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from ..commands import QuarantineEntry
from ..errors import DiskFull, LocalError, Reason, RemoteError
from ..wire import GENESIS, Kind, Position, parse_records
from .disk import Disk
from .segment import opened, read_at
from .sync import NO_SPACE

QUARANTINE: Final = "quarantine"
KEPT: Final = "kept"
RESUBMITTED: Final = "resubmitted"
DISCARDED: Final = "discarded"

_NAME: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z-(seq[0-9]{1,20}-[0-9]{1,20}|journal)(-[0-9]{1,9})?")
_RECORDS_TEMPORARY: Final = "records.tmp"
_ENTRY_TEMPORARY: Final = "entry.tmp"


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turns an OSError within into DiskFull or LocalError, with `what` was tried."""
    try:
        yield
    except OSError as error:
        kind = DiskFull if error.errno in NO_SPACE else LocalError
        raise kind(f"{what}: {error.strerror}") from error


def sync_names(directory: Path, disk: Disk) -> None:
    """Makes the names in a directory durable."""
    with opened(directory, os.O_DIRECTORY) as fd:
        disk.sync_directory(fd)


class _Tally:
    """What the records amount to that are being kept; each must continue the one before."""

    def __init__(self, after: Position) -> None:
        self.last = after
        self.records = 0
        self.size_bytes = 0
        self.producers: Counter[str] = Counter()

    def add(self, data: bytes) -> None:
        for record in parse_records(data):
            if (record.seq - 1, record.prev_hash) != (self.last.seq, self.last.hash):
                raise LocalError(
                    f"the record at seq {record.seq}, to be quarantined, does not continue the "
                    f"log after seq {self.last.seq}"
                )
            if record.kind is Kind.DATA:
                self.producers[record.producer] += record.count
            self.last = record.position
            self.records += 1
        self.size_bytes += len(data)


class QuarantineStore:
    """The entries of one node. For one thread at a time."""

    def __init__(self, directory: Path, disk: Disk | None = None) -> None:
        """`directory` is the node's data directory; `quarantine/` in it is made when needed."""
        self._directory = directory / QUARANTINE
        self._disk = disk or Disk()

    # Keeping ---------------------------------------------------------------------------------

    def keep(
        self, records: Iterable[bytes], after: Position, why: str, cut_ns: int
    ) -> QuarantineEntry:
        """Keeps whole records, the first of which follows `after`; durable when this returns.

        `cut_ns`: the time, in nanoseconds since 1970. Raises DiskFull or LocalError, also for
        records that do not continue each other, or none; nothing is then kept.
        """
        temporary = self._directory / _RECORDS_TEMPORARY
        tally = _Tally(after)
        with disk_errors(f"cannot keep records in {self._directory}"):
            self._make_ready()
            try:
                with open(temporary, "w+b") as out:
                    for data in records:
                        tally.add(data)
                        out.write(data)
                    out.flush()
                    self._disk.sync_data(out.fileno())
                if not tally.records:
                    raise LocalError("there are no records to be quarantined")
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            first_seq = after.seq + 1
            entry = QuarantineEntry(
                self._fresh_name(cut_ns, f"seq{first_seq}-{tally.last.seq}"),
                KEPT,
                cut_ns,
                after,
                first_seq,
                tally.last.seq,
                tally.records,
                tally.last.seq - after.seq,
                tally.size_bytes,
                dict(tally.producers),
                why,
            )
            self._disk.rename(temporary, self._records(entry.name))
            # Before the description: a power cut must not leave that without the bytes.
            sync_names(self._directory, self._disk)
            self._describe(entry)
        return entry

    def holding(
        self, after: Position, records: Callable[[], Iterable[bytes]]
    ) -> QuarantineEntry | None:
        """The kept tail after `after` that begins with all of `records`, if there is one."""
        for entry in self.entries():
            path = self._records(entry.name)
            if entry.state == KEPT and entry.after == after and path.is_file():
                with opened(path) as fd:
                    offset = 0
                    for data in records():
                        if read_at(fd, len(data), offset, path) != data:
                            break
                        offset += len(data)
                    else:
                        return entry
        return None

    def set_aside(
        self, files: list[Path], why: str, cut_ns: int, *, leave: bool = False
    ) -> QuarantineEntry:
        """Moves whole files of the data directory here, unread, in this order, each durably before
        the next. With `leave` they stay in their place too, until the caller replaces them."""
        with disk_errors(f"cannot set files aside in {self._directory}"):
            self._make_ready()
            size_bytes = sum(file.stat().st_size for file in files)
            name = self._fresh_name(cut_ns, "journal")
            folder = self._directory / name
            folder.mkdir()
            sync_names(self._directory, self._disk)
            entry = QuarantineEntry(name, KEPT, cut_ns, GENESIS, 0, 0, 0, 0, size_bytes, {}, why)
            self._describe(entry)
            for file in files:
                if leave:
                    os.link(file, folder / file.name)
                else:
                    self._disk.rename(file, folder / file.name)
                    sync_names(folder, self._disk)
                    sync_names(self._directory.parent, self._disk)
            sync_names(folder, self._disk)
        return entry

    def _make_ready(self) -> None:
        """Makes the directory, and sweeps away what a kill left of entries that never were."""
        if not self._directory.is_dir():
            self._directory.mkdir()
            sync_names(self._directory.parent, self._disk)
        for path in self._directory.iterdir():
            orphan = path.suffix == ".records" and not path.with_suffix(".json").exists()
            if orphan or path.name in (_RECORDS_TEMPORARY, _ENTRY_TEMPORARY):
                self._disk.unlink(path)

    def _fresh_name(self, cut_ns: int, what: str) -> str:
        time = datetime.fromtimestamp(cut_ns // 1_000_000_000, UTC)
        stem = f"{time:%Y%m%dT%H%M%SZ}-{what}"
        name, number = stem, 1
        while any((self._directory / f"{name}{end}").exists() for end in ("", ".json")):
            number += 1
            name = f"{stem}-{number}"
        return name

    def _describe(self, entry: QuarantineEntry) -> None:
        temporary = self._directory / _ENTRY_TEMPORARY
        data = msgspec.json.format(msgspec.json.encode(entry)) + b"\n"
        self._disk.write_file(temporary, data)
        self._disk.rename(temporary, self._directory / f"{entry.name}.json")
        sync_names(self._directory, self._disk)

    # Telling ---------------------------------------------------------------------------------

    def entries(self) -> list[QuarantineEntry]:
        """All entries, oldest first. One whose description cannot be read is listed as that."""
        if not self._directory.is_dir():
            return []
        names = (path.stem for path in self._directory.glob("*.json"))
        return [self._load(name) for name in sorted(names) if _NAME.fullmatch(name)]

    def read(self, name: str, offset: int, max_bytes: int) -> bytes:
        """Up to `max_bytes` of an entry's records from `offset`; empty at their end.

        Raises RemoteError: UNKNOWN_COMMAND for an unknown name, NOT_RETAINED where there are no
        bytes to be read.
        """
        entry = self.entry(name)
        folder = self._directory / name
        if entry.state == DISCARDED:
            raise RemoteError(Reason.NOT_RETAINED, f"the bytes of {name} were discarded")
        if folder.is_dir():
            raise RemoteError(
                Reason.NOT_RETAINED,
                f"{name} are whole files, set aside unread; look at them in {folder}",
            )
        path = self._records(name)
        try:
            with opened(path) as fd:
                size = os.fstat(fd).st_size
                if offset >= size:
                    return b""
                return read_at(fd, min(max_bytes, size - offset), offset, path)
        except LocalError as error:
            # Nothing rests on these bytes: the node that is asked goes on.
            raise RemoteError(Reason.NOT_RETAINED, str(error)) from error

    def entry(self, name: str) -> QuarantineEntry:
        """One entry. Raises RemoteError(UNKNOWN_COMMAND) if there is none of this name."""
        if not _NAME.fullmatch(name) or not (self._directory / f"{name}.json").is_file():
            raise RemoteError(
                Reason.UNKNOWN_COMMAND,
                f"there is no entry {name[:80]!r} in the quarantine of this node; list them with: "
                "interlock quarantine list",
            )
        return self._load(name)

    def _load(self, name: str) -> QuarantineEntry:
        path = self._directory / f"{name}.json"
        try:
            entry = msgspec.json.decode(path.read_bytes(), type=QuarantineEntry)
        except (msgspec.MsgspecError, UnicodeDecodeError, OSError) as error:
            why = f"{path} cannot be read: {error}"[:1000]
            return QuarantineEntry(name, KEPT, 0, GENESIS, 0, 0, 0, 0, 0, {}, why)
        return msgspec.structs.replace(entry, name=name)

    def _records(self, name: str) -> Path:
        return self._directory / f"{name}.records"

    # Deciding --------------------------------------------------------------------------------

    def mark(self, name: str, state: str) -> QuarantineEntry:
        """Notes what became of an entry: "resubmitted", or "discarded", which deletes its bytes
        and keeps the entry. Durable when this returns.

        Raises RemoteError: UNKNOWN_COMMAND for an unknown name, GUARD for a resubmission of what
        was discarded.
        """
        if state not in (RESUBMITTED, DISCARDED):
            raise LocalError(f"a quarantine entry cannot be marked as {state!r}")
        entry = self.entry(name)
        if entry.state == DISCARDED and state != DISCARDED:
            raise RemoteError(Reason.GUARD, f"the bytes of {name} were discarded before")
        entry = msgspec.structs.replace(entry, state=state)
        with disk_errors(f"cannot mark {name} as {state} in {self._directory}"):
            # The mark first: an entry that is called kept must hold its bytes.
            self._describe(entry)
            if state == DISCARDED:
                self._delete_bytes(name)
        return entry

    def _delete_bytes(self, name: str) -> None:
        folder = self._directory / name
        if folder.is_dir():
            for path in folder.iterdir():
                self._disk.unlink(path)
            folder.rmdir()
        self._disk.unlink(self._records(name))
        sync_names(self._directory, self._disk)
