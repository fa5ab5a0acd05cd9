"""What every screen has: the header, the keys at the bottom, and that it is painted."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual.app import ComposeResult
from textual.events import Resize
from textual.screen import Screen
from textual.widgets import Footer

from ..draw.alerts import banner_lines, header_line
from ..draw.lines import Line, Tone, line
from ..draw.transport import transport_line
from ..source import ReplaySource
from ..view import View
from ..widgets.painted import Painted
from ..widgets.tabbar import TabBar

if TYPE_CHECKING:
    from ..app import ConsoleApp

COMPACT_BELOW = (112, 34)  # columns, rows
MEDIUM_BELOW = 44  # rows
MODES = ("overview", "clients", "log", "operations", "history", "alarms", "runbooks")


class ConsoleScreen(Screen[None]):
    """A top-level view. `PLACE` is its name in the header."""

    PLACE = ""

    @property
    def console(self) -> ConsoleApp:
        return cast("ConsoleApp", self.app)

    def compose(self) -> ComposeResult:
        yield Painted(self._header, id="header")
        yield TabBar(MODES, self.PLACE.lower())
        yield Painted(self._transport, id="transport")
        yield Painted(self._banner, id="banner", grows=True)
        yield from self.body()
        yield Footer(show_command_palette=False, compact=True)

    def body(self) -> ComposeResult:
        """What is between the header and the keys."""
        raise NotImplementedError

    def on_mount(self) -> None:
        self.set_class(not self.console.source.is_live, "-replay")

    def on_resize(self, event: Resize) -> None:
        width, height = COMPACT_BELOW
        is_compact = event.size.width < width or event.size.height < height
        self.set_class(is_compact, "-compact")
        self.set_class(not is_compact and event.size.height < MEDIUM_BELOW, "-medium")
        self.call_after_refresh(self.console.paint)

    def on_screen_resume(self) -> None:
        self.call_after_refresh(self.console.paint)

    def paint(self, view: View) -> None:
        """Shows this picture."""
        self.query_one("#banner").display = bool(banner_lines(view, 80))
        for painted in self.query(Painted):
            painted.paint(view)

    def _header(self, view: View, width: int, height: int) -> list[Line]:
        return [header_line(view, self.console.marks(), width)]

    def _banner(self, view: View, width: int, height: int) -> list[Line]:
        return banner_lines(view, width)

    def _transport(self, view: View, width: int, height: int) -> list[Line]:
        source = self.console.source
        if not isinstance(source, ReplaySource):
            return [line(("", Tone.DIM))]
        return [transport_line(source.player, width)]
