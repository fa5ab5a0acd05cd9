"""The dialog of one operation: what it needs and costs, what has to be typed, and how it goes.

Decides nothing of that: `workflow` does. No key and no Enter carries anything out by itself: the
node's name has to be typed, and then a button pressed.
"""

from __future__ import annotations

import msgspec
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Button, Checkbox, Input, Label

from ...shared.operations import Operation, Request
from ...shared.wording import request_text
from ..conduct import Conductor
from ..draw.lines import Line, Tone, line
from ..draw.workflow import demand_lines, outcome_lines, preflight_lines, progress_lines
from ..durations import parse_minutes_ms
from ..view import View
from ..widgets.painted import Painted
from ..widgets.tick import Tick
from ..workflow import ENDED, Stage, Typed
from .base import Dialog

FLAGS = {
    "solo": ("release alone at once (--solo), UNPROTECTED", (Operation.PROMOTE,)),
    "accept_loss": (
        "accept the loss listed (--accept-loss)",
        (Operation.PROMOTE, Operation.SOLO, Operation.REINSTATE),
    ),
    "reseed": ("with nothing of its own journal (--reseed)", (Operation.REINSTATE,)),
}
TYPED_S = 0.1
FIELDS = (
    ("operator", "who", "your name"),
    ("reason", "reason", "why; it goes into the log"),
    ("attest", "attest", "type the sentence above, if it is true"),
    ("confirm", "confirm", ""),
)


class WorkflowDialog(Dialog[None]):
    """Shows one conductor's workflow. Left with Escape: before it is sent nothing has happened,
    and after it goes on without being looked at."""

    def __init__(self, conductor: Conductor) -> None:
        super().__init__()
        self.conductor = conductor
        self._voided = conductor.workflow.voided
        self._will_paint = False

    @property
    def flow_stage(self) -> Stage:
        return self.conductor.workflow.stage(self.console.source.clock.now())

    # What is seen -----------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        request = self.conductor.workflow.request
        with Vertical(classes="dialog", id="workflow"):
            yield Painted(self._title, grows=True)
            with Horizontal(classes="flags before"):
                yield Button(f"on {request.node}: change", id="node", compact=True)
                for name, (label, operations) in FLAGS.items():
                    if request.operation in operations:
                        on = bool(getattr(request, name))
                        yield Tick(label.split(" (")[0], on, id=name, compact=True)
                if request.operation is Operation.SOLO:
                    yield Input(placeholder="for minutes", id="minutes", compact=True)
            with VerticalScroll():
                yield Painted(self._body, grows=True)
            yield Painted(self._demand, grows=True, classes="before")
            for name, label, hint in FIELDS:
                with Horizontal(classes="field before", id=f"field-{name}"):
                    yield Label(label)
                    yield Input(placeholder=hint, id=name, compact=True, select_on_focus=False)
            with Horizontal(classes="field hidden", id="field-checked"):
                yield Label("checked")
                yield Input(placeholder=_CHECKED, id="checked", compact=True)
            with Horizontal(classes="buttons"):
                yield Button(_NOT_YET, id="send", disabled=True, compact=True)
                yield Button("close (esc)", id="leave", compact=True)

    def on_mount(self) -> None:
        who = self.query_one("#operator", Input)
        who.value = self.conductor.workflow.typed.operator
        who.disabled = self.console.options.by_key
        if self.conductor.workflow.sent_at is None:
            self.query_one("#reason", Input).focus()

    def paint(self, view: View) -> None:
        flow = self.conductor.workflow
        stage = self.flow_stage
        status = view.node(flow.request.node).status
        if stage in (Stage.RUNNING, Stage.WAITING) and status is not None and status.operation:
            flow.on_step(status.operation, view.at)
        was_sent = flow.sent_at is not None
        for widget in self.query(".before"):
            widget.set_class(was_sent, "hidden")
        if not was_sent:
            self._show_demands()
        self.query_one("#field-checked").set_class(stage is not Stage.UNKNOWN, "hidden")
        send = self.query_one("#send", Button)
        send.set_class(was_sent, "hidden")
        send.disabled = stage is not Stage.READY
        send.variant = "error" if stage is Stage.READY else "default"
        label = f"send: {request_text(flow.request)}" if stage is Stage.READY else _NOT_YET
        if str(send.label) != label:
            send.label = label
            send.styles.width = len(label) + 4
        super().paint(view)

    def _show_demands(self) -> None:
        """The fields of this preflight; one whose text does not count any more is emptied."""
        flow = self.conductor.workflow
        preflight = flow.preflight
        attests = preflight is not None and bool(preflight.attestation)
        self.query_one("#field-attest").set_class(not attests, "hidden")
        confirm = self.query_one("#confirm", Input)
        confirm.placeholder = f"type the node's name: {flow.request.node}"
        if flow.voided == self._voided:
            return
        self._voided = flow.voided
        for name in ("confirm", "attest"):
            box = self.query_one(f"#{name}", Input)
            with box.prevent(Input.Changed):
                box.value = ""

    def _title(self, view: View, width: int, height: int) -> list[Line]:
        flow = self.conductor.workflow
        return [line((request_text(flow.request), Tone.TITLE), f"   {self.flow_stage.value}")]

    def _body(self, view: View, width: int, height: int) -> list[Line]:
        flow = self.conductor.workflow
        if flow.sent_at is None:
            return preflight_lines(flow, view.at, width)
        return progress_lines(flow, view.at, width) + outcome_lines(flow, view.at, width)

    def _demand(self, view: View, width: int, height: int) -> list[Line]:
        return demand_lines(self.conductor.workflow, view.at, width)

    # What is done -----------------------------------------------------------------------------

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id == "minutes":
            self._choose(for_ms=parse_minutes_ms(event.value))
            return
        values = {name: self.query_one(f"#{name}", Input).value for name, _, _ in FIELDS}
        values["confirm"] = values["confirm"].strip()
        self.conductor.workflow.type(Typed(**values))
        if not self._will_paint:  # once for many keys: painting each would lag behind the hand
            self._will_paint = True
            self.set_timer(TYPED_S, self._paint_typed)

    def _paint_typed(self) -> None:
        self._will_paint = False
        if self.console.view is not None:
            self.paint(self.console.view)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes on to the next field, from the last one to the button, and sends nothing. It
        never reaches the button that closes: a hand that types blindly stays in the dialog."""
        if event.input.id == "checked":
            self._settle_by_hand(event.value.strip())
        elif event.input.id != "confirm":
            self.focus_next("Input")
        elif self.flow_stage is Stage.READY:
            self._paint_typed()  # the button is enabled by it
            self.query_one("#send", Button).focus()
        else:
            missing = self.conductor.workflow.missing(self.console.source.clock.now())
            self.notify("; ".join(missing), severity="warning")

    def _settle_by_hand(self, typed: str) -> None:
        node = self.conductor.workflow.request.node
        if typed == node:
            self.conductor.give_up_doubt(self.console.operator)
        else:
            self.notify(f"type {node} if you have checked what became of it", severity="warning")

    def on_checkbox_changed(self, event: Checkbox.Changed) -> None:
        if event.checkbox.id in FLAGS:
            self._choose(**{event.checkbox.id: event.value})

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "send":
            self.conductor.send()
            self.query_one("#leave", Button).focus()
        elif event.button.id == "node":
            request = self.conductor.workflow.request
            nodes = [node.name for node in self.console.view.nodes] if self.console.view else []
            other = next((name for name in nodes if name != request.node), request.node)
            event.button.label = f"on {other}: change"
            self._choose(node=other)
        else:
            self.action_close()
        self.console.paint()

    def _choose(self, **changes: object) -> None:
        flow = self.conductor.workflow
        request: Request = msgspec.structs.replace(flow.request, **changes)
        flow.choose(request)
        self.conductor.look_again()

    def action_close(self) -> None:
        stage = self.flow_stage
        if self.conductor.workflow.sent_at is None:
            self.console.abandon(self.conductor)
        elif stage not in ENDED:
            self.notify("it goes on; Operations shows it again")
        self.dismiss(None)


_NOT_YET = "cannot be sent yet"
_CHECKED = "type the node's name to say that you have checked what became of it"
