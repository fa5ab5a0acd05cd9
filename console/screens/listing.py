"""What the screens over the log share: a table that is read every so often, and a box for words.

Decides when it is read, and how the box opens and closes; what is read and shown is each screen's.
"""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import DataTable, Input

from ..draw.lines import Line
from ..view import View
from ..widgets.painted import Painted
from ..widgets.table import Table
from .base import ConsoleScreen


class ListScreen(ConsoleScreen):
    """A screen of rows. `WORDS` is what the box says while it is empty."""

    WORDS = ""
    HEADINGS: ClassVar[tuple[str, ...]] = ()
    READ_EVERY_S = 1.0

    def body(self) -> ComposeResult:
        yield Input(placeholder=self.WORDS, id="search", compact=True)
        yield Painted(self._state, grows=True)
        yield Table()

    def on_mount(self) -> None:
        super().on_mount()
        self._table.add_columns(*self.HEADINGS)
        self._table.focus()
        self.set_interval(self.READ_EVERY_S, self._read)

    @property
    def _table(self) -> DataTable[Text]:
        return self.query_one(DataTable)

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        self._read()

    def _state(self, view: View, width: int, height: int) -> list[Line]:
        """The line above the table."""
        raise NotImplementedError

    def _read(self) -> None:
        """Begins to read, if there is more and this screen is seen."""
        raise NotImplementedError

    def action_search(self) -> None:
        box = self.query_one("#search", Input)
        box.add_class("-open")
        box.focus()

    def action_close_search(self) -> None:
        self.query_one("#search", Input).remove_class("-open")
        self._table.focus()
