"""For how long an alarm is shelved: always for a time that is named."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from ..alarms import MAX_SHELVED_S
from ..draw.lines import Tone, line
from ..widgets.painted import Painted
from .base import Dialog


class ShelveDialog(Dialog[float]):
    """Ends with seconds, or None."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            title = f"shelve: {self._title}"
            yield Painted(lambda *_: [line((title, Tone.TITLE))], grows=True)
            yield Painted(
                lambda *_: [
                    line((f"minutes, 1 to {MAX_SHELVED_S / 60:.0f}; then Enter", Tone.DIM))
                ],
                grows=True,
            )
            yield Input("10", type="integer", compact=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        minutes = int(event.value) if event.value.isdecimal() else 0
        if 1 <= minutes <= MAX_SHELVED_S / 60:
            self.dismiss(minutes * 60.0)
        else:
            self.notify("a number of minutes from 1 to 480", severity="warning")
