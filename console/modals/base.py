"""What every dialog has: it can be left with Escape, and its picture goes on living."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from textual.binding import Binding, BindingType
from textual.events import DescendantFocus, Resize
from textual.screen import ModalScreen

from ..screens.base import COMPACT_BELOW
from ..view import View
from ..widgets.painted import Painted

if TYPE_CHECKING:
    from ..app import ConsoleApp

R = TypeVar("R")


class Dialog(ModalScreen[R]):
    """A dialog."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close", "Close")]

    @property
    def console(self) -> ConsoleApp:
        return cast("ConsoleApp", self.app)

    def on_resize(self, event: Resize) -> None:
        width, height = COMPACT_BELOW
        is_compact = event.size.width < width or event.size.height < height
        self.set_class(is_compact, "-compact")
        self.call_after_refresh(self.console.paint)

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """Marks the field that takes the keys by its label."""
        for field in self.query(".field"):
            field.set_class(field is event.widget.parent, "-here")

    def action_close(self) -> None:
        self.dismiss(None)

    def paint(self, view: View) -> None:
        """Shows this picture."""
        for painted in self.query(Painted):
            painted.paint(view)
