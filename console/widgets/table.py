"""A table whose rows are never left as they were drawn before its columns were measured.

Textual measures columns when it has nothing else to do, and keeps what was drawn of a row until the
row changes. A row that is drawn in between stays cut to the width of the headers for good.
"""

from __future__ import annotations

from rich.text import Text
from textual.widgets import DataTable


class Table(DataTable[Text]):
    """Rows, chosen by the cursor."""

    def __init__(self) -> None:
        super().__init__(cursor_type="row")

    def watch_virtual_size(self) -> None:
        """The columns were measured: what was drawn before does not count."""
        self.notify_style_update()
