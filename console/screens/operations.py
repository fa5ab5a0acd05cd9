"""The operations: what fits now first, then all of them. Opening one changes nothing."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option as Entry

from ...shared.operations import Operation, Request
from ...shared.wording import request_text
from ..draw.lines import Line, Tone, line, wrapped
from ..draw.nodes import node_lines
from ..modals.quarantine import QuarantineDialog
from ..options import Option, options
from ..view import Suggestion, View
from ..widgets.painted import Painted
from .base import ConsoleScreen


class OperationsScreen(ConsoleScreen):
    """A menu, and what both nodes say beside it."""

    PLACE = "Operations"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "approve", "Approve another's"),
        Binding("r", "resume_dialog", "Show the one under way"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._suggestions: list[Suggestion] = []
        self._options: list[Option] = []
        self._labels: list[str] = []

    def body(self) -> ComposeResult:
        with Horizontal(classes="fills"):
            yield OptionList(id="menu", markup=False)
            yield Painted(self._facts, id="facts")

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one(OptionList).focus()

    def paint(self, view: View) -> None:
        self._fill(view)
        super().paint(view)

    def _fill(self, view: View) -> None:
        """The menu is only made anew when it would read otherwise: a row must not jump away from
        under a finger."""
        suggested = view.suggestions
        menu = [one for one in options(view.nodes, view.leader) if _offered(one)]
        labels = [f"{request_text(one.request)}|{one.why}" for one in suggested]
        labels += [f"{one.operation.value}|{one.node}|{one.hint}|{one.blocked}" for one in menu]
        if labels == self._labels:
            return
        chosen = self._chosen_key()
        self._labels, self._suggestions, self._options = labels, suggested, menu
        listed = self.query_one(OptionList)
        listed.clear_options()
        for one in suggested:
            text = Content.assemble(("> ", "bold $accent"), (request_text(one.request), "bold"))
            listed.add_option(Entry(text, id=f"fits {request_text(one.request)}"))
        for each in menu:
            listed.add_option(Entry(_entry(each), id=each.operation.value))
        keys = [option.id for option in listed.options]
        listed.highlighted = keys.index(chosen) if chosen in keys else 0

    def _chosen_key(self) -> str | None:
        listed = self.query_one(OptionList)
        if listed.highlighted is None or listed.highlighted >= listed.option_count:
            return None
        return listed.get_option_at_index(listed.highlighted).id

    def _request_at(self, index: int) -> tuple[Request, str, str]:
        """The request of a row, what is said of it, and what blocks it."""
        if index < len(self._suggestions):
            suggested = self._suggestions[index]
            return suggested.request, suggested.why, ""
        one = self._options[index - len(self._suggestions)]
        hint = f"{one.what}. Will most likely be refused: {one.hint}" if one.hint else one.what
        return Request(one.operation, one.node), hint, one.blocked

    def _facts(self, view: View, width: int, height: int) -> list[Line]:
        listed = self.query_one(OptionList)
        rows: list[Line] = []
        active = self.console.active
        if active is not None and active.workflow.locks:
            stage = active.workflow.stage(self.console.source.clock.now()).name
            text = f"{request_text(active.workflow.request)} is {stage}: press r to see it. Nothing"
            rows += wrapped(f"{text} else can be begun before it is settled.", width, Tone.ALARM)
            rows.append(line())
        if listed.highlighted is not None and listed.highlighted < len(self._labels):
            request, what, blocked = self._request_at(listed.highlighted)
            rows.append(line((request_text(request), Tone.TITLE)))
            rows += wrapped(what, width)
            if blocked:
                rows += wrapped(f"disabled: {blocked}", width, Tone.BAD)
            rows += [line(("Enter shows what it needs; that changes nothing", Tone.DIM)), line()]
        room = max(4, (height - len(rows)) // 2 - 2)
        for node in view.nodes:
            rows.append(line((f"{node.name}, as {node.name} says", Tone.TITLE)))
            rows += [*node_lines(node, width, room), line()]
        return rows[:height]

    def on_option_list_option_highlighted(self) -> None:
        self.console.paint()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        request, _, blocked = self._request_at(event.option_index)
        if blocked:
            self.notify(f"disabled: {blocked}", severity="warning")
        elif request.operation is Operation.DISCARD:
            self.console.guarded(lambda: self.app.push_screen(QuarantineDialog()))
        else:
            self.console.operate(request)

    def action_approve(self) -> None:
        self.console.approve()

    def action_resume_dialog(self) -> None:
        self.console.show_active()


def _offered(one: Option) -> bool:
    """A tail is submitted again by the command line, which reads it; marking it alone would lie."""
    return one.operation is not Operation.RESUBMIT


def _entry(one: Option) -> Content:
    name = "quarantine" if one.operation is Operation.DISCARD else one.operation.value
    node = "" if one.operation is Operation.DISCARD else one.node
    style = "$foreground 50%" if one.blocked or one.hint else ""
    mark = "x " if one.blocked else "  "
    return Content.assemble((f"{mark}{name} {node}", style))
