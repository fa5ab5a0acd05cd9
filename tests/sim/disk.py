"""The disk of a simulated node: a journal in memory that remembers what was ever on it.

Decides what a power cut leaves: all that was synced and any prefix of the rest (a torn last record
is cut by recovery, so it amounts to a shorter prefix). The checkers read `ever_written` and
`ever_synced`: what this node held at some time, whatever it lost later.
"""

from __future__ import annotations

from bisect import bisect_left

from interlock.shared.log import LogState
from interlock.shared.wire import Record
from support.nodes import MemoryJournal


class SimJournal(MemoryJournal):
    """A journal with a memory of what it held."""

    def __init__(self) -> None:
        super().__init__()
        self.cuts = 0
        self.ever_written: dict[int, set[int]] = {}  # last seq of a record: its hashes
        self.ever_synced: dict[int, set[int]] = {}
        self.ends: list[int] = []  # last seqs of the records, rising

    @property
    def length(self) -> int:
        return len(self.records)

    def append(self, raws: list[bytes | memoryview]) -> None:
        before = len(self.records)
        super().append(raws)
        for record in self.records[before:]:
            self.ends.append(record.last_seq)
            self.ever_written.setdefault(record.last_seq, set()).add(record.hash)

    def sync(self) -> None:
        self.sync_up_to(len(self.records))

    def sync_up_to(self, length: int) -> None:
        for record in self.records[self.synced : length]:
            self.ever_synced.setdefault(record.last_seq, set()).add(record.hash)
        self.synced = max(self.synced, length)

    def reopen(self) -> None:
        """Reads the log as a start does: from a checkpoint in its middle, then record by record."""
        self.sync()
        self.state = LogState()
        for index, record in enumerate(self.records):
            if index == len(self.records) // 2:
                self.state = LogState.load(self.state.dump())
            self.state.apply(record)

    def keep(self, count: int) -> list[Record]:
        self.cuts += 1
        del self.ends[count:]
        return super().keep(count)

    def covering(self, seq: int) -> Record | None:
        """The record that holds message `seq`."""
        index = bisect_left(self.ends, seq)
        return self.records[index] if index < len(self.records) else None
