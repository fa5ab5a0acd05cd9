"""The alarms: which there are, since when, what to do; acknowledged and shelved here."""

from __future__ import annotations

from typing import ClassVar, Final

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from ..alarm_kinds import severity_text
from ..draw.alerts import OPEN_STATES, SEVERITY_TONES
from ..draw.lines import Line, Tone, line, wrapped
from ..modals.shelve import ShelveDialog
from ..view import AlarmView, View
from ..widgets.painted import Painted
from ..widgets.table import Table
from ..words import age_text, clock_text
from .base import ConsoleScreen

COLUMNS: Final = ("severity", "state", "since", "for", "alarm", "what is seen")


SEVERITY_COLOURS: Final = {1: "error", 2: "warning", 3: "accent"}


class AlarmsScreen(ConsoleScreen):
    """Active first, then those that came and went unseen, then known and shelved ones."""

    PLACE = "Alarms"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "acknowledge", "Acknowledge"),
        Binding("A", "acknowledge_all", "All"),
        Binding("s", "shelve", "Shelve"),
        Binding("u", "unshelve", "Unshelve"),
        Binding("r", "runbook", "Runbook"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._alarms: list[AlarmView] = []

    def body(self) -> ComposeResult:
        yield Table()
        yield Painted(self._detail, id="detail", grows=True)

    def on_mount(self) -> None:
        super().on_mount()
        table = self.query_one(Table)
        for name in COLUMNS:
            table.add_column(name, key=name)
        table.focus()

    def paint(self, view: View) -> None:
        self._fill(view)
        super().paint(view)

    def _fill(self, view: View) -> None:
        """Cells that changed, if the alarms are the same ones; all of it otherwise."""
        table = self.query_one(Table)
        if not table.columns:
            return  # a tick came before the table was made
        keys = [alarm.key for alarm in view.alarms]
        if keys != [alarm.key for alarm in self._alarms]:
            chosen = self._chosen()
            table.clear()
            for alarm in view.alarms:
                row = [self._cell(alarm, name, text) for name, text in _named(alarm)]
                table.add_row(*row, key=alarm.key)
            if chosen is not None and chosen.key in keys:
                table.move_cursor(row=keys.index(chosen.key), animate=False)
        else:
            for old, alarm in zip(self._alarms, view.alarms, strict=True):
                restyled = old.state != alarm.state
                for before, (name, after) in zip(_cells(old), _named(alarm), strict=True):
                    if before != after or restyled:
                        cell = self._cell(alarm, name, after)
                        table.update_cell(alarm.key, name, cell, update_width=True)
        self._alarms = view.alarms

    def _cell(self, alarm: AlarmView, name: str, text: str) -> Text:
        """The severity of one that nobody has acknowledged is coloured."""
        if name != COLUMNS[0] or alarm.state not in OPEN_STATES:
            return Text(text)
        colour = self.app.theme_variables[SEVERITY_COLOURS[alarm.severity]]
        return Text(text, f"bold {colour}")

    def _chosen(self) -> AlarmView | None:
        row = self.query_one(Table).cursor_row
        return self._alarms[row] if 0 <= row < len(self._alarms) else None

    def _detail(self, view: View, width: int, height: int) -> list[Line]:
        alarm = self._chosen()
        if alarm is None:
            return [line(("no alarms", Tone.GOOD))]
        tone = SEVERITY_TONES[alarm.severity]
        rows = [line((severity_text(alarm.severity), tone), f"  {alarm.title}")]
        rows += wrapped(alarm.text, width)
        rows += wrapped(f"do: {alarm.what_to_do}", width, Tone.ACCENT)
        by = f"   acknowledged by {alarm.acknowledged_by}" if alarm.acknowledged_by else ""
        left = alarm.shelved_for_s
        shelved = f"   shelved for another {age_text(left)}" if left is not None else ""
        opens = ("  (r opens it)", Tone.DIM)
        return [*rows, line(("runbook ", Tone.LABEL), alarm.runbook, opens, f"{by}{shelved}")]

    def on_data_table_row_highlighted(self) -> None:
        self.console.paint()

    # Keys -------------------------------------------------------------------------------------

    def action_acknowledge(self) -> None:
        if (alarm := self._chosen()) is not None:
            self.console.source.model.alarms.acknowledge(alarm.key, self.console.operator)
            self.console.note("acknowledged", alarm.key)

    def action_acknowledge_all(self) -> None:
        self.console.source.model.alarms.acknowledge_all(self.console.operator)
        self.console.note("acknowledged", "all alarms")

    def action_shelve(self) -> None:
        alarm = self._chosen()
        if alarm is None:
            return

        def shelve(seconds: float | None) -> None:
            if seconds:
                model, now = self.console.source.model, self.console.source.clock.now()
                model.alarms.shelve(alarm.key, seconds, now)
                self.console.note("shelved", f"{alarm.key} for {age_text(seconds)}")

        self.app.push_screen(ShelveDialog(alarm.title), shelve)

    def action_unshelve(self) -> None:
        if (alarm := self._chosen()) is not None:
            self.console.source.model.alarms.unshelve(alarm.key)

    def action_runbook(self) -> None:
        if (alarm := self._chosen()) is not None:
            self.console.open_runbook(alarm.runbook)

    def on_data_table_row_selected(self) -> None:
        self.action_runbook()


def _named(alarm: AlarmView) -> list[tuple[str, str]]:
    return list(zip(COLUMNS, _cells(alarm), strict=True))


def _cells(alarm: AlarmView) -> tuple[str, ...]:
    return (
        severity_text(alarm.severity),
        alarm.state,
        clock_text(int(alarm.since * 1e9)),
        age_text(alarm.for_s),
        alarm.title,
        alarm.text,
    )
