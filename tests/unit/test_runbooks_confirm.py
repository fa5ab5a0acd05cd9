"""A person confirms an action: in the terminal, too slowly, or not alone."""

from __future__ import annotations

import msgspec
import pytest
from typer.testing import CliRunner

from interlock.cli.drill_live import TerminalAsker
from interlock.client.errors import OperationRefused
from interlock.runbooks import operate as operate_module
from interlock.runbooks.record import Report, Verdict
from interlock.runbooks.run import Runner
from interlock.runbooks.verbs import Action, Decide, Do, Mode, Who
from interlock.shared.errors import Reason
from interlock.shared.operations import Operation, Preflight, Receipt, Request
from interlock.tests.unit.operate_kit import FAILS
from interlock.tests.unit.runbook_kit import (
    STEADY,
    Clock,
    FakeControl,
    FakeStage,
    action,
    book,
    install_clock,
    probe,
)

SENTENCE = "a is stopped and stays stopped"
PAUSE = action("pause", "old", "on_unknown: verify")
STEPS = (STEADY, PAUSE, probe("pair.gated is yes"))


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = install_clock(monkeypatch)
    monkeypatch.setattr(operate_module, "time", clock)
    return clock


@pytest.fixture
def stage() -> FakeStage:
    return FakeStage()


class SlowAsker:
    """Confirms each time, and takes as long as `waits` says."""

    def __init__(self, clock: Clock, *waits: float) -> None:
        self._clock, self._waits = clock, list(waits)

    def choose(self, decide: Decide) -> str:
        raise AssertionError(decide)

    def done_by_hand(self, action: Action, node: str) -> bool:
        raise AssertionError(action)

    def confirm(self, action: Action, preflight: Preflight) -> tuple[str, str] | None:
        self._clock.now += self._waits.pop(0)
        return preflight.request.node, ""


def guided(stage: FakeStage, asker: SlowAsker) -> Report:
    return Runner(book(*STEPS), stage, Mode.GUIDED, "ann", asker).run()


# Too slowly -----------------------------------------------------------------------------------


def test_what_expired_while_it_was_typed_is_looked_at_and_confirmed_anew(
    stage: FakeStage, clock: Clock
) -> None:
    report = guided(stage, SlowAsker(clock, 31, 29))
    assert report.verdict is Verdict.PASS, report.reason
    assert len(stage.fake.looked) == 2
    assert stage.happened.count("pause a") == 1
    assert "it has expired meanwhile; this is the present one" in [e.text for e in report.events]


def test_the_newer_preflight_counts(
    stage: FakeStage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = stage.fake.preflight

    def preflight(request: Request, timeout: float = 3.0) -> Preflight:
        if stage.fake.looked:
            stage.fake.guards[Operation.PAUSE] = [FAILS]
        return plain(request, timeout)

    monkeypatch.setattr(stage.fake, "preflight", preflight)
    report = guided(stage, SlowAsker(clock, 31))
    assert report.verdict is Verdict.FAIL
    assert "disk [red]space: observed 0 bytes" in report.reason
    assert "pause a" not in stage.happened


def test_what_a_person_takes_counts_for_no_time_out(stage: FakeStage, clock: Clock) -> None:
    abort_after = book(*STEPS).front.abort_after
    report = guided(stage, SlowAsker(clock, 10 * abort_after, 1))
    assert report.verdict is Verdict.PASS, report.reason


# Not alone ------------------------------------------------------------------------------------


def two_people(stage: FakeStage, monkeypatch: pytest.MonkeyPatch, refusals: int) -> FakeControl:
    """The pair asks for two operators; the other one comes after so many tries."""
    fake, left = stage.fake, [None] * refusals
    look, do = fake.preflight, fake.execute

    def preflight(request: Request, timeout: float = 3.0) -> Preflight:
        return msgspec.structs.replace(look(request, timeout), approvals=2)

    def execute(*words: object, **more: object) -> Receipt | None:
        if left:
            left.pop()
            raise OperationRefused(Reason.NOT_CONFIRMED, "another operator has to approve")
        return do(*words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(fake, "preflight", preflight)
    monkeypatch.setattr(fake, "execute", execute)
    return fake


def test_a_second_operator_is_waited_for_and_it_is_said_once_what_to_run(
    stage: FakeStage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_people(stage, monkeypatch, refusals=5)
    report = guided(stage, SlowAsker(clock, 1))
    assert report.verdict is Verdict.PASS, report.reason
    (said,) = [event.text for event in report.events if event.what == "approval"]
    assert said.startswith("waits for another operator than ann to run: interlock approve ")
    assert "--node a" in said


def test_but_not_for_longer_than_the_preflight_is_good_for(
    stage: FakeStage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_people(stage, monkeypatch, refusals=1_000)
    began = clock.now
    report = guided(stage, SlowAsker(clock, 1))
    assert report.verdict is Verdict.FAIL
    assert "another operator has to approve" in report.reason
    assert 29 <= clock.now - began < 35


# In the terminal ------------------------------------------------------------------------------


def asked(stage: FakeStage, attestation: str, typed: str) -> tuple[str, str] | None:
    """What the terminal's asker makes of the lines that were typed."""
    stage.fake.attestation = attestation
    preflight = stage.fake.preflight(Request(Operation.PROMOTE, "b"))
    with CliRunner().isolation(input=typed):
        return TerminalAsker().confirm(Action(Do.PROMOTE, Who.NEW, 5.0), preflight)


@pytest.mark.parametrize(
    ("typed", "taken"),
    [
        ("b\na is stopped\n\n", None),
        (f"b\na is stopped\n  {SENTENCE.upper()} \n", ("b", f"  {SENTENCE.upper()} ")),
        (f"b\n{SENTENCE}\n", ("b", SENTENCE)),
        (f"a\n{SENTENCE}\n", None),
    ],
)
def test_a_mistyped_attestation_may_be_typed_again(
    typed: str, taken: tuple[str, str] | None, stage: FakeStage
) -> None:
    assert asked(stage, SENTENCE, typed) == taken


def test_without_an_attestation_the_name_alone_does_it(stage: FakeStage) -> None:
    assert asked(stage, "", "b\n") == ("b", "")
