"""The runbooks: which fit now, and one of them followed step by step on this pair.

Decides nothing: what a step is at is `guide`, what an operation needs is its dialog, which is the
one of Operations.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar, Final

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Markdown, OptionList
from textual.widgets.option_list import Option as Entry

from ...runbooks.verbs import Action, Decide, Do
from ..draw.lines import Line, Tone, cut, line, wrapped
from ..draw.runbooks import (
    book_lines,
    document,
    guide_lines,
    in_order,
    row_cells,
    step_line,
    step_lines,
)
from ..guide import Guide, Mark, by_hand, to_jsonl
from ..modals.branch import BranchDialog
from ..modals.quarantine import QuarantineDialog
from ..shelf import Book
from ..view import View
from ..widgets.painted import Painted, content_of
from ..widgets.table import Table
from .base import ConsoleScreen

COLUMNS: Final = ("now", "runbook", "risk", "last drilled")
IN_A_GUIDE: Final = frozenset({"tick", "swap", "read", "end", "close"})


class RunbooksScreen(ConsoleScreen):
    """A list, or the runbook that is followed: its steps, and its text beside them."""

    PLACE = "Runbooks"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("x", "tick", "Done"),
        Binding("n", "swap", "Swap old"),
        Binding("v", "read", "Text"),
        Binding("w", "export", "Write"),
        Binding("e", "end", "End"),
        Binding("escape", "close", "List"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._books: list[Book] = []
        self._rows: dict[str, list[str]] = {}  # as the table shows them, by id
        self._wanted = ""  # to be opened as soon as the runbooks are read
        self._guide: Guide | None = None
        self._labels: list[Line] = []
        self._height = 0  # of the list of steps, when its cursor was last brought into sight
        self._note = "reading the runbooks..."
        self._reading = False
        self._comes = False  # somebody has just come to the list

    def body(self) -> ComposeResult:
        with Vertical(id="books"):
            yield Painted(self._state, grows=True)
            yield Table()
            yield Painted(self._detail, id="detail", grows=True)
        with Vertical(id="guide"):
            yield Painted(self._head, id="guide-head", grows=True)
            with Horizontal(classes="fills"):
                with Vertical(id="side"):
                    yield OptionList(id="steps", markup=False)
                    yield Painted(self._step, id="step-detail", grows=True)
                with VerticalScroll(id="document"):
                    yield Markdown(open_links=False)

    async def on_mount(self) -> None:  # type: ignore[override]
        """The screen is there once the runbooks were read: a screenshot does not wait longer."""
        super().on_mount()
        for name in COLUMNS:
            self._table.add_column(name, key=name)
        self._table.focus()
        await self._read()

    @property
    def _table(self) -> Table:
        return self.query_one(Table)

    @property
    def _who(self) -> str:
        return self.console.operator or "nobody"

    @property
    def _steps(self) -> OptionList:
        return self.query_one("#steps", OptionList)

    # Reading --------------------------------------------------------------------------------------

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        self._comes = True
        if not self._reading:
            self._reading = True
            self.run_worker(self._read(), exit_on_error=False, group="shelf")

    async def _read(self) -> None:
        shelf = self.console.shelf
        try:
            self._books = await asyncio.to_thread(shelf.books)
        finally:
            self._reading = False
        self._note = "; ".join(shelf.faults)
        if self._wanted:
            self.open(self._wanted)
        self.console.paint()

    # Painting -------------------------------------------------------------------------------------

    def paint(self, view: View) -> None:
        if self._guide is None:
            self._fill_books(view)
        else:
            self._fill_steps(self._guide)
        super().paint(view)

    def _fill_books(self, view: View) -> None:
        """Cells that changed, if the order is the same; all of it otherwise."""
        table = self._table
        if not table.columns:
            return  # a tick came before the table was made
        chosen, guides = self._chosen_id(), self.console.guides
        self._books = in_order(self._books, view.alarms)
        rows = {
            book.runbook.id: row_cells(book, view.alarms, guides.of(book.runbook.id), view.at)
            for book in self._books
        }
        if list(rows) != list(self._rows):
            table.clear()
            for name, row in rows.items():
                table.add_row(*map(Text, row), key=name)
            if chosen in rows and not self._comes:
                table.move_cursor(row=list(rows).index(chosen), animate=False)
        else:
            for name, row in rows.items():
                for column, was, cell in zip(COLUMNS, self._rows[name], row, strict=True):
                    if was != cell:
                        table.update_cell(name, column, Text(cell), update_width=True)
        self._comes = self._comes and not rows
        self._rows = rows

    def _fill_steps(self, guide: Guide) -> None:
        """Only the rows that read otherwise are written: none jumps away from under a finger."""
        steps = self._steps
        width = steps.content_size.width - 2
        if width <= 0:
            return
        pairs = zip(guide.runbook.steps, guide.states, strict=True)
        labels = [cut(step_line(n, step, state), width) for n, (step, state) in enumerate(pairs, 1)]
        if len(labels) != steps.option_count:
            self._labels = labels
            steps.clear_options()
            steps.add_options([Entry(content_of([label])) for label in labels])
            steps.highlighted = guide.next_index
            return
        for index, label in enumerate(labels):
            if label != self._labels[index]:
                steps.replace_option_prompt_at_index(index, content_of([label]))
        self._labels = labels
        if steps.size.height != self._height:  # what is told of a step takes lines from the list
            self._height = steps.size.height
            steps.scroll_to_highlight()

    def _chosen_id(self) -> str:
        row, shown = self._table.cursor_row, list(self._rows)
        return shown[row] if 0 <= row < len(shown) else ""

    def _chosen_book(self) -> Book | None:
        name = self._chosen_id()
        return next((book for book in self._books if book.runbook.id == name), None)

    def _chosen_step(self) -> int | None:
        row = self._steps.highlighted
        return row if self._guide and row is not None and row < len(self._guide.states) else None

    def _state(self, view: View, width: int, height: int) -> list[Line]:
        told = line(
            f"{len(self._books)} runbooks, those that fit now first", ("   enter: open", Tone.DIM)
        )
        return [told, *wrapped(self._note, width, Tone.WARN)] if self._note else [told]

    def _detail(self, view: View, width: int, height: int) -> list[Line]:
        book = self._chosen_book()
        return book_lines(book, view.alarms, width) if book else [line()]

    def _head(self, view: View, width: int, height: int) -> list[Line]:
        return guide_lines(self._guide, width) if self._guide else [line()]

    def _step(self, view: View, width: int, height: int) -> list[Line]:
        index = self._chosen_step()
        if self._guide is None or index is None:
            return [line()]
        return step_lines(self._guide, index, self.console.read_only, width)

    # Opening --------------------------------------------------------------------------------------

    def open(self, name: str) -> None:
        """Follows this runbook: goes on where it was, if it was opened and not ended."""
        book = next((one for one in self._books if one.runbook.id == name), None)
        view = self.console.view
        if book is None or view is None:
            if self._books:
                self.notify(f"there is no runbook {name!r}", severity="warning")
            self._wanted = "" if self._books else name
            return
        self._wanted = ""
        guide = self.console.guides.of(name)
        if guide is None or guide.ended:
            guide = Guide(book.runbook, view.nodes, view.at, self._who)
            self.console.guides.begin(guide)
            self._record(guide)
        self._guide = guide
        self._steps.clear_options()
        self.add_class("-followed")
        self.run_worker(self._show_text(document(book.runbook)), exit_on_error=False, group="text")
        self._steps.focus()
        self.refresh_bindings()
        self.call_after_refresh(self.console.paint)

    async def _show_text(self, text: str) -> None:
        self.query_one("#document").scroll_home(animate=False)
        await self.query_one(Markdown).update(text)
        self.call_after_refresh(self._go_along)

    def _go_along(self) -> None:
        """The text goes along with the steps."""
        if (index := self._chosen_step()) is not None:
            self.query_one(Markdown).goto_anchor(f"step-{index + 1}")

    def on_data_table_row_selected(self) -> None:
        if (book := self._chosen_book()) is not None:
            self.open(book.runbook.id)

    def on_data_table_row_highlighted(self) -> None:
        self.console.paint()

    def on_option_list_option_highlighted(self) -> None:
        self._go_along()
        self.console.paint()

    def on_markdown_link_clicked(self, event: Markdown.LinkClicked) -> None:
        """A link to another runbook opens it here; others are only for readers of the file."""
        name = Path(event.href).stem
        if any(book.runbook.id == name for book in self._books):
            self.open(name)

    # Keys -----------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that mean nothing here are not offered."""
        return self._guide is not None if action in IN_A_GUIDE else True

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        guide, index = self._guide, event.option_index
        if guide is None or guide.ended:
            self.notify("this run has ended: escape, then open the runbook anew")
            return
        step, state = guide.runbook.steps[index], guide.states[index]
        if state.mark in (Mark.DRILL, Mark.ELSEWHERE) or "decide first" in state.why:
            self.notify(state.why)
        elif isinstance(step.what, Decide):
            self._decide(guide, index, step.what)
        elif by_hand(step):
            self.notify("by hand: do what it says, then press x")
        elif isinstance(step.what, Action):
            self._operate(guide, index, step.what)

    def _decide(self, guide: Guide, index: int, decide: Decide) -> None:
        def chosen(branch: str | None) -> None:
            if branch is not None and (view := self.console.view) is not None:
                guide.choose(index, branch, view.at, self._who)
                guide.look(view.nodes, view.at)
                self._record(guide)
                self.console.paint()

        self.app.push_screen(BranchDialog(decide), chosen)

    def _operate(self, guide: Guide, index: int, action: Action) -> None:
        """Opens the dialog that Operations would open."""
        view = self.console.view
        request = guide.request(index, view.nodes) if view else "nothing was heard yet"
        if isinstance(request, str):
            self.notify(request, severity="warning")
            return

        def begin() -> None:
            self.console.guides.opens(guide, index, request, self.console.active)
            if action.do is Do.DISCARD:
                self.app.push_screen(QuarantineDialog())
            else:
                self.console.operate(request)

        self.console.guarded(begin)

    def action_tick(self) -> None:
        """Done by hand, or read."""
        guide, index, view = self._guide, self._chosen_step(), self.console.view
        if guide is None or index is None or view is None or guide.ended:
            return
        step, state = guide.runbook.steps[index], guide.states[index]
        if not by_hand(step) or state.mark not in (Mark.OPEN, Mark.DONE):
            self.notify(state.why or "only what is done by hand is ticked by hand")
        elif "decide first" in state.why:
            self.notify(state.why)
        elif self.console.read_only and isinstance(step.what, Action):
            self.notify("this console is read-only", severity="warning")
        else:
            guide.tick(index, view.at, self._who)
            guide.look(view.nodes, view.at)
            self._record(guide)
            self.console.paint()

    def action_swap(self) -> None:
        guide, view = self._guide, self.console.view
        if guide is not None and view is not None and not guide.ended:
            guide.swap_old(view.nodes, view.at, self._who)
            self._record(guide)
            self.console.paint()

    def action_read(self) -> None:
        """To the text, and back; where there is no room for both it takes the steps' place."""
        self.toggle_class("-reading")
        reads = self.has_class("-reading")
        (self.query_one("#document") if reads else self._steps).focus()
        self.call_after_refresh(self.console.paint)

    def action_end(self) -> None:
        guide, view = self._guide, self.console.view
        if guide is not None and view is not None and not guide.ended:
            guide.end(view.at, self._who)
            self._record(guide)
            self.notify("ended; w writes what was done to a file")
            self.console.paint()

    def action_close(self) -> None:
        """Back to the list. What is followed goes on."""
        self._guide = None
        self.remove_class("-followed")
        self.remove_class("-reading")
        self._table.focus()
        self.refresh_bindings()
        self.call_after_refresh(self.console.paint)

    def action_export(self) -> None:
        """Writes the run into the working directory, never over another file."""
        book = self._chosen_book()
        guide = self._guide or (self.console.guides.of(book.runbook.id) if book else None)
        if guide is None:
            self.notify("it was not opened: there is no run to write")
        elif self.console.in_browser:
            self.notify("a console in the browser writes no files")
        else:
            name = f"interlock-runbook-{guide.runbook.id}-{int(self.console.source.clock.now())}"
            try:
                with Path(f"{name}.jsonl").open("xb") as file:
                    file.write(to_jsonl(guide))
            except OSError as error:
                self.notify(f"not exported: {error.strerror}", severity="error")
                return
            self.notify(f"wrote {name}.jsonl into {Path.cwd()}")

    def _record(self, guide: Guide) -> None:
        """What was done here last is kept in the recording too."""
        done = [entry for entry in guide.entries if entry.operator][-1:]
        for entry in done:
            self.console.note(f"runbook {guide.runbook.id}: {entry.what}", entry.text)
