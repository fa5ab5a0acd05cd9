"""The console: screens over one source of pictures, painted a few times a second.

Decides when something is painted and which operation is under way. What is shown is `model`, how it
looks is `draw` and `theme`, what an operation needs is `workflow`.

Nothing that is heard is handed to a screen by itself: it is folded into the model, and the model is
painted. So a flood of telemetry costs what silence costs.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, ClassVar, Final

import msgspec
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches
from textual.screen import Screen
from textual.worker import Worker, WorkerState

from ..shared.config import Config
from ..shared.operations import Operation, Request
from ..shared.wording import request_text
from .alarm_kinds import KINDS, Severity
from .conduct import Conductor
from .demo import Demo
from .draw.help import help_lines
from .draw.lines import Tone
from .guides import Guides
from .hands import Hands
from .inputs import Acted
from .logbook import Logbook
from .modals.approve import ApproveDialog
from .modals.base import Dialog
from .modals.choose import ChooseDialog
from .modals.demo import DemoDialog
from .modals.text import TextDialog
from .modals.workflow import WorkflowDialog
from .options import WHAT, input_fault, target
from .screens.alarms import AlarmsScreen
from .screens.base import MODES, ConsoleScreen
from .screens.clients import ClientsScreen
from .screens.history import HistoryScreen
from .screens.log import LogScreen
from .screens.operations import OperationsScreen
from .screens.overview import OverviewScreen
from .screens.runbooks import RunbooksScreen
from .shelf import Shelf
from .source import ReplaySource, Source
from .theme import CSS, DARK, LIGHT, THEMES
from .view import View
from .workflow import ENDED, Workflow

PAINT_EVERY_S: Final = 0.3
BELOW_EVERY_S: Final = 1.0
FLASH_S: Final = 2.0


class Options(msgspec.Struct, frozen=True):
    """How a console is run. `alert`: "flash", "bell", "both" or "none", for alarms of severity 1
    and 2. `in_browser`: served by textual-serve, so its files are not the reader's. `by_key`: the
    operator is who the key says, so nobody types a name."""

    operator: str = ""
    read_only: bool = False
    alert: str = "flash"
    light: bool = False
    in_browser: bool = False
    by_key: bool = False


PLAIN: Final = Options()


class ConsoleApp(App[None]):
    """Run it with `run_console`; tests run it with `run_test`."""

    TITLE = "interlock"
    CSS = CSS
    ENABLE_COMMAND_PALETTE = True
    MODES: ClassVar[dict[str, Any]] = {
        "overview": OverviewScreen,
        "clients": ClientsScreen,
        "log": LogScreen,
        "operations": OperationsScreen,
        "history": HistoryScreen,
        "alarms": AlarmsScreen,
        "runbooks": RunbooksScreen,
    }
    DEFAULT_MODE = "overview"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(number), f"go('{name}')", name.title(), show=False)
            for number, name in enumerate(MODES, 1)
        ),
        Binding("o", "suggested", "Do what fits"),
        Binding("d", "demo", "Break, mend the demo"),
        Binding("question_mark", "help", "Help"),
        Binding("ctrl+q", "quit", "Quit", priority=True),
        Binding("t", "theme", "Theme", show=False),
        Binding("space", "replay('pause')", "Pause", show=False),
        Binding("comma", "replay('back10')", show=False),
        Binding("full_stop", "replay('on10')", show=False),
        Binding("less_than_sign", "replay('back60')", show=False),
        Binding("greater_than_sign", "replay('on60')", show=False),
        Binding("left_square_bracket", "replay('slower')", show=False),
        Binding("right_square_bracket", "replay('faster')", show=False),
    ]

    def __init__(
        self,
        source: Source,
        options: Options = PLAIN,
        config: Config | None = None,
        demo: Demo | None = None,
    ) -> None:
        """`config` None: no pair can be asked, as in a replay."""
        super().__init__()
        self.source = source
        self.options = options
        self.demo = demo
        self.operator = options.operator
        self.hands = Hands(config) if config and source.is_live else None
        self.logbook = Logbook(config) if config and source.is_live else None
        self.active: Conductor | None = None
        self.shelf = Shelf()
        self.guides = Guides()
        self.view: View | None = None
        self.paints = 0
        self._runs: dict[Worker[None], Conductor] = {}
        self._flash_until = 0.0
        self._leaves = False
        self._below_due = 0.0

    @property
    def in_browser(self) -> bool:
        return self.options.in_browser

    @property
    def read_only(self) -> bool:
        return self.options.read_only or self.hands is None

    # Painting -----------------------------------------------------------------------------------

    def on_mount(self) -> None:
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = LIGHT.name if self.options.light else DARK.name
        for number in (signal.SIGTERM, signal.SIGHUP):  # the terminal is to be left as it was
            with suppress(NotImplementedError, RuntimeError, ValueError):  # no main thread
                asyncio.get_running_loop().add_signal_handler(number, self.exit)
        self.source.start()
        self.set_interval(PAINT_EVERY_S, self.tick)
        self.tick()

    def on_unmount(self) -> None:
        self.source.stop()

    def tick(self) -> None:
        """One picture."""
        if self.demo is not None and self.demo.ended:
            self.exit()
        self.view = self.source.tick()
        self.guides.look(self.view, self.active)
        self._alert(self.view)
        self.paint()

    def paint(self) -> None:
        """Shows the present picture on every screen that is seen, those below a dialog too: once
        in a second, since each of their changes makes Textual blend the whole picture anew."""
        if self.view is None:
            return
        self.paints += 1
        now = time.monotonic()
        flashes = now < self._flash_until
        below_too = now >= self._below_due
        if below_too:
            self._below_due = now + BELOW_EVERY_S
        for screen in self.screen_stack if below_too else self.screen_stack[-1:]:
            if isinstance(screen, ConsoleScreen | Dialog):
                screen.set_class(flashes, "-flash")
                # One that is being built or taken down has not all of its widgets.
                with self.batch_update(), suppress(NoMatches):
                    screen.paint(self.view)

    def _alert(self, view: View) -> None:
        new = {key.partition(" ")[0] for key in self.source.model.alarms.take_new()}
        grave = [kind for kind in new if KINDS[kind].severity <= Severity.WARNING]
        if not grave or not self.source.is_live:
            return
        if self.options.alert in ("flash", "both"):
            self._flash_until = time.monotonic() + FLASH_S
        if self.options.alert in ("bell", "both"):
            self.bell()

    def marks(self) -> list[tuple[str, Tone]]:
        """What the header says besides."""
        found = self.source.marks()
        if self.demo is not None:
            found.append(("DEMO", Tone.ACCENT))
        if self.read_only and self.source.is_live:
            found.append(("READ-ONLY", Tone.WARN))
        if self.active is not None and self.active.workflow.locks:
            stage = self.active.workflow.stage(self.source.clock.now())
            request = request_text(self.active.workflow.request)
            found.append((f" {request}: {stage.name} ", Tone.ALARM))
        return found

    # Operations ---------------------------------------------------------------------------------

    def guarded(self, begin: Callable[[], object]) -> None:
        """Calls `begin`, unless this console may not act or an operation is not settled."""
        if self.read_only:
            self.notify("this console is read-only", severity="warning")
        elif self.active is not None and self.active.workflow.locks:
            self.notify("another operation is not settled yet", severity="warning")
            self.show_active()
        else:
            begin()

    def operate(self, request: Request) -> None:
        """Opens the dialog of an operation. That changes nothing."""
        self.guarded(lambda: self._operate(request))

    def _operate(self, request: Request) -> None:
        if (fault := self._fault(request)) != "":
            self.notify(f"disabled: {fault}", severity="warning")
            return
        assert self.hands is not None
        workflow = Workflow(request, self.operator)
        conductor = Conductor(
            workflow, self.hands, self.source.clock, self._incarnation, self.source.tell
        )
        self.active = conductor
        worker = self.run_worker(conductor.run(), group="operation", exit_on_error=False)
        self._runs[worker] = conductor
        self.show_active()

    def _fault(self, request: Request) -> str:
        if self.view is None:
            return "nothing was heard yet"
        return input_fault(self.view.node(request.node))

    def _incarnation(self, node: str) -> int | None:
        status = self.view.node(node).status if self.view else None
        return status.incarnation if status else None

    def show_active(self) -> None:
        """Shows the dialog of the operation that was opened last, again if it was left."""
        if self.active is None:
            self.notify("no operation was begun in this console")
        elif not isinstance(self.screen, WorkflowDialog):
            self.push_screen(WorkflowDialog(self.active))

    def abandon(self, conductor: Conductor) -> None:
        """A dialog was left before anything was sent."""
        for worker, one in list(self._runs.items()):
            if one is conductor:
                worker.cancel()
                del self._runs[worker]
        if self.active is conductor:
            self.active = None

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A task that broke must not take the console along, nor pass for one that has ended."""
        conductor = self._runs.get(event.worker)
        if event.state is WorkerState.ERROR:
            self.notify(f"an error of the console: {event.worker.error}", severity="error")
            if conductor is not None and conductor.workflow.sent_at is not None:
                what = f"the console failed: {event.worker.error}"
                conductor.workflow.on_no_answer(what, self.source.clock.now())
        if conductor is not None and event.state is WorkerState.SUCCESS:
            stage = conductor.workflow.stage(self.source.clock.now())
            if stage in ENDED and not isinstance(self.screen, WorkflowDialog):
                self.notify(f"{request_text(conductor.workflow.request)}: {stage.name}")

    def approve(self) -> None:
        """Opens the dialog in which another operator's operation is agreed to."""
        if self.read_only or self.hands is None:
            self.notify("this console is read-only", severity="warning")
        else:
            self.push_screen(ApproveDialog(self.hands, self.operator))

    def note(self, what: str, text: str) -> None:
        """Keeps in the recording what was done here."""
        self.source.tell(Acted(self.source.clock.now(), self.operator, what, text))

    def open_runbook(self, name: str) -> None:
        """Shows the runbook, to be followed."""
        self.run_worker(self._open_runbook(name), exit_on_error=False)

    async def _open_runbook(self, name: str) -> None:
        await self.action_go("runbooks")
        if isinstance(self.screen, RunbooksScreen):
            self.screen.open(name)

    # Keys ---------------------------------------------------------------------------------------

    async def action_go(self, mode: str) -> None:
        if not isinstance(self.screen, Dialog):
            await self.switch_mode(mode)

    def action_suggested(self) -> None:
        """The dialog of the operation that fits now, or the choice if there are several."""
        if isinstance(self.screen, Dialog):
            return
        if self.view is None or not self.view.suggestions:
            self.notify("nothing has to be done now; all operations are under 4")
        elif len(self.view.suggestions) == 1:
            self.operate(self.view.suggestions[0].request)
        else:
            suggestions = self.view.suggestions
            self.guarded(lambda: self.push_screen(ChooseDialog(suggestions), self._chosen))

    def _chosen(self, request: Request | None) -> None:
        if request is not None:
            self.operate(request)

    async def action_quit(self) -> None:
        """Leaves; asked twice while it is not known how an operation ends."""
        if self.active is not None and self.active.workflow.locks and not self._leaves:
            self._leaves = True
            what = request_text(self.active.workflow.request)
            self.notify(f"{what} is not settled: ctrl+q again leaves it to the nodes")
        else:
            self.exit()

    def action_help(self) -> None:
        if not isinstance(self.screen, Dialog):
            self.push_screen(TextDialog("help", help_lines))

    def action_demo(self) -> None:
        if self.demo is not None and not isinstance(self.screen, Dialog):
            self.push_screen(DemoDialog(self.demo))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that mean nothing here are not offered."""
        return self.demo is not None if action == "demo" else True

    def action_theme(self) -> None:
        self.theme = DARK.name if self.theme == LIGHT.name else LIGHT.name

    def action_replay(self, what: str) -> None:
        """Moves a replay."""
        if not isinstance(self.source, ReplaySource):
            return
        player = self.source.player
        moves: dict[str, Callable[[], None]] = {
            "back10": lambda: player.skip(-10),
            "on10": lambda: player.skip(10),
            "back60": lambda: player.skip(-60),
            "on60": lambda: player.skip(60),
            "slower": lambda: player.faster(by=-1),
            "faster": player.faster,
        }
        if what == "pause":
            player.paused = not player.paused
        else:
            moves[what]()
        self.tick()

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Everything, by name."""
        yield SystemCommand("Help", "keys and words", self.action_help)
        yield SystemCommand("Theme", "light or dark", self.action_theme)
        yield SystemCommand("Quit", "leave the console", self.action_quit)
        for mode in MODES:
            yield SystemCommand(mode.title(), "show this screen", lambda m=mode: self._go(m))
        if self.read_only or self.view is None:
            return
        for operation, what in WHAT.items():
            node = target(operation, self.view.nodes, self.view.leader)
            if operation not in (Operation.DISCARD, Operation.RESUBMIT) and node:
                request = Request(operation, node)
                yield SystemCommand(request_text(request), what, lambda r=request: self.operate(r))
        yield SystemCommand("approve", "agree to another's operation", self.approve)

    def _go(self, mode: str) -> None:
        self.run_worker(self.action_go(mode), exit_on_error=False)
