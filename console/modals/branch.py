"""Which branch of a runbook: a question, and what each answer means."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from ...runbooks.verbs import Decide
from ..draw.lines import Tone, line, wrapped
from ..widgets.painted import Painted
from .base import Dialog


class BranchDialog(Dialog[str]):
    """Ends with the name of the branch that was chosen, or None."""

    def __init__(self, decide: Decide) -> None:
        super().__init__()
        self._decide = decide

    def compose(self) -> ComposeResult:
        question = self._decide.question
        with Vertical(classes="dialog"):
            yield Painted(lambda _, width, __: wrapped(question, width, Tone.TITLE), grows=True)
            yield OptionList(
                *(
                    Option(Content.assemble((name, "bold"), f"\n  {meaning}"), id=name)
                    for name, meaning in self._decide.branches.items()
                ),
                id="choices",
                markup=False,
            )
            yield Painted(lambda *_: [line(("enter choose   esc close", Tone.DIM))], grows=True)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_id)
