"""The log: its end as it grows, a place in it, and one record in full."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Input

from ...shared.wire import Record
from ..draw.lines import Line, Tone, line
from ..draw.records import record_cells
from ..logbook import SHOWN, Page
from ..modals.record import RecordDialog
from ..search import Search, parse_search
from ..view import View
from .listing import ListScreen


class LogScreen(ListScreen):
    """Released records: those that consumers have got, or can get."""

    PLACE = "Log"
    WORDS = "seq, producer, HH:MM[:SS] or 2026-11-25T03:14 (UTC), then Enter"
    HEADINGS = ("seq", "time", "epoch", "kind", "producer", "what")
    READ_EVERY_S = 1.0
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "Search"),
        Binding("f", "follow", "Follow"),
        Binding("escape", "close_search", "Back", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._records: list[Record] = []
        self._follows = True
        self._search: Search | None = None
        self._note = "reading the log..."
        self._reading = False
        self._question = 0

    def _state(self, view: View, width: int, height: int) -> list[Line]:
        how = "following" if self._follows else "standing still (f follows again)"
        return [line((how, Tone.ACCENT if self._follows else Tone.WARN), f"  {self._note}")]

    # Reading ----------------------------------------------------------------------------------

    def _read(self) -> None:
        """Looks for more, if this screen is seen and follows, and the last look has ended."""
        book = self.console.logbook
        if book is None:
            self._note = "a recording keeps no records of the log"
        elif self._follows and not self._reading and self.app.screen is self:
            after = self._records[-1].last_seq if self._records else 0
            self._reading = True
            self._fetch(lambda: book.tail(after))

    def _fetch(self, read: Callable[[], Page | str]) -> None:
        self._question += 1
        self.run_worker(self._in_thread(read, self._question), exit_on_error=False, group="log")

    async def _in_thread(self, read: Callable[[], Page | str], question: int) -> None:
        """An answer counts only if nothing else was asked since."""
        try:
            found = await asyncio.to_thread(read)
        finally:
            self._reading = False
        if question == self._question:
            self._show(found)

    def _show(self, found: Page | str) -> None:
        if isinstance(found, str):
            self._note = found
            return
        self._note = f"{found.node} keeps seq {found.first_seq:,} to {found.released_seq:,}"
        if found.note:
            self._note += f"; {found.note}"
        self._add(found.records)

    def _add(self, records: list[Record]) -> None:
        table = self._table
        if self._search is not None:
            table.clear()
            self._records = []
        elif self._records and records and records[0].seq <= self._records[-1].last_seq:
            return  # an answer that was overtaken
        self._records += records
        for record in records:
            table.add_row(*(Text(cell) for cell in record_cells(record)), key=str(record.seq))
        while len(self._records) > SHOWN:
            table.remove_row(str(self._records.pop(0).seq))
        if self._follows and records:
            table.move_cursor(row=len(self._records) - 1, animate=False)

    # Keys -------------------------------------------------------------------------------------

    def action_follow(self) -> None:
        """To the end of the log, and on with it."""
        self._follows, self._search = True, None
        self._records = []
        self._table.clear()
        self._read()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        search = parse_search(event.value, int(self.console.source.clock.now() * 1e9))
        self.action_close_search()
        book = self.console.logbook
        if search is None or book is None:
            return
        self._follows, self._search, self._note = False, search, f"searching for {event.value}..."
        self._fetch(lambda: book.find(search))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        if event.cursor_row < len(self._records):
            self.app.push_screen(RecordDialog(self._records[event.cursor_row]))
