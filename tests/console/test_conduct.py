"""An operation from its first look to its end, with hands that a test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from interlock.console import conduct
from interlock.console.clock import Clock
from interlock.console.conduct import Conductor
from interlock.console.hands import Fate, NoAnswer, NotBegun, Trouble
from interlock.console.inputs import Acted
from interlock.console.workflow import Stage, Typed, Workflow
from interlock.shared.operations import Preflight, Result

from .test_workflow import ALL, REQUEST, preflight, receipt


class FakeHands:
    """Answers what it is told to, in order; the last answer again and again."""

    def __init__(self, **answers: list[Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def _next(self, what: str) -> Any:
        self.asked.append(what)
        waiting = self.answers[what]
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    def preflight(self, request: object) -> Any:
        return self._next("preflight")

    def execute(self, token: Preflight, typed: Typed) -> Any:
        return self._next("execute")

    def fate(self, token: Preflight, incarnation: int | None) -> Any:
        return self._next("fate")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_EVERY_S", "ASK_AGAIN_S", "SETTLE_EVERY_S"):
        monkeypatch.setattr(conduct, name, 0.01)


def run(hands: FakeHands, until: Callable[[Workflow], bool]) -> tuple[Workflow, list[Acted]]:
    """Types everything, sends as soon as that can be done, and goes on until `until` holds."""
    said: list[Acted] = []

    async def play() -> Workflow:
        flow = Workflow(REQUEST, "ann")
        one = Conductor(flow, hands, Clock(), lambda _: 1, said.append)  # type: ignore[arg-type]
        task = asyncio.create_task(one.run())
        async with asyncio.timeout(5):
            while not until(flow):
                flow.type(ALL)
                one.send()
                await asyncio.sleep(0.005)
        task.cancel()
        return flow

    return asyncio.run(play()), said


def at(*stages: Stage) -> Callable[[Workflow], bool]:
    clock = Clock()
    return lambda flow: flow.stage(clock.now()) in stages


def test_it_looks_again_until_the_node_tells_and_ends_with_the_receipt() -> None:
    hands = FakeHands(preflight=[Trouble("no answer"), preflight()], execute=[receipt(Result.DONE)])
    flow, said = run(hands, at(Stage.DONE))
    assert hands.asked[:2] == ["preflight", "preflight"]
    assert hands.asked.count("execute") == 1
    assert [one.text for one in said] == [
        f"sent, token {flow.token}: the rack burns",
        "DONE: so it is",
    ]


def test_refused_is_refused() -> None:
    hands = FakeHands(preflight=[preflight()], execute=[NotBegun("disk space: 0", waits=False)])
    flow, _ = run(hands, at(Stage.REFUSED))
    assert flow.text == "disk space: 0"


def test_it_asks_again_while_another_operator_has_not_approved() -> None:
    waits = NotBegun("another operator must approve", waits=True)
    hands = FakeHands(
        preflight=[preflight(approvals=2)], execute=[waits, waits, receipt(Result.DONE)]
    )
    flow, _ = run(hands, at(Stage.DONE))
    assert "waits for the approval of another operator" in [step for _, step in flow.steps]
    assert hands.asked.count("execute") == 3


def test_no_answer_is_unknown_and_the_nodes_are_asked_until_one_knows() -> None:
    open_ = Fate(None, "", False, "b does not answer; a does not know it")
    under_way = Fate(None, "drains", False, "")
    done = Fate(receipt(Result.DONE), "", False, "")
    hands = FakeHands(
        preflight=[preflight()], execute=[NoAnswer("silence")], fate=[open_, under_way, done]
    )
    flow, _ = run(hands, at(Stage.DONE))
    steps = [step for _, step in flow.steps]
    assert steps[1:] == ["UNKNOWN", f"asked both nodes: {open_.text}", "drains", "DONE"]
    assert hands.asked.count("execute") == 1


def test_what_its_node_denies_is_open_until_the_token_is_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    denied = Fate(None, "", True, "b does not know it")
    hands = FakeHands(preflight=[preflight()], execute=[NoAnswer("silence")], fate=[denied])
    flow, _ = run(hands, lambda flow: hands.asked.count("fate") > 3)
    assert flow.locks
    monkeypatch.setattr(conduct, "TOKEN_S", 0.0)
    hands = FakeHands(preflight=[preflight()], execute=[NoAnswer("silence")], fate=[denied])
    flow, _ = run(hands, at(Stage.SETTLED))
    assert "nothing was changed" in flow.text


def test_a_person_can_lift_the_lock() -> None:
    flow = Workflow(REQUEST, "ann")
    one = Conductor(flow, FakeHands(), Clock(), lambda _: 1, lambda _: None)  # type: ignore[arg-type]
    flow.on_preflight(preflight(), Clock().now())
    flow.type(ALL)
    flow.send(Clock().now())
    flow.on_no_answer("silence", Clock().now())
    one.give_up_doubt("ann")
    assert at(Stage.SETTLED)(flow)
    assert "ann has checked" in flow.text
