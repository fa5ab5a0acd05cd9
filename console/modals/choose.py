"""Which of the operations that fit: each with when it is right. Choosing one changes nothing."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from ...shared.operations import Request
from ...shared.wording import request_text
from ..draw.lines import Tone, line
from ..view import Suggestion
from ..widgets.painted import Painted
from .base import Dialog


class ChooseDialog(Dialog[Request]):
    """Ends with the request that was chosen, or None."""

    def __init__(self, suggestions: list[Suggestion]) -> None:
        super().__init__()
        self._suggestions = suggestions

    def compose(self) -> ComposeResult:
        title = [line(("what fits now", Tone.TITLE), "   look at it: that changes nothing")]
        with Vertical(classes="dialog"):
            yield Painted(lambda *_: title, grows=True)
            yield OptionList(
                *(
                    Option(
                        Content.assemble((request_text(one.request), "bold"), f"\n  {one.why}"),
                        id=str(index),
                    )
                    for index, one in enumerate(self._suggestions)
                ),
                id="choices",
                markup=False,
            )
            yield Painted(lambda *_: [line(("enter look   esc close", Tone.DIM))], grows=True)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._suggestions[event.option_index].request)
