"""The quarantined tails of both nodes: what was cut off their logs, and giving one up."""

from __future__ import annotations

import asyncio
from typing import Final

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import DataTable

from ...shared.commands import QuarantineEntry
from ...shared.operations import Operation, Request
from ..draw.lines import Line, Tone, line, wrapped
from ..view import View
from ..widgets.painted import Painted
from ..widgets.table import Table
from ..words import bytes_text, date_text
from .base import Dialog

COLUMNS: Final = ("node", "entry", "state", "cut", "seq", "messages", "bytes", "producers")


class QuarantineDialog(Dialog[None]):
    """Lists; Enter on a kept entry opens its discard, whose preflight and typing come first."""

    def __init__(self) -> None:
        super().__init__()
        self._entries: list[tuple[str, QuarantineEntry]] = []
        self._note = "asking both nodes..."

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Painted(self._text, grows=True)
            table = Table()
            yield table

    def on_mount(self) -> None:
        self.query_one(DataTable).add_columns(*COLUMNS)
        self.run_worker(self._fetch(), exit_on_error=False)

    async def _fetch(self) -> None:
        hands = self.console.hands
        assert hands is not None
        found = await asyncio.to_thread(hands.quarantine)
        silent = [name for name, entries in found.items() if entries is None]
        self._entries = [(name, one) for name, entries in found.items() for one in entries or []]
        self._note = f"{', '.join(silent)} does not answer" if silent else ""
        if not self._entries:
            self._note = f"nothing is quarantined  {self._note}".strip()
        table = self.query_one(DataTable)
        for name, entry in self._entries:
            table.add_row(*map(Text, _cells(name, entry)))
        table.focus()
        self.console.paint()

    def _text(self, view: View, width: int, height: int) -> list[Line]:
        rows = [line(("quarantine", Tone.TITLE), f"  {self._note}")]
        rows += wrapped("Enter: what giving an entry up needs. To read or submit one again:", width)
        return [*rows, line(("interlock quarantine export|resubmit NODE ENTRY", Tone.ACCENT))]

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        name, entry = self._entries[event.cursor_row]
        if entry.state != "kept":
            self.notify(f"{entry.name} is {entry.state} already")
            return
        self.dismiss(None)
        self.console.operate(Request(Operation.DISCARD, name, entry=entry.name))


def _cells(node: str, entry: QuarantineEntry) -> tuple[str, ...]:
    return (
        node,
        entry.name,
        entry.state,
        date_text(entry.cut_ns),
        f"{entry.first_seq:,}..{entry.last_seq:,}",
        f"{entry.messages:,}",
        bytes_text(entry.size_bytes),
        ", ".join(f"{name} {count:,}" for name, count in sorted(entry.producers.items())),
    )
