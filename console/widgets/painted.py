"""A widget that shows what a pure function draws, and paints only what has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.content import Content
from textual.widgets import Static

from ..draw.lines import Line
from ..theme import STYLES
from ..view import View

Draw = Callable[[View, int, int], Sequence[Line]]
UNBOUNDED = 10_000  # lines of a widget that grows with what is in it


def content_of(lines: Sequence[Line]) -> Content:
    """The lines as Textual shows them. Names stay what they are: nothing in them is markup."""
    parts: list[str | Content | tuple[str, str]] = []
    for number, one in enumerate(lines):
        if number:
            parts.append("\n")
        parts += [(text, STYLES[tone]) if STYLES[tone] else text for text, tone in one]
    return Content.assemble(*parts)


class Painted(Static):
    """Draws with `draw(view, width, height)`; `grows`: as high as what is drawn."""

    def __init__(
        self,
        draw: Draw,
        *,
        id: str | None = None,  # noqa: A002
        classes: str = "",
        grows: bool = False,
    ) -> None:
        super().__init__("", id=id, classes=classes, markup=False)
        self._draw = draw
        self._grows = grows
        self._shown: Sequence[Line] | None = None

    def paint(self, view: View) -> None:
        """Shows this picture, at the size that the widget has now."""
        width = self.content_size.width or self.container_size.width
        height = UNBOUNDED if self._grows else self.content_size.height
        if not width or not self.display:
            return
        lines = self._draw(view, width, height)
        if lines != self._shown:
            grown = self._shown is None or len(lines) != len(self._shown)
            self._shown = lines
            self.update(content_of(lines), layout=self._grows and grown)
