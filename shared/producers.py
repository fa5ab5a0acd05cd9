"""The producer table: what makes a submission exactly-once.

A pure function of the log: every node that holds the same records holds the same table, so a
producer may submit again to any node, after any restart. It never depends on time or memory alone:
recovery rebuilds it from a checkpoint and the records after it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import msgspec

from .errors import LocalError
from .limits import MAX_PRODUCER_RECORDS


class Run(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """`count` messages of one producer that are consecutive in its own count and in the log."""

    producer_seq: int
    seq: int
    count: int


class ProducerEntry:
    """What the log holds of one producer: its last number, and where its latest messages are."""

    __slots__ = ("last_producer_seq", "runs")

    def __init__(self, last_producer_seq: int = 0, runs: list[Run] | None = None) -> None:
        self.last_producer_seq = last_producer_seq
        self.runs: deque[Run] = deque(runs or (), maxlen=MAX_PRODUCER_RECORDS)

    def append(self, producer_seq: int, seq: int, count: int) -> None:
        if producer_seq != self.last_producer_seq + 1:
            raise LocalError(
                f"producer_seq {producer_seq} in the log after {self.last_producer_seq}"
            )
        self.last_producer_seq = producer_seq + count - 1
        self.runs.append(Run(producer_seq, seq, count))

    def find(self, first: int, last: int) -> list[Run]:
        """Where the messages first..last are in the log; forgotten ones are left out."""
        found: list[Run] = []
        for run in reversed(self.runs):
            run_last = run.producer_seq + run.count - 1
            if run_last < first:
                break
            if run.producer_seq > last:
                continue
            low = max(first, run.producer_seq)
            high = min(last, run_last)
            found.append(Run(low, run.seq + low - run.producer_seq, high - low + 1))
        found.reverse()
        return found

    def is_full(self, released_seq: int) -> bool:
        """Whether one more run would push out one that is not released. That must never happen: a
        forgotten message passes for released long ago, and would be confirmed before it is."""
        return len(self.runs) == MAX_PRODUCER_RECORDS and self.runs[0].seq > released_seq

    def released_up_to(self, released_seq: int) -> int:
        """The highest producer_seq of ours that is at or below `released_seq` in the log."""
        number = self.last_producer_seq
        for run in reversed(self.runs):
            if run.seq > released_seq:
                number = run.producer_seq - 1
            else:
                return min(number, run.producer_seq + released_seq - run.seq)
        return number


class ProducerTable:
    """Every producer that the log knows, by name."""

    def __init__(self) -> None:
        self._entries: dict[str, ProducerEntry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def get(self, name: str) -> ProducerEntry | None:
        return self._entries.get(name)

    def append(self, name: str, producer_seq: int, seq: int, count: int) -> None:
        """Takes note of a data record. Raises LocalError if it does not continue its producer."""
        entry = self._entries.get(name)
        if entry is not None:
            entry.append(producer_seq, seq, count)
            return
        entry = ProducerEntry()
        entry.append(producer_seq, seq, count)
        self._entries[name] = entry  # last: a refused record leaves no producer behind

    def dump(self) -> dict[str, tuple[int, list[Run]]]:
        """The table as plain data, for a checkpoint."""
        return {
            name: (entry.last_producer_seq, list(entry.runs))
            for name, entry in self._entries.items()
        }

    @classmethod
    def load(cls, dump: dict[str, tuple[int, list[Run]]]) -> ProducerTable:
        table = cls()
        for name, (last, runs) in dump.items():
            table._entries[name] = ProducerEntry(last, runs)
        return table
