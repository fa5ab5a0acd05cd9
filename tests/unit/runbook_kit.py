"""A pair in memory for runbooks: statuses, operations and faults are what a test says, and time
passes when somebody sleeps.

`happened` is all that was done to the pair, in order; what only looks leaves no trace in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from interlock.client.control import ControlClient
from interlock.client.errors import OperationRefused
from interlock.runbooks import operate as operate_module
from interlock.runbooks import run as run_module
from interlock.runbooks import watch as watch_module
from interlock.runbooks.conditions import Value
from interlock.runbooks.parse import Runbook, parse
from interlock.runbooks.record import Report
from interlock.runbooks.run import Runner
from interlock.runbooks.stage import Asker, Measures
from interlock.runbooks.verbs import Action, Decide, Do, FaultKind, Mode
from interlock.shared.errors import Reason
from interlock.shared.operations import Guard, Operation, Preflight, Receipt, Request, Result
from interlock.shared.telemetry import NodeStatus, Watermarks
from interlock.tests.unit.operate_kit import FAILS, PASSES, TOKEN, status

PATH = Path("runbooks/fire.md")
FRONT = {
    "id": "fire",
    "title": "A fire",
    "alarms": "[NOBODY_LEADS]",
    "owner": "operations",
    "risk": "pause",
    "modes": "[guided, drill, rehearse]",
    "abort_after": "60",
}
STEADY = "```probe\nsteady: true\nexpect: [pair.gated is yes]\nwithin: 1\n```"


def front(**other: str) -> str:
    fields = {**FRONT, **other}
    return "\n".join(["---", *(f"{key}: {value}" for key, value in fields.items()), "---"])


def book(*blocks: str, path: Path = PATH, **other: str) -> Runbook:
    """A runbook of these fenced blocks, between front matter and nothing."""
    return parse("\n\n".join([front(**other), "# A fire", *blocks]) + "\n", path)


def block(verb: str, *lines: str) -> str:
    return "\n".join([f"```{verb}", *lines, "```"])


def probe(condition: str, *lines: str) -> str:
    return block("probe", f"expect: [{condition}]", "within: 1", *lines)


def action(do: str, node: str, *lines: str) -> str:
    return block("action", f"do: {do}", f"node: {node}", "within: 5", *lines)


def fault(kind: str, *lines: str) -> str:
    return block("fault", f"fault: {kind}", *lines)


class Clock:
    """Stands in for the module `time`: it is `now` until somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.naps = 0

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return int(self.now * 1e9)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.naps += 1
        assert self.naps < 100_000, "this never ends"


def install_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(watch_module, "time", clock)
    monkeypatch.setattr(run_module, "time", clock)
    monkeypatch.setattr(operate_module, "time", clock)
    return clock


class FakeControl(ControlClient):
    """Answers preflights and executions. `does`: what an operation does to the pair."""

    def __init__(self, happened: list[str]) -> None:
        self.happened = happened
        self.guards: dict[Operation, list[Guard]] = {}
        self.result = Result.DONE
        self.silent = False  # an execution gets no answer
        self.settled: Receipt | None = None
        self.unasked: Exception | None = None  # what a preflight raises
        self.refused = ""  # why an execution is refused
        self.attestation = ""
        self.looked: list[Request] = []
        self.typed: list[tuple[str, str]] = []
        self.reasons: list[str] = []
        self.does: dict[Operation, Callable[[], None]] = {}

    def preflight(self, request: Request, timeout: float = 3.0) -> Preflight:
        self.looked.append(request)
        if self.unasked is not None:
            raise self.unasked
        guards = self.guards.get(request.operation, [PASSES])
        return Preflight(
            request, "c", 3, guards, [], [], Watermarks(), "", request.node, self.attestation, 1,
            TOKEN if FAILS not in guards else "", 30_000,
        )  # fmt: skip

    def execute(
        self,
        node: str,
        token: str,
        operator: str,
        reason: str,
        confirm: str,
        attestation: str = "",
        timeout: float = 30.0,
    ) -> Receipt | None:
        assert token == TOKEN
        request = self.looked[-1]
        if self.refused:
            raise OperationRefused(Reason.NOT_CONFIRMED, self.refused)
        self.happened.append(f"{request.operation.value} {node}")
        self.typed.append((confirm, attestation))
        self.reasons.append(reason)
        self.does.get(request.operation, lambda: None)()
        return None if self.silent else receipt(request, operator, reason, self.result)

    def settle(self, node: str, token: str, timeout: float = 3.0) -> Receipt | None:
        return self.settled


def receipt(
    request: Request, operator: str = "eve", reason: str = "", result: Result = Result.DONE
) -> Receipt:
    return Receipt(
        TOKEN, request, operator, [], reason, "", result, "so it ended", [], 3, 1, 2
    )  # fmt: skip


class FakeStage:
    """A gated pair of `a`, which leads, and `b`."""

    names = ("a", "b")

    def __init__(self) -> None:
        self.is_drill = True
        self.happened: list[str] = []
        self.fake = FakeControl(self.happened)
        self.control: ControlClient = self.fake
        self.said: dict[str, NodeStatus | None] = {
            "a": status("a", "primary", "GATED"),
            "b": status("b", "secondary", "IN_SYNC", promotable=True),
        }
        self.seen: dict[str, Value] | None = {"delivers": True, "checks": True}
        self.measured: Measures | None = None
        self.raises: Exception | None = None  # by hand, or as a fault
        self.on_fault: Callable[[], None] = lambda: None
        self.broken: list[str] = []

    def say(self, name: str, **other: Any) -> None:
        """Node `name` is otherwise from now on."""
        said = self.said[name]
        assert said is not None
        self.said[name] = msgspec.structs.replace(said, **other)

    def nodes(self) -> Mapping[str, NodeStatus | None]:
        return dict(self.said)

    def flow(self) -> Mapping[str, Value] | None:
        return self.seen

    def by_hand(self, do: Do, node: str) -> None:
        if self.raises is not None:
            raise self.raises
        self.happened.append(f"{do.value} {node}")

    def fault(self, kind: FaultKind, node: str, by_ms: int) -> None:
        if self.raises is not None:
            raise self.raises
        self.happened.append(f"fault {kind.value} {node}".rstrip())
        self.broken.append(kind.value)
        self.on_fault()

    def note_action(self) -> None:
        self.happened.append("decided")

    def undo_faults(self) -> list[str]:
        mended, self.broken = self.broken, []
        self.happened += [f"mended {name}" for name in mended]
        return mended

    def measures(self) -> Measures | None:
        return self.measured


class FakePerson(Asker):
    """Types what a test says; `shown` is what it was asked."""

    def __init__(self, typed: tuple[str, str] | None = None, choice: str = "") -> None:
        self.typed, self.choice, self.does = typed, choice, True
        self.shown: list[str] = []

    def choose(self, decide: Decide) -> str:
        self.shown.append(decide.question)
        return self.choice

    def confirm(self, action: Action, preflight: Preflight) -> tuple[str, str] | None:
        self.shown.append(f"{action.do.value} {preflight.request.node}")
        return self.typed

    def done_by_hand(self, action: Action, node: str) -> bool:
        self.shown.append(f"{action.do.value} {node}")
        return self.does


def run(
    runbook: Runbook, stage: FakeStage, mode: Mode = Mode.DRILL, asker: Asker | None = None
) -> Report:
    return Runner(runbook, stage, mode, "eve", asker).run()


def told(report: Report, what: str) -> list[str]:
    """The texts of the report's events of one kind."""
    return [event.text for event in report.events if event.what == what]
