"""The workflow: what has to be typed before anything is sent, and what each end means."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from interlock.console.workflow import Stage, Typed, Workflow, change
from interlock.shared.operations import (
    Check,
    Guard,
    Operation,
    Preflight,
    Receipt,
    Request,
    Result,
    Risk,
)
from interlock.shared.telemetry import Watermarks

from .kit import T0

REQUEST = Request(Operation.PROMOTE, "b")
PASSES = Guard("state fits", True, "b is ORPHANED", "a standby")
FAILS = Guard("disk space", False, "0 bytes", "9 bytes", "free some")
SENTENCE = "a is stopped and stays stopped"
ALL = Typed("ann", "the rack burns", "b", SENTENCE)


def preflight(**other: Any) -> Preflight:
    plain = Preflight(
        REQUEST,
        "c",
        3,
        [PASSES],
        [],
        ["b leads; 7 messages wait"],
        Watermarks(10, 10, 10, 9, 9),
        "a does not answer",
        "b",
        SENTENCE,
        1,
        "00c0ffee00c0ffee",
        30_000,
    )
    return msgspec.structs.replace(plain, **other)


def receipt(result: Result) -> Receipt:
    checks = [Check("no gap", True, "seq 1 to 10")]
    return Receipt("t", REQUEST, "ann", [], "why", "", result, "so it is", checks, 4, 0, 1)


def ready() -> Workflow:
    flow = Workflow(REQUEST, "ann")
    flow.on_preflight(preflight(), T0)
    flow.type(ALL)
    assert flow.stage(T0) is Stage.READY
    return flow


def sent() -> Workflow:
    flow = ready()
    flow.send(T0)
    return flow


def test_nothing_is_known_before_the_node_has_told() -> None:
    flow = Workflow(REQUEST, "ann")
    flow.type(ALL)
    assert flow.stage(T0) is Stage.LOOKING
    assert flow.missing(T0) == ["waiting for the preflight of b"]
    flow.on_no_preflight("b refused: no")
    assert flow.missing(T0) == ["b refused: no"]


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"operator": ""}, "who you are (1 to 64 characters)"),
        ({"reason": "  "}, "the reason (1 to 500 characters)"),
        ({"reason": "x" * 501}, "the reason (1 to 500 characters)"),
        ({"attest": "a is stopped"}, "the attestation, as it stands"),
        ({"confirm": "a"}, "the node's name to confirm: b"),
        ({"confirm": "B"}, "the node's name to confirm: b"),
    ],
)
def test_each_thing_has_to_be_typed(changes: dict[str, str], missing: str) -> None:
    flow = ready()
    flow.type(msgspec.structs.replace(ALL, **changes))
    assert flow.stage(T0) is Stage.FILLING
    assert flow.missing(T0) == [missing]


def test_case_and_spacing_of_the_attestation_do_not_count() -> None:
    flow = ready()
    flow.type(msgspec.structs.replace(ALL, attest="A is  stopped and stays STOPPED "))
    assert flow.stage(T0) is Stage.READY


def test_a_failing_guard_blocks_whatever_is_typed() -> None:
    flow = Workflow(REQUEST, "ann")
    flow.on_preflight(preflight(guards=[PASSES, FAILS], token="", expires_ms=0), T0)
    flow.type(ALL)
    assert flow.stage(T0) is Stage.BLOCKED
    assert flow.missing(T0) == ["guard fails: disk space"]
    assert flow.failing() == [FAILS]


def test_a_preflight_that_is_not_renewed_is_not_acted_on() -> None:
    flow = ready()
    flow.on_no_preflight("node b has not answered")
    assert flow.stage(T0 + 9) is Stage.FILLING
    assert flow.missing(T0 + 9) == ["the preflight is 9s old (node b has not answered)"]


def test_a_token_that_is_about_to_expire_is_not_used() -> None:
    flow = Workflow(REQUEST, "ann")
    flow.on_preflight(preflight(expires_ms=3_000), T0)
    flow.type(ALL)
    assert flow.left_s(T0 + 1) == pytest.approx(2.0)
    assert flow.stage(T0) is Stage.READY
    assert flow.stage(T0 + 2) is Stage.FILLING


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"guards": [FAILS]}, "the guards have changed"),
        ({"attestation": "b is well"}, "another attestation is needed"),
        ({"risks": [Risk("lost", 1, 2, 2)]}, "what it would cost has changed"),
        ({"consequences": ["b leads alone"]}, "what it would do has changed"),
    ],
)
def test_a_change_takes_the_confirmation_away(other: dict[str, Any], what: str) -> None:
    assert change(preflight(), preflight(**other)) == what
    flow = ready()
    flow.on_preflight(preflight(**other), T0 + 2)
    assert flow.typed == Typed("ann", "the rack burns")
    assert flow.changed == f"{what}: confirm again"
    assert flow.voided == 1
    assert flow.stage(T0 + 2) is not Stage.READY


def test_moving_numbers_are_no_change() -> None:
    flow = ready()
    newer = preflight(
        consequences=["b leads; 8,123 messages wait"],
        watermarks=Watermarks(90, 90, 90, 90, 90),
        token="0000000000000002",
    )
    flow.on_preflight(newer, T0 + 2)
    assert flow.stage(T0 + 2) is Stage.READY
    assert flow.token == "0000000000000002"


def test_another_target_voids_what_was_shown() -> None:
    flow = ready()
    flow.choose(Request(Operation.PROMOTE, "b", solo=True))
    assert flow.stage(T0) is Stage.LOOKING
    flow.on_preflight(preflight(), T0)  # the late answer to the first question
    assert flow.stage(T0) is Stage.LOOKING


def test_once_sent_nothing_that_was_typed_can_change() -> None:
    flow = sent()
    flow.type(Typed("eve", "other", "a", ""))
    flow.choose(Request(Operation.DEMOTE, "a"))
    flow.on_preflight(preflight(attestation="other"), T0 + 1)
    assert (flow.typed, flow.request, flow.token) == (ALL, REQUEST, "00c0ffee00c0ffee")
    assert flow.stage(T0 + 1) is Stage.RUNNING
    assert flow.locks


@pytest.mark.parametrize(
    ("result", "stage"),
    [(Result.DONE, Stage.DONE), (Result.REFUSED, Stage.REFUSED), (Result.UNKNOWN, Stage.UNKNOWN)],
)
def test_a_receipt_ends_it(result: Result, stage: Stage) -> None:
    flow = sent()
    flow.on_receipt(receipt(result), T0 + 1)
    assert flow.stage(T0 + 1) is stage
    assert flow.locks is (stage is Stage.UNKNOWN)


def test_no_answer_is_never_called_a_failure_and_locks_until_it_is_settled() -> None:
    flow = sent()
    flow.on_no_answer("b has not answered within 30 s", T0 + 30)
    assert flow.stage(T0 + 30) is Stage.UNKNOWN
    assert "may have happened, may still happen, or may not" in flow.text
    assert "fail" not in flow.text
    assert flow.locks
    flow.on_receipt(receipt(Result.DONE), T0 + 40)
    assert flow.stage(T0 + 40) is Stage.DONE
    assert not flow.locks


def test_one_that_left_no_trace_is_settled_and_nothing_else_is() -> None:
    flow = sent()
    flow.on_no_trace("never begun", T0)
    assert flow.stage(T0) is Stage.RUNNING
    flow.on_no_answer("silence", T0)
    flow.on_no_trace("never begun", T0)
    assert flow.stage(T0) is Stage.SETTLED


def test_it_waits_for_the_second_operator() -> None:
    flow = sent()
    flow.on_waiting(True, T0 + 1)
    assert flow.stage(T0 + 1) is Stage.WAITING
    assert flow.can_wait(T0 + 20)
    assert not flow.can_wait(T0 + 29)
    flow.on_waiting(False, T0 + 2)
    assert flow.stage(T0 + 2) is Stage.RUNNING


def test_the_same_step_is_told_once() -> None:
    flow = sent()
    for second in range(3):
        flow.on_step("drains", T0 + second)
    assert [step for _, step in flow.steps] == ["sent", "drains"]
