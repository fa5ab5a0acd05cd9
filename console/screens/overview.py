"""The overview: both nodes as each claims to be, what is between them, and what to do now."""

from __future__ import annotations

from collections.abc import Callable

from textual.app import ComposeResult
from textual.containers import Container
from textual.events import Resize

from ..draw.alerts import alarm_lines, event_lines, now_lines
from ..draw.flow import (
    gate_lines,
    gate_text,
    lag_line,
    pending_line,
    pending_lines,
    rate_lines,
    stage_lines,
)
from ..draw.lines import Line, Tone, line, wrapped
from ..draw.nodes import node_lines
from ..freshness import Freshness
from ..view import View
from ..widgets.painted import Painted
from ..witnesses import one_sided
from ..words import age_text
from .base import ConsoleScreen

OF_THE_LEADER = ("gate", "pending", "rates", "stages")  # panels as old as what the leader says


class OverviewScreen(ConsoleScreen):
    """The screen that is open all day."""

    PLACE = "Overview"

    def body(self) -> ComposeResult:
        with Container(id="overview"):
            yield Painted(self._node(0), id="node-0", classes="panel")
            yield Painted(self._gate, id="gate", classes="panel")
            yield Painted(self._node(1), id="node-1", classes="panel")
            yield Painted(self._pending, id="pending", classes="panel")
            yield Painted(rate_lines, id="rates", classes="panel")
            yield Painted(stage_lines, id="stages", classes="panel")
            yield Painted(alarm_lines, id="alarms-panel", classes="panel")
            yield Painted(now_lines, id="now", classes="panel")
            yield Painted(event_lines, id="events", classes="panel")

    def on_mount(self) -> None:
        super().on_mount()
        titles = {
            "gate": "gate and link",
            "pending": "pending",
            "rates": "last 2 minutes",
            "stages": "latency",
            "alarms-panel": "alarms",
            "now": "what now",
            "events": "what the nodes noted",
        }
        for name, title in titles.items():
            self.query_one(f"#{name}").border_title = title

    def on_resize(self, event: Resize) -> None:
        super().on_resize(event)
        overview = self.query_one("#overview")
        second, gate = self.query_one("#node-1"), self.query_one("#gate")
        if self.has_class("-compact"):
            overview.move_child(second, before=gate)
        else:
            overview.move_child(gate, before=second)

    def paint(self, view: View) -> None:
        for index, node in enumerate(view.nodes):
            panel = self.query_one(f"#node-{index}")
            panel.border_title = f"{node.name}, as {node.name} says"
            panel.set_class(node.usable is None, "-lost")
        lead = view.node(view.leader) if view.leader else None
        is_late = lead is not None and lead.freshness is Freshness.LATE
        for name in OF_THE_LEADER:
            panel = self.query_one(f"#{name}")
            panel.set_class(is_late, "-late")
            panel.border_subtitle = f"{age_text(lead.age_s)} old" if lead and is_late else ""
        hint = "6 opens them, there A acknowledges all" if view.alarms else ""
        self.query_one("#alarms-panel").border_subtitle = hint
        super().paint(view)

    def _node(self, index: int) -> Callable[[View, int, int], list[Line]]:
        return lambda view, width, height: node_lines(view.nodes[index], width, height)

    def _gate(self, view: View, width: int, height: int) -> list[Line]:
        if self.has_class("-compact"):
            return [[*gate_text(view), *line("   "), *lag_line(view)], line(view.gate.why)]
        rows = gate_lines(view, width, height)
        hearsay = one_sided(view.nodes)
        return [*rows, *wrapped(hearsay, width, Tone.WARN)] if hearsay else rows

    def _pending(self, view: View, width: int, height: int) -> list[Line]:
        if self.has_class("-compact"):
            return [pending_line(view)]
        return pending_lines(view, width, height)
