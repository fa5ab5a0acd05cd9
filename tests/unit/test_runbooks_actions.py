"""Actions: what an operation's end means for the run, what a person has to type, and that a
rehearsal does none of them."""

from __future__ import annotations

import pytest

from interlock.client.errors import NoAnswerError, OperationRefused
from interlock.runbooks.operate import request_of
from interlock.runbooks.record import Verdict
from interlock.runbooks.verbs import Action, Do, Mode, Who
from interlock.shared.commands import QuarantineEntry
from interlock.shared.errors import Reason
from interlock.shared.operations import Operation, Preflight, Request, Result
from interlock.shared.wire import Position
from interlock.tests.unit.operate_kit import FAILS, PASSES, TOKEN
from interlock.tests.unit.runbook_kit import (
    STEADY,
    Clock,
    FakePerson,
    FakeStage,
    action,
    block,
    book,
    fault,
    install_clock,
    probe,
    receipt,
    run,
    told,
)

PAUSE = action("pause", "old")
VERIFIED = action("pause", "old", "on_unknown: verify")
HOLDS, HOLDS_NOT = probe("old.state is GATED"), probe("old.state is SOLO")
REFUSED = "disk [red]space: observed 0 bytes; needed 9 bytes; free space on b"


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return install_clock(monkeypatch)


@pytest.fixture
def stage() -> FakeStage:
    return FakeStage()


# How it ends ----------------------------------------------------------------------------------


def test_a_drill_answers_what_the_preflight_asks_for(stage: FakeStage) -> None:
    stage.fake.attestation = "a is stopped"
    report = run(book(STEADY, action("promote", "new", "options: {solo: true}")), stage)
    assert report.verdict is Verdict.PASS
    assert stage.fake.looked == [Request(Operation.PROMOTE, "b", solo=True)]
    assert stage.fake.typed == [("b", "a is stopped")]
    assert stage.fake.reasons == ["runbook fire, line 19"]
    assert told(report, "action") == ["promote on b: done: so it ended"]


def test_a_guard_that_fails_refuses_and_fails_the_run(stage: FakeStage) -> None:
    stage.fake.guards[Operation.PAUSE] = [PASSES, FAILS]
    report = run(book(STEADY, PAUSE, HOLDS), stage)
    assert report.verdict is Verdict.FAIL
    assert report.reason == f"line 19: pause on a was refused, expected done: {REFUSED}"
    assert stage.happened == ["decided"]
    assert told(report, "probe") == []


def test_a_guard_that_fails_for_a_moment_is_looked_at_again(
    stage: FakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A standby says that it is in sync before its primary has heard it."""
    fake = stage.fake
    fake.guards[Operation.PAUSE] = [PASSES, FAILS]
    first = fake.preflight

    def preflight(request: Request, timeout: float = 3.0) -> Preflight:
        if len(fake.looked) == 3:
            fake.guards[Operation.PAUSE] = [PASSES]
        return first(request, timeout)

    monkeypatch.setattr(fake, "preflight", preflight)
    report = run(book(STEADY, VERIFIED, HOLDS), stage)
    assert report.verdict is Verdict.PASS, report.reason
    assert len(fake.looked) == 4


@pytest.mark.parametrize(
    ("unasked", "said"),
    [
        (OperationRefused(Reason.BUSY, "at work"), "at work"),
        (NoAnswerError("node a has not answered"), "node a has not answered; nothing was begun"),
    ],
)
def test_without_a_preflight_nothing_is_begun(
    unasked: Exception, said: str, stage: FakeStage
) -> None:
    stage.fake.unasked = unasked
    report = run(book(STEADY, VERIFIED), stage)
    assert report.verdict is Verdict.FAIL
    assert report.reason.endswith(f"pause on a was refused, expected done: {said}")
    assert stage.happened == ["decided"]


def test_an_execution_that_the_node_refuses_fails_the_run(stage: FakeStage) -> None:
    stage.fake.refused = "the world has moved"
    report = run(book(STEADY, VERIFIED), stage)
    assert report.verdict is Verdict.FAIL
    assert report.reason.endswith("was refused, expected done: the world has moved")


def test_an_end_that_is_refused_fails_the_run(stage: FakeStage) -> None:
    stage.fake.result = Result.REFUSED
    assert run(book(STEADY, VERIFIED), stage).verdict is Verdict.FAIL


EXPECTED = action("pause", "old", "expect: refused", "guard: 'disk [red]space'")


def test_a_refusal_can_be_what_is_shown(stage: FakeStage) -> None:
    stage.fake.guards[Operation.PAUSE] = [PASSES, FAILS]
    report = run(book(STEADY, EXPECTED, HOLDS), stage)
    assert report.verdict is Verdict.PASS, report.reason
    assert told(report, "action") == [f"pause on a: refused: {REFUSED}"]


def test_but_only_by_the_guard_that_is_named(stage: FakeStage) -> None:
    other = EXPECTED.replace("disk [red]space", "role fits")
    stage.fake.guards[Operation.PAUSE] = [PASSES, FAILS]
    report = run(book(STEADY, other), stage)
    assert report.verdict is Verdict.FAIL
    assert "was refused, expected refused by 'role fits': disk" in report.reason


def test_and_not_if_it_is_done(stage: FakeStage) -> None:
    report = run(book(STEADY, EXPECTED), stage)
    assert report.verdict is Verdict.FAIL
    assert "was done, expected refused by 'disk [red]space': so it ended" in report.reason
    assert stage.happened == ["decided", "pause a"]


# UNKNOWN --------------------------------------------------------------------------------------


def silent(stage: FakeStage) -> FakeStage:
    stage.fake.silent = True
    return stage


def test_an_end_that_nobody_knows_ends_the_run_as_unknown(stage: FakeStage) -> None:
    report = run(book(STEADY, PAUSE, HOLDS), silent(stage))
    assert report.verdict is Verdict.UNKNOWN
    assert report.reason == (
        f"line 19: pause on a: what became of token {TOKEN} is not known: no node answers for it"
    )
    assert told(report, "probe") == []


def test_to_be_verified_the_next_probe_tells(stage: FakeStage) -> None:
    report = run(book(STEADY, VERIFIED, HOLDS), silent(stage))
    assert report.verdict is Verdict.PASS, report.reason
    assert "UNKNOWN" in told(report, "action")[0]
    assert [event.ok for event in report.events if event.what == "action"] == [None]


def test_and_if_it_does_not_hold_the_run_is_unknown(stage: FakeStage) -> None:
    report = run(book(STEADY, VERIFIED, HOLDS_NOT), silent(stage))
    assert report.verdict is Verdict.UNKNOWN
    assert "is not known" in report.reason
    assert report.reason.endswith("old.state is SOLO: it is GATED")


def test_and_without_a_probe_it_stays_unknown(stage: FakeStage) -> None:
    report = run(book(STEADY, HOLDS, VERIFIED), silent(stage))
    assert report.verdict is Verdict.UNKNOWN
    assert "is not known" in report.reason


def test_a_node_that_does_not_know_the_end_is_not_guessed_about(stage: FakeStage) -> None:
    stage.fake.result = Result.UNKNOWN
    assert run(book(STEADY, PAUSE), stage).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("result", "verdict"), [(Result.DONE, Verdict.PASS), (Result.REFUSED, Verdict.FAIL)]
)
def test_an_end_that_is_found_out_later_counts(
    result: Result, verdict: Verdict, stage: FakeStage
) -> None:
    stage.fake.settled = receipt(Request(Operation.PAUSE, "a"), result=result)
    assert run(book(STEADY, PAUSE), silent(stage)).verdict is verdict


# A person -------------------------------------------------------------------------------------


def test_guided_what_was_typed_is_sent_as_it_is(stage: FakeStage) -> None:
    person = FakePerson(("a", "b is stopped"))
    report = run(book(STEADY, PAUSE), stage, Mode.GUIDED, person)
    assert report.verdict is Verdict.PASS
    assert person.shown == ["pause a"]
    assert stage.fake.typed == [("a", "b is stopped")]


def test_guided_without_confirmation_nothing_is_executed(stage: FakeStage) -> None:
    report = run(book(STEADY, PAUSE, HOLDS), stage, Mode.GUIDED, FakePerson())
    assert report.verdict is Verdict.UNKNOWN
    assert report.reason == "line 19: pause on a was not confirmed"
    assert "pause a" not in stage.happened
    assert told(report, "probe") == []


def test_guided_a_refusal_is_told_before_anybody_types(stage: FakeStage) -> None:
    stage.fake.guards[Operation.PAUSE] = [FAILS]
    person = FakePerson(("a", ""))
    assert run(book(STEADY, PAUSE), stage, Mode.GUIDED, person).verdict is Verdict.FAIL
    assert person.shown == []


def test_guided_a_person_does_what_is_done_by_hand(stage: FakeStage) -> None:
    person = FakePerson()
    report = run(book(STEADY, action("start", "old")), stage, Mode.GUIDED, person)
    assert report.verdict is Verdict.PASS
    assert person.shown == ["start a"]
    assert "start a" not in stage.happened
    person.does = False
    report = run(book(STEADY, action("start", "old")), stage, Mode.GUIDED, person)
    assert (report.verdict, report.reason) == (
        Verdict.UNKNOWN,
        "line 19: start on a was not done",
    )


def test_guided_a_person_chooses_and_nothing_is_broken(stage: FakeStage) -> None:
    decide = block("decide", "question: Which?", "branches: {left: l, right: r}", "drill: left")
    steps = [
        fault("kill", "node: old"),
        decide,
        action("pause", "old", "branch: left"),
        action("gate", "old", "branch: right"),
    ]
    person = FakePerson(("a", ""), "right")
    report = run(book(STEADY, *steps), stage, Mode.GUIDED, person)
    assert report.verdict is Verdict.PASS
    assert person.shown == ["Which?", "gate a"]
    assert stage.happened == ["decided", "gate a"]


def test_on_a_live_pair_nobody_asks_what_only_a_drill_can_tell(stage: FakeStage) -> None:
    stage.seen = None
    flows = probe("consumer.delivers is yes", "steady: true")
    steps = [flows, probe("producers.refused > 1"), probe("old.epoch is 9", "drill_only: true")]
    report = run(book(STEADY, *steps, PAUSE), stage, Mode.GUIDED, FakePerson(("a", "")))
    assert report.verdict is Verdict.PASS, report.reason
    assert told(report, "probe") == [
        "only a drill can tell: producers.refused > 1",
        "only a drill can tell: old.epoch is 9",
    ]


# Rehearsal ------------------------------------------------------------------------------------


def rehearsed(stage: FakeStage, *steps: str) -> tuple[Verdict, str, list[str]]:
    report = run(book(STEADY, *steps), stage, Mode.REHEARSE)
    assert stage.happened == [], "a rehearsal does nothing"
    assert stage.fake.typed == []
    events = [event.text for event in report.events if event.what != "steady state"]
    return report.verdict, report.reason, events


def test_a_rehearsal_looks_at_everything_and_does_nothing(stage: FakeStage) -> None:
    steps = [HOLDS, PAUSE, action("start", "old"), fault("kill", "node: old"), HOLDS]
    verdict, _, events = rehearsed(stage, *steps)
    assert verdict is Verdict.PASS
    assert events == [
        "old.state is GATED: holds now",
        "pause on a: every guard passes now",
        "start on a: not done in a rehearsal",
        "old.state is GATED: holds now",
    ]
    assert [request.operation for request in stage.fake.looked] == [Operation.PAUSE]


def test_what_does_not_hold_before_the_first_action_fails_a_rehearsal(stage: FakeStage) -> None:
    verdict, reason, events = rehearsed(stage, HOLDS_NOT, PAUSE)
    assert verdict is Verdict.FAIL
    assert reason == (
        "line 19: old.state is SOLO: does not hold now: old.state is SOLO: it is GATED"
    )
    assert events[-1] == "pause on a: every guard passes now", "it looks at the rest as well"


def test_a_first_action_that_would_be_refused_fails_a_rehearsal(stage: FakeStage) -> None:
    stage.fake.guards[Operation.PAUSE] = [PASSES, FAILS]
    verdict, reason, _ = rehearsed(stage, PAUSE, HOLDS)
    assert verdict is Verdict.FAIL
    assert reason == "line 19: pause on a: would be refused now: disk [red]space (0 bytes)"


@pytest.mark.parametrize("change", [PAUSE, fault("kill", "node: old"), action("stop", "old")])
def test_what_comes_after_a_change_need_not_hold_yet(change: str, stage: FakeStage) -> None:
    stage.fake.guards[Operation.GATE] = [FAILS]
    verdict, reason, events = rehearsed(stage, change, HOLDS_NOT, action("gate", "old"))
    assert verdict is Verdict.PASS, reason
    assert events[-2].startswith("old.state is SOLO: not yet: ")
    assert events[-1] == "gate on a: would be refused now: disk [red]space (0 bytes)"


def test_a_rehearsal_goes_through_all_branches(stage: FakeStage) -> None:
    decide = block("decide", "question: Which?", "branches: {left: l, right: r}", "drill: left")
    notes = [block("note", f"text: go {way}", f"branch: {way}") for way in ("left", "right")]
    _, _, events = rehearsed(stage, decide, *notes)
    assert events == ["Which? (all branches are rehearsed)", "go left", "go right"]


# Quarantine -----------------------------------------------------------------------------------


@pytest.mark.parametrize("do", [Do.DISCARD, Do.RESUBMIT])
def test_what_is_given_up_or_resubmitted_is_the_newest_that_is_kept(
    do: Do, stage: FakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries: list[QuarantineEntry] = []
    monkeypatch.setattr(stage.fake, "quarantine", lambda node: entries)
    asked = Action(do, Who.OLD, 5)
    assert request_of(stage.control, asked, "a").entry == ""
    for name, state in (("one", "kept"), ("two", "resubmitted"), ("three", "discarded")):
        at = Position(10, 0)
        entries.append(QuarantineEntry(name, state, 1, at, 11, 12, 1, 2, 3, {}, "a test"))
    assert request_of(stage.control, asked, "a").entry == "two"
