"""The history: who did what to the pair, when and why; to be filtered and taken along."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar, Final

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Input

from ...shared.story import Event
from ..draw.history import event_cells, event_lines
from ..draw.lines import Line, Tone, line
from ..modals.text import TextDialog
from ..story import matching, to_csv, to_json
from ..view import View
from .listing import ListScreen

FIRST_LOOK: Final = 500_000  # messages, newest; `o` looks further back


class HistoryScreen(ListScreen):
    """Epochs and operations, from the log alone."""

    PLACE = "History"
    WORDS = "words to look for, in any column"
    HEADINGS = ("time (UTC)", "seq", "epoch", "what", "node", "who", "result", "reason")
    READ_EVERY_S = 2.0
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "Filter"),
        Binding("w", "export", "Export CSV+JSON"),
        Binding("l", "older", "Look further back"),
        Binding("escape", "close_search", "Back", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._events: list[Event] = []
        self._shown: list[Event] = []
        self._filter = ""
        self._note = "reading the log..."
        self._from_seq: int | None = None
        self._read_to = 0
        self._reading = False

    def _state(self, view: View, width: int, height: int) -> list[Line]:
        filtered = f"  filter: {self._filter}" if self._filter else ""
        return [line(f"{len(self._shown)} events  {self._note}", (filtered, Tone.ACCENT))]

    # Reading ----------------------------------------------------------------------------------

    def _read(self) -> None:
        if self.console.logbook is None:
            self._note = "a recording keeps no records of the log"
        elif not self._reading and self.app.screen is self:
            self._reading = True
            self.run_worker(self._fetch(), exit_on_error=False, group="history")

    async def _fetch(self) -> None:
        book = self.console.logbook
        assert book is not None
        try:
            if self._from_seq is None:
                seen = self.console.view
                head = seen.marks.released_seq if seen and seen.marks else 0
                self._from_seq = max(1, head - FIRST_LOOK)
                self._read_to = self._from_seq - 1
            found = await asyncio.to_thread(book.events, self._read_to + 1)
        finally:
            self._reading = False
        if isinstance(found, str):
            self._note = found
            return
        events, self._read_to = found
        self._note = f"from seq {self._from_seq:,} to {self._read_to:,}"
        if events or not self._shown:
            self._events += events
            self._show()

    def _show(self) -> None:
        """Newest first: that is what is looked for."""
        self._shown = matching(reversed(self._events), self._filter)
        table = self._table
        row = table.cursor_row
        table.clear()
        for event in self._shown:
            table.add_row(*(Text(cell) for cell in event_cells(event)))
        table.move_cursor(row=min(row, max(0, len(self._shown) - 1)), animate=False)

    # Keys -------------------------------------------------------------------------------------

    def action_older(self) -> None:
        """Reads the whole log that is kept."""
        self._events, self._from_seq, self._read_to = [], 1, 0
        self._read()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._filter = event.value
        self._show()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.action_close_search()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        if event.cursor_row < len(self._shown):
            chosen = self._shown[event.cursor_row]
            self.app.push_screen(TextDialog(chosen.what, lambda width: event_lines(chosen, width)))

    def action_export(self) -> None:
        """Writes what is shown beside the working directory's other files, never over one."""
        if self.console.in_browser:
            self.notify("a console in the browser writes no files; use: interlock history --json")
            return
        stem = f"interlock-history-{int(self.console.source.clock.now())}"
        kinds = ((".csv", to_csv), (".jsonl", to_json))
        try:
            for suffix, encode in kinds:
                with Path(stem + suffix).open("xb") as file:
                    file.write(encode(reversed(self._shown)))
        except OSError as error:
            self.notify(f"not exported: {error.strerror}", severity="error")
            return
        self.notify(f"wrote {stem}.csv and {stem}.jsonl into {Path.cwd()}")
