"""Reads the released log for the screens: its end as it grows, a place in it, and its history.

Decides how much is read: a screen shows a few hundred records, and the nodes have other work. Runs
in worker threads; nothing here raises for what a node or the network does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, TypeVar

import msgspec

from ..client.past import PastLog
from ..shared.config import Config
from ..shared.credentials import credentials
from ..shared.errors import InterlockError
from ..shared.story import Event
from ..shared.wire import Record
from .search import Search
from .story import event_shown

SHOWN: Final = 200  # records on the screen
SCANNED: Final = 200_000  # messages that one search by producer looks through, newest first
STEP: Final = 20_000  # messages of one step of that search
TIMEOUT_S: Final = 2.0

R = TypeVar("R")


class Page(msgspec.Struct, frozen=True):
    """Some records in the order of the log, and what there is to say about them."""

    records: list[Record]
    node: str
    first_seq: int
    released_seq: int
    note: str = ""


class Logbook:
    """Reads for one console. Keeps nothing but the configuration."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def tail(self, after_seq: int) -> Page | str:
        """The newest records, of those after `after_seq`; why not, if none can be had."""

        def read(log: PastLog) -> Page:
            first = max(after_seq + 1, log.released_seq - SHOWN + 1)
            if first > log.released_seq:
                return _page(log, [])
            return _page(log, list(log.records(first))[-SHOWN:])

        return self._with_log(read)

    def find(self, search: Search) -> Page | str:
        """Records from the place that was searched for."""

        def read(log: PastLog) -> Page:
            if search.producer:
                return self._by_producer(log, search.producer)
            seq = search.seq or _seq_at(log, search.time_ns)
            if seq > log.released_seq:
                return _page(log, [], "that is not released yet")
            note = "" if seq >= log.first_seq else "what was before is not kept any more"
            return _page(log, list(islice(log.records(seq), SHOWN)), note)

        return self._with_log(read)

    def events(self, from_seq: int) -> tuple[list[Event], int] | str:
        """The history from `from_seq` on, and up to which seq it was read."""

        def read(log: PastLog) -> tuple[list[Event], int]:
            found = [event for record in log.records(from_seq) if (event := event_shown(record))]
            return found, log.released_seq

        return self._with_log(read)

    def _with_log(self, read: Callable[[PastLog], R]) -> R | str:
        try:
            who = credentials(self._config, operator=True)
            if not who.may_connect("replay"):
                return f"key {who.name} has no role to read the log: consumer or operator"
            with PastLog(self._config, list(self._config.nodes), TIMEOUT_S) as log:
                log.open()
                return read(log)
        except InterlockError as error:
            return str(error)

    def _by_producer(self, log: PastLog, producer: str) -> Page:
        found: list[Record] = []
        end, looked = log.released_seq, 0
        while end >= log.first_seq and len(found) < SHOWN and looked < SCANNED:
            start = max(log.first_seq, end - STEP + 1)
            step = [one for one in _up_to(log, start, end) if one.producer == producer]
            found = step + found
            looked += end - start + 1
            end = start - 1
        note = f"looked through seq {end + 1:,} to {log.released_seq:,}"
        return _page(log, found[-SHOWN:], note)


def _up_to(log: PastLog, start: int, end: int) -> Iterator[Record]:
    for record in log.records(start):
        if record.seq > end:
            return
        yield record


def _page(log: PastLog, records: list[Record], note: str = "") -> Page:
    return Page(records, log.node, log.first_seq, log.released_seq, note)


def _seq_at(log: PastLog, time_ns: int) -> int:
    """The first seq whose record is not older than `time_ns`: times never fall along the log."""
    low, high = log.first_seq, log.released_seq + 1
    while low < high:
        record = next(log.records((low + high) // 2))
        if record.time_ns < time_ns:
            low = record.last_seq + 1
        else:
            high = max(low, record.seq)
    return low
