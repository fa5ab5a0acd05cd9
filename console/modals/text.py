"""A dialog that shows lines: the help, a receipt, an entry of the history."""

from __future__ import annotations

from collections.abc import Callable

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll

from ..draw.lines import Line, Tone, line
from ..view import View
from ..widgets.painted import Painted
from .base import Dialog


class TextDialog(Dialog[None]):
    """Shows what `draw(width)` draws, with a title."""

    def __init__(self, title: str, draw: Callable[[int], list[Line]]) -> None:
        super().__init__()
        self._title = title
        self._draw = draw

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Painted(lambda *_: [line((self._title, Tone.TITLE))], grows=True)
            with VerticalScroll():
                yield Painted(self._lines, grows=True)
            yield Painted(lambda *_: [line(("esc close", Tone.DIM))], grows=True)

    def _lines(self, view: View, width: int, height: int) -> list[Line]:
        return self._draw(width)
