"""The order of a run: the steady state first, then the steps, and whatever happened, mended, rolled
back and probed again. On a pair in memory, without time."""

from __future__ import annotations

import pytest

from interlock.runbooks.record import Verdict
from interlock.runbooks.run import Runner
from interlock.runbooks.stage import Measures, UnavailableError
from interlock.runbooks.verbs import Mode
from interlock.shared.errors import UserError
from interlock.shared.operations import Operation
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
    run,
    told,
)

GOES_ON = probe("new.state is IN_SYNC")
FAILS = probe("new.state is SOLO")
PAUSE = action("pause", "old", "rollback: {do: resume, node: old, when: [old.paused is yes]}")
SOLO = action("solo", "old", "rollback: {do: gate, node: old, when: [old.state is SOLO]}")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return install_clock(monkeypatch)


@pytest.fixture
def stage() -> FakeStage:
    return FakeStage()


def test_a_run_that_holds_passes(stage: FakeStage) -> None:
    steps = [GOES_ON, fault("kill", "node: old"), action("switchover", "old"), GOES_ON]
    report = run(book(STEADY, *steps), stage)
    assert (report.verdict, report.reason) == (Verdict.PASS, "")
    assert stage.happened == ["fault kill a", "decided", "switchover a", "mended kill"]
    assert [(event.what, event.ok) for event in report.events] == [
        ("steady state", True),
        ("probe", True),
        ("fault", None),
        ("action", True),
        ("probe", True),
        ("mended", None),
        ("steady state", True),
    ]
    assert (report.id, report.file, report.mode, report.operator) == (
        "fire",
        "fire.md",
        "drill",
        "eve",
    )


def test_events_are_told_as_they_happen_and_name_lines(stage: FakeStage) -> None:
    runbook = book(STEADY, GOES_ON, block("note", "text: so it is"))
    heard: list[object] = []
    report = Runner(runbook, stage, Mode.DRILL, "eve", tell=heard.append).run()
    assert heard == report.events
    assert [event.line for event in report.events] == [step.line for step in runbook.steps]
    assert told(report, "note") == ["so it is"]


@pytest.mark.parametrize("mode", [Mode.DRILL, Mode.GUIDED, Mode.REHEARSE])
def test_without_its_steady_state_nothing_is_done(mode: Mode, stage: FakeStage) -> None:
    stage.say("a", state="STALLED")
    person = FakePerson(("a", ""))
    report = run(book(STEADY, PAUSE), stage, mode, person)
    assert report.verdict is Verdict.FAIL
    assert report.reason.startswith("line 13: the steady state does not hold, nothing was done: ")
    assert report.reason.endswith("pair.gated is yes: it is no")
    assert stage.happened == []
    assert stage.fake.looked == []
    assert person.shown == []


def test_guided_through_an_incident_the_steady_state_is_not_asked_for_first(
    stage: FakeStage,
) -> None:
    stage.seen = None
    stage.say("a", state="STALLED")
    stage.fake.does[Operation.PAUSE] = lambda: stage.say("a", state="GATED")
    steps = [fault("cut-link"), action("pause", "old")]
    report = run(book(STEADY, *steps), stage, Mode.GUIDED, FakePerson(("a", "")))
    assert report.verdict is Verdict.PASS, report.reason
    assert stage.happened == ["decided", "pause a"]
    assert [event.what for event in report.events] == ["action", "steady state"]


def test_the_first_probe_that_fails_ends_the_steps_and_all_is_put_right(stage: FakeStage) -> None:
    """Mended first, then rolled back, the last action first; then the steady state."""
    stage.fake.does = {
        Operation.PAUSE: lambda: stage.say("a", paused="for lunch"),
        Operation.RESUME: lambda: stage.say("a", paused=""),
        Operation.SOLO: lambda: stage.say("a", state="SOLO"),
        Operation.GATE: lambda: stage.say("a", state="GATED"),
    }
    runbook = book(STEADY, fault("cut-link"), PAUSE, SOLO, FAILS, action("demote", "old"))
    report = run(runbook, stage)
    assert report.verdict is Verdict.FAIL
    line = runbook.steps[4].line
    assert report.reason.startswith(f"line {line}: new.state is SOLO: not within 1 s: ")
    assert stage.happened == [
        "fault cut-link",
        "decided",
        "pause a",
        "solo a",
        "mended cut-link",
        "gate a",
        "resume a",
    ]
    assert told(report, "rollback") == [
        "gate on a: done: so it ended",
        "resume on a: done: so it ended",
    ]
    assert report.events[-1].what == "steady state"
    assert report.events[-1].ok
    assert f"rollback of runbook fire, line {runbook.steps[3].line}" in stage.fake.reasons


def test_what_needs_no_rollback_is_not_rolled_back(stage: FakeStage) -> None:
    report = run(book(STEADY, PAUSE, FAILS), stage)
    assert stage.happened == ["decided", "pause a"]
    assert told(report, "rollback") == []


def test_a_rollback_that_is_refused_is_told(stage: FakeStage) -> None:
    stage.fake.does[Operation.PAUSE] = lambda: stage.say("a", paused="for lunch")
    stage.fake.refused = ""
    report = run(book(STEADY, PAUSE, action("resume", "old")), stage)
    assert told(report, "rollback") == ["resume on a: done: so it ended"]
    stage.fake.does[Operation.RESUME] = lambda: setattr(stage.fake, "refused", "not now")
    report = run(book(STEADY, PAUSE, action("resume", "old")), stage)
    assert told(report, "rollback") == ["resume on a: refused: not now"]
    assert report.events[-2].ok is False


def test_a_probe_that_is_not_fatal_goes_on_and_fails_a_drill_at_its_end(stage: FakeStage) -> None:
    soft = probe("new.state is SOLO", "fatal: false")
    report = run(book(STEADY, soft, action("pause", "old")), stage)
    assert report.verdict is Verdict.FAIL
    assert report.reason.startswith("line 19: new.state is SOLO: not within ")
    assert [event.ok for event in report.events] == [True, False, True, True]
    assert stage.happened == ["decided", "pause a"]


def test_a_pair_that_is_not_steady_afterwards_fails_the_run(stage: FakeStage) -> None:
    stage.on_fault = lambda: stage.say("b", state="FENCED")
    report = run(book(STEADY, fault("kill", "node: old")), stage)
    assert report.verdict is Verdict.FAIL
    assert "the steady state does not hold, after the run: " in report.reason


def test_the_first_reason_stays_the_reason(stage: FakeStage) -> None:
    stage.on_fault = lambda: stage.say("b", state="FENCED")
    report = run(book(STEADY, fault("kill", "node: old"), FAILS), stage)
    assert report.reason.startswith("line 24: new.state is SOLO")
    assert report.events[-1].ok is False


def test_a_run_that_takes_too_long_is_aborted_and_put_right(stage: FakeStage, clock: Clock) -> None:
    slow = probe("pair.gated is yes", "mode: steady", "hold: 20")
    steps = [fault("cut-link"), slow, slow, action("pause", "old")]
    runbook = book(STEADY, *steps, abort_after="30")
    report = run(runbook, stage)
    assert report.verdict is Verdict.FAIL
    assert report.reason == f"line {runbook.steps[4].line}: aborted after 30 s"
    assert stage.happened == ["fault cut-link", "mended cut-link"]
    assert report.seconds == pytest.approx(40, abs=1)


def test_what_this_machine_cannot_do_is_unknown_and_never_passes(stage: FakeStage) -> None:
    stage.raises = UnavailableError("needs root")
    report = run(book(STEADY, fault("fill-disk", "node: old"), GOES_ON), stage)
    assert report.verdict is Verdict.UNKNOWN
    assert report.reason == "line 19: fill-disk a: needs root"
    assert told(report, "fault") == ["fill-disk a: cannot be made here: needs root"]
    assert told(report, "probe") == []
    report = run(book(STEADY, action("start", "old")), stage)
    assert (report.verdict, report.reason) == (Verdict.UNKNOWN, "line 19: start on a: needs root")


def test_what_failed_by_hand_fails(stage: FakeStage) -> None:
    stage.raises = UserError("node a runs already")
    report = run(book(STEADY, action("start", "old"), GOES_ON), stage)
    assert report.verdict is Verdict.FAIL
    assert report.reason == "line 19: start on a: node a runs already"
    assert told(report, "probe") == []


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        (Measures(lost=2), "RPO is not 0: 2 confirmed messages were never delivered"),
        (Measures(failure="seq 9 came after 7"), "seq 9 came after 7"),
    ],
)
def test_what_was_measured_can_fail_a_run_that_held(
    measured: Measures, reason: str, stage: FakeStage
) -> None:
    stage.measured = measured
    report = run(book(STEADY, GOES_ON), stage)
    assert (report.verdict, report.reason) == (Verdict.FAIL, reason)
    assert report.measures is measured
    stage.measured = Measures(confirmed=5, delivered=5, in_doubt=1, quarantined=2)
    assert run(book(STEADY, GOES_ON), stage).verdict is Verdict.PASS


def test_measures_do_not_hide_why_a_run_failed(stage: FakeStage) -> None:
    stage.measured = Measures(lost=2)
    assert run(book(STEADY, FAILS), stage).reason.startswith("line 19: new.state is SOLO")


@pytest.mark.parametrize(("branch", "taken"), [("", "pause"), ("right", "gate"), ("up", "pause")])
def test_a_drill_takes_one_branch(branch: str, taken: str, stage: FakeStage) -> None:
    runbook = book(
        STEADY,
        block("decide", "question: Which?", "branches: {left: l, right: r}", "drill: left"),
        action("pause", "old", "branch: left"),
        action("gate", "old", "branch: right"),
        block("note", "text: not this", "branch: right"),
    )
    report = Runner(runbook, stage, Mode.DRILL, "eve", branch=branch).run()
    assert stage.happened == ["decided", f"{taken} a"]
    assert len(told(report, "note")) == (taken == "gate")


def test_a_step_about_who_leads_fails_if_nobody_does(stage: FakeStage) -> None:
    stage.on_fault = lambda: stage.say("a", state="FENCED")
    report = run(book(STEADY, fault("kill", "node: old"), action("pause", "leader")), stage)
    assert report.reason == "line 24: no node leads, so nobody is the leader"
    assert stage.happened == ["fault kill a", "mended kill"]


def test_a_change_counts_from_when_the_run_began_or_a_node_was_heard_first(
    stage: FakeStage,
) -> None:
    said, stage.said["b"] = stage.said["b"], None

    def back() -> None:
        stage.said["b"] = said

    stage.fake.does[Operation.PAUSE] = back
    stage.fake.does[Operation.RESUME] = lambda: stage.say("b", incarnation=2)
    runbook = book(
        action("pause", "old", "on_unknown: verify"),
        probe("new.restarted is no"),
        action("resume", "old", "on_unknown: verify"),
        probe("new.restarted is yes"),
        probe("old.restarted is no"),
    )
    assert run(runbook, stage).verdict is Verdict.PASS


def test_old_and_new_stay_who_they_were(stage: FakeStage) -> None:
    def swap() -> None:
        stage.say("a", role="secondary", state="IN_SYNC")
        stage.say("b", role="primary", state="GATED", epoch=4)

    stage.fake.does[Operation.SWITCHOVER] = swap
    steps = [action("switchover", "old"), action("pause", "leader"), action("gate", "old")]
    run(book(STEADY, *steps), stage)
    assert stage.happened == ["decided", "switchover a", "pause b", "gate a"]


def test_a_drill_is_refused_on_a_pair_that_is_not_there_for_it(stage: FakeStage) -> None:
    stage.is_drill = False
    with pytest.raises(UserError, match='environment = "drill"'):
        run(book(STEADY, fault("kill", "node: old")), stage)
    assert stage.happened == []


def test_both_nodes_are_told_before_and_after(stage: FakeStage) -> None:
    def die() -> None:
        stage.said["a"] = None

    stage.on_fault = die
    report = run(book(STEADY, fault("kill", "node: old")), stage)
    assert report.before["a"] == "GATED as primary in epoch 3, seq 0, released 0"
    assert report.after["a"] == "does not answer"
    assert report.before["b"] == report.after["b"]
