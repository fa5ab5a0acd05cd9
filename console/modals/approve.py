"""Agrees to another operator's operation, where the pair needs two."""

from __future__ import annotations

import asyncio

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Input, Label

from ...shared.wording import request_text
from ..draw.lines import Line, Tone, wrapped
from ..hands import Hands, Trouble
from ..view import View
from ..widgets.painted import Painted
from .base import Dialog

FIELDS = (
    ("token", "token", "as the other operator's console shows it"),
    ("node", "node", "the node that gave it"),
    ("operator", "who", "your name; not the one who asked"),
)


class ApproveDialog(Dialog[None]):
    """Approving twice does no harm."""

    def __init__(self, hands: Hands, operator: str) -> None:
        super().__init__()
        self._hands = hands
        self._operator = operator
        self._said = "Look at what you agree to first: the same preflight is under Operations."
        self._tone = Tone.DIM

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Painted(self._text, grows=True)
            for name, label, hint in FIELDS:
                with Horizontal(classes="field"):
                    yield Label(label)
                    is_who = name == "operator"
                    yield Input(
                        self._operator if is_who else "",
                        placeholder=hint,
                        id=name,
                        compact=True,
                        disabled=is_who and self.console.options.by_key,
                    )
            with Horizontal(classes="buttons"):
                yield Button("approve", id="approve", variant="warning", compact=True)
                yield Button("close (esc)", id="leave", compact=True)

    def _text(self, view: View, width: int, height: int) -> list[Line]:
        title = wrapped("approve another operator's operation", width, Tone.TITLE)
        return title + wrapped(self._said, width, self._tone)

    def on_input_submitted(self) -> None:
        self.focus_next()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id != "approve":
            self.dismiss(None)
            return
        values = [self.query_one(f"#{name}", Input).value.strip() for name, _, _ in FIELDS]
        if values[1] not in self._hands.config.nodes:
            self._say(f"the nodes are {' and '.join(self._hands.config.nodes)}", Tone.BAD)
        elif all(values):
            self.run_worker(self._approve(*values), exit_on_error=False)
        else:
            self._say("token, node and who you are have to be given", Tone.BAD)

    async def _approve(self, token: str, node: str, operator: str) -> None:
        found = await asyncio.to_thread(self._hands.approve, node, token, operator)
        if isinstance(found, Trouble):
            self._say(found.text, Tone.BAD)
            return
        names = ", ".join(found.approvers)
        self._say(f"{request_text(found.request)} is approved by {names}", Tone.GOOD)
        self.console.note(f"approved {request_text(found.request)}", f"token {token}, {names}")

    def _say(self, text: str, tone: Tone) -> None:
        self._said, self._tone = text, tone
        self.console.paint()
