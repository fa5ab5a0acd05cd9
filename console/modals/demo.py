"""Breaks and mends the pair of a demo: kill, freeze, start. Only a demo has it."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Label

from ..demo import Demo, Process
from ..draw.lines import Line, Tone, line
from ..view import View
from ..widgets.painted import Painted
from .base import Dialog


class DemoDialog(Dialog[None]):
    """Each node's process with what can be done to it. No button has the focus at first."""

    AUTO_FOCUS = ""

    def __init__(self, demo: Demo) -> None:
        super().__init__()
        self._demo = demo

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Painted(self._text, grows=True)
            for process in self._demo.processes():
                name = process.node
                with Horizontal(classes="buttons"):
                    yield Label("", id=f"process-{name}", classes="process", markup=False)
                    for deed in ("kill -9", "freeze", "start"):
                        yield Button(deed, id=f"{deed.split()[0]}-{name}", compact=True)
            yield Painted(lambda *_: [line(("esc close", Tone.DIM))], grows=True)

    def paint(self, view: View) -> None:
        for process in self._demo.processes():
            name = process.node
            self.query_one(f"#process-{name}", Label).update(_told(process))
            self.query_one(f"#kill-{name}", Button).disabled = not process.runs
            freeze = self.query_one(f"#freeze-{name}", Button)
            freeze.label = "thaw" if process.frozen else "freeze"
            freeze.disabled = not process.runs
            self.query_one(f"#start-{name}", Button).disabled = process.runs
        super().paint(view)

    def _text(self, view: View, width: int, height: int) -> list[Line]:
        rows = [line(("the demo's pair", Tone.TITLE), "   break it here, or from another terminal")]
        return [*rows, *(line((text, Tone.DIM)) for text in self._demo.news())]

    def on_button_pressed(self, event: Button.Pressed) -> None:
        deed, _, name = (event.button.id or "").partition("-")
        process = next(one for one in self._demo.processes() if one.node == name)
        if deed == "kill":
            self._demo.kill(name)
        elif deed == "start":
            self._demo.start(name)
        elif process.frozen:
            self._demo.thaw(name)
        else:
            self._demo.freeze(name)
        self.console.note(f"demo: {event.button.label} {name}", f"pid {process.pid}")
        self.console.paint()


def _told(process: Process) -> str:
    does = "frozen" if process.frozen else "runs" if process.runs else "has ended"
    return f"{process.node}  pid {process.pid}  {does}"
