"""One record of the log in full, decoded or in hex."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll

from ...shared.wire import Record
from ..draw.lines import Line, Tone, line
from ..draw.records import record_lines
from ..view import View
from ..widgets.painted import Painted
from .base import Dialog


class RecordDialog(Dialog[None]):
    """Shows one record; `h` exchanges text and hex."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("h", "hex", "Hex")]

    def __init__(self, record: Record) -> None:
        super().__init__()
        self._record = record
        self._as_hex = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            with VerticalScroll():
                yield Painted(self._draw, grows=True)
            yield Painted(lambda *_: [line(("h hex or text   esc close", Tone.DIM))], grows=True)

    def _draw(self, view: View, width: int, height: int) -> list[Line]:
        return record_lines(self._record, width, as_hex=self._as_hex)

    def action_hex(self) -> None:
        self._as_hex = not self._as_hex
        self.console.paint()
