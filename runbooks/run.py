"""Runs a runbook on a stage, step by step, and says PASS, FAIL or UNKNOWN.

Decides the order: the steady state is probed first, and nothing is done if it does not hold (but
in a guided run of a runbook for an incident, which is there because it does not); the steps;
whatever happened, what a drill broke is mended and what actions left is rolled back; and the steady
state is probed again.

A rehearsal changes nothing, so what a step after the first action or fault finds is only told. What
stands before it, and the preflight of a first action, has to hold.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ..client.errors import ClientError
from ..shared.errors import InterlockError, RemoteError, UserError
from ..shared.operations import Preflight
from .cast import Cast
from .conditions import Scene, holds, parse_condition
from .operate import End, Order, Outcome, execute, look, look_again, refusal
from .parse import Runbook, Step
from .record import Event, Report, Verdict
from .stage import Asker, NobodyThereError, Stage, UnavailableError
from .verbs import BY_HAND, Action, Decide, Fault, Mode, Note, Probe, Rollback, Who
from .watch import LOOK_EVERY_S, conditions_of, failing, title, watch

T = TypeVar("T")
LOOK_AGAIN_S = 3.0


class _EndOfRunError(Exception):
    """The steps go no further."""

    def __init__(self, verdict: Verdict, reason: str) -> None:
        super().__init__(reason)
        self.verdict, self.reason = verdict, reason


class Runner:
    """One run. `tell` gets each event as it happens."""

    def __init__(
        self,
        runbook: Runbook,
        stage: Stage,
        mode: Mode,
        operator: str,
        asker: Asker | None = None,
        tell: Callable[[Event], None] = lambda event: None,
        branch: str = "",
    ) -> None:
        self._runbook, self._stage, self._mode = runbook, stage, mode
        self._operator, self._asker, self._tell = operator, asker, tell
        self._branch = branch
        self._chosen: set[str] = set()
        self._cast = Cast(stage)
        self._began = time.monotonic()
        self._rollbacks: list[tuple[Step, Rollback]] = []
        self._acted = self._broke = False
        self._asked_s = 0.0  # how long people took; it counts for no time-out
        self._unsure = ""  # an action that may or may not have happened; the next probe tells
        self._imagined = False  # a rehearsal is past the first thing that would change the pair
        self._failed = ""  # what did not hold and did not end the run
        self.report = Report(
            runbook.id,
            runbook.front.title,
            runbook.path.name,
            runbook.sha256,
            mode.value,
            operator,
            time.time_ns(),
        )

    def run(self) -> Report:
        """Runs it to its end. Raises UserError for a drill on a pair that is not there for it."""
        if self._mode is Mode.DRILL and not self._stage.is_drill:
            raise UserError(
                "a drill answers confirmations by itself, so it is for a pair whose configuration "
                'says environment = "drill"; on this one run the runbook guided, or rehearse it'
            )
        report = self.report
        report.before = self._cast.states()
        try:
            if self._mode is not Mode.GUIDED or not self._runbook.makes_faults:
                self._probe_steady("nothing was done")
            for step in self._runbook.steps:
                self._take(step)
            if self._unsure:
                raise _EndOfRunError(Verdict.UNKNOWN, self._unsure)
            if self._failed:
                raise _EndOfRunError(Verdict.FAIL, self._failed)
            if self._mode is Mode.REHEARSE:
                report.reason = "what has to hold before the first action or fault holds now"
        except _EndOfRunError as end:
            report.verdict, report.reason = end.verdict, end.reason
        finally:
            self._put_right()
        report.measures = self._stage.measures()
        if report.measures and report.measures.problem and report.verdict is Verdict.PASS:
            report.verdict, report.reason = Verdict.FAIL, report.measures.problem
        report.after = self._cast.states()
        report.seconds = time.monotonic() - self._began
        return report

    # Steps ------------------------------------------------------------------------------------

    def _take(self, step: Step) -> None:
        what = step.what
        after = self._runbook.front.abort_after
        if time.monotonic() - self._began - self._asked_s > after:
            raise _EndOfRunError(Verdict.FAIL, f"line {step.line}: aborted after {after:g} s")
        branch = "" if isinstance(what, Decide) else what.branch
        if branch and branch not in self._chosen:
            return
        match what:
            case Probe():
                if not what.steady:
                    self._take_probe(step, what)
            case Action():
                self._take_action(step, what)
            case Fault():
                self._take_fault(step, what)
            case Decide():
                self._take_decide(step, what)
            case Note():
                if self._mode is Mode.GUIDED:
                    self._ask(lambda asker: asker.read(what))
                self._add(step.line, "note", what.text)

    def _take_probe(self, step: Step, probe: Probe) -> None:
        if self._blind_to(probe):
            self._add(step.line, "probe", f"only a drill can tell: {title(probe)}")
            return
        if self._mode is Mode.REHEARSE:
            wrong = failing(conditions_of(probe), self._cast.scene())
            told = "holds now" if not wrong else f"does not hold now: {wrong}"
            if wrong and self._imagined:
                told = f"not yet: {wrong}"
            self._rehearsed(step, "probe", f"{title(probe)}: {told}", not wrong)
            return
        held, told = watch(probe, self._cast.scene)
        self._add(step.line, "probe", told, held)
        if held:
            self._unsure = ""
        elif self._unsure:
            raise _EndOfRunError(Verdict.UNKNOWN, f"{self._unsure}; {told}")
        elif probe.fatal:
            raise _EndOfRunError(Verdict.FAIL, f"line {step.line}: {told}")
        elif self._mode is Mode.DRILL:
            self._failed = self._failed or f"line {step.line}: {told}"

    def _blind_to(self, probe: Probe) -> bool:
        """Whether only a drill's own producers and consumer could tell."""
        if self._stage.flow() is not None:
            return False
        return probe.drill_only or any(one.needs_flow for one in conditions_of(probe))

    def _take_action(self, step: Step, action: Action) -> None:
        if action.drill_only and self._mode is not Mode.DRILL:
            self._imagined = True
            return
        node = self._node(action.node, step)
        what = f"{action.do.value} on {node}"
        if action.do in BY_HAND:
            self._by_hand(step, action, node, what)
            return
        if self._mode is Mode.REHEARSE:
            self._rehearse(step, what, look(self._stage.control, action, node))
            return
        found = look_again(self._stage.control, action, node)
        self._begin_acting(step, action)
        if isinstance(found, Outcome):
            self._judge(step, action, what, found)
            return
        if not found.passed:
            self._judge(step, action, what, refusal(found))
            return
        outcome = self._carry_out(step, action, found, f"runbook {self._runbook.id}")
        if outcome is None:
            raise _EndOfRunError(Verdict.UNKNOWN, f"line {step.line}: {what} was not confirmed")
        self._judge(step, action, what, outcome)

    def _carry_out(
        self, step: Step, action: Action, preflight: Preflight, why: str
    ) -> Outcome | None:
        """Confirms and executes; None: it was not confirmed. A preflight that expires while a
        person types is replaced by a new one, which has to be confirmed anew."""
        while True:
            expires = time.monotonic() + preflight.expires_ms / 1000
            typed = self._typed(action, preflight)
            if typed is None:
                return None
            if time.monotonic() < expires:
                break
            self._add(step.line, "preflight", "it has expired meanwhile; this is the present one")
            found = look(self._stage.control, action, preflight.request.node)
            if isinstance(found, Outcome) or not found.passed:
                return found if isinstance(found, Outcome) else refusal(found)
            preflight = found

        def wait_for(text: str) -> None:
            self._add(step.line, "approval", text)

        order = Order(self._operator, f"{why}, line {step.line}", *typed, action.within, expires)
        return execute(self._stage.control, preflight, order, wait_for)

    def _typed(self, action: Action, preflight: Preflight) -> tuple[str, str] | None:
        if self._mode is Mode.DRILL:
            return preflight.request.node, preflight.attestation
        return self._ask(lambda asker: asker.confirm(action, preflight))

    def _ask(self, question: Callable[[Asker], T]) -> T:
        assert self._asker is not None
        began = time.monotonic()
        try:
            answer = question(self._asker)
        except NobodyThereError:
            raise _EndOfRunError(Verdict.UNKNOWN, "nobody answers the questions") from None
        self._asked_s += time.monotonic() - began
        return answer

    def _begin_acting(self, step: Step, action: Action) -> None:
        if not self._acted:
            self._stage.note_action()
        self._acted = True
        if action.rollback is not None:
            self._rollbacks.append((step, action.rollback))

    def _judge(self, step: Step, action: Action, what: str, outcome: Outcome) -> None:
        wanted = outcome.end.value == action.expect
        if wanted and action.guard:
            wanted = outcome.guard == action.guard
        if outcome.end is End.UNKNOWN:
            self._add(step.line, "action", f"{what}: UNKNOWN: {outcome.text}", None)
            if action.on_unknown != "verify":
                raise _EndOfRunError(Verdict.UNKNOWN, f"line {step.line}: {what}: {outcome.text}")
            self._unsure = f"line {step.line}: {what}: {outcome.text}"
            return
        self._add(step.line, "action", f"{what}: {outcome.end.value}: {outcome.text}", wanted)
        if not wanted:
            expected = action.expect + (f" by {action.guard!r}" if action.guard else "")
            raise _EndOfRunError(
                Verdict.FAIL,
                f"line {step.line}: {what} was {outcome.end.value}, expected {expected}: "
                f"{outcome.text}",
            )

    def _rehearse(self, step: Step, what: str, found: Preflight | Outcome) -> None:
        if isinstance(found, Outcome):
            self._imagined = self._imagined and not found.silent
            self._rehearsed(step, "preflight", f"{what}: {found.text}", False)
        elif found.passed:
            self._rehearsed(step, "preflight", f"{what}: every guard passes now", True)
        else:
            refused = [guard for guard in found.guards if not guard.passed]
            names = "; ".join(f"{guard.name} ({guard.observed})" for guard in refused)
            self._rehearsed(step, "preflight", f"{what}: would be refused now: {names}", False)
        self._imagined = True

    def _rehearsed(self, step: Step, what: str, text: str, good: bool) -> None:
        """Notes what a rehearsal found. After the first action or fault nothing has to hold."""
        self._add(step.line, what, text, None if self._imagined and not good else good)
        if not good and not self._imagined:
            self._failed = self._failed or f"line {step.line}: {text}"

    def _by_hand(self, step: Step, action: Action, node: str, what: str) -> None:
        if self._mode is Mode.REHEARSE:
            self._add(step.line, "by hand", f"{what}: not done in a rehearsal")
            self._imagined = True
            return
        self._begin_acting(step, action)
        if self._mode is Mode.GUIDED:
            if not self._ask(lambda asker: asker.done_by_hand(action, node)):
                raise _EndOfRunError(Verdict.UNKNOWN, f"line {step.line}: {what} was not done")
            self._add(step.line, "by hand", what, True)
            return
        try:
            self._stage.by_hand(action.do, node)
        except UnavailableError as error:
            raise _EndOfRunError(Verdict.UNKNOWN, f"line {step.line}: {what}: {error}") from None
        except (InterlockError, RemoteError, ClientError) as error:
            self._add(step.line, "by hand", f"{what}: {error}", False)
            raise _EndOfRunError(Verdict.FAIL, f"line {step.line}: {what}: {error}") from None
        self._add(step.line, "by hand", what, True)

    def _take_fault(self, step: Step, fault: Fault) -> None:
        if self._mode is not Mode.DRILL:
            self._imagined = True
            return
        node = self._node(fault.node, step) if fault.node else ""
        what = f"{fault.fault.value} {node}".rstrip()
        self._broke = True
        try:
            self._stage.fault(fault.fault, node, fault.by_ms)
        except UnavailableError as error:
            self._add(step.line, "fault", f"{what}: cannot be made here: {error}")
            raise _EndOfRunError(Verdict.UNKNOWN, f"line {step.line}: {what}: {error}") from None
        self._add(step.line, "fault", what)

    def _take_decide(self, step: Step, decide: Decide) -> None:
        if self._mode is Mode.DRILL:
            chosen = self._branch if self._branch in decide.branches else decide.drill
        elif self._mode is Mode.GUIDED:
            chosen = self._ask(lambda asker: asker.choose(decide))
        else:
            self._chosen.update(decide.branches)
            self._add(step.line, "decide", f"{decide.question} (all branches are rehearsed)")
            return
        self._chosen.add(chosen)
        self._add(step.line, "decide", f"{decide.question} {chosen}: {decide.branches[chosen]}")

    # Before and after -------------------------------------------------------------------------

    def _probe_steady(self, otherwise: str) -> None:
        for step in self._runbook.steps:
            probe = step.what
            if isinstance(probe, Probe) and probe.steady:
                if self._blind_to(probe):
                    continue
                held, told = watch(probe, self._cast.scene)
                self._add(step.line, "steady state", told, held)
                if not held:
                    raise _EndOfRunError(
                        Verdict.FAIL,
                        f"line {step.line}: the steady state does not hold, {otherwise}: {told}",
                    )

    def _put_right(self) -> None:
        """Mends, rolls back, and probes the steady state again."""
        if self._mode is Mode.REHEARSE:
            return
        for mended in self._stage.undo_faults():
            self._add(0, "mended", mended)
        if not (self._acted or self._broke):
            return
        try:
            for step, rollback in reversed(self._rollbacks):
                self._roll_back(step, rollback)
            self._probe_steady("after the run")
        except _EndOfRunError as end:
            if self.report.verdict is Verdict.PASS:
                self.report.verdict, self.report.reason = end.verdict, end.reason

    def _roll_back(self, step: Step, rollback: Rollback) -> None:
        scene = self._whole_scene()
        node = scene.roles.get(rollback.node, "")
        if not node or not all(holds(parse_condition(text), scene) for text in rollback.when):
            return
        action = Action(rollback.do, rollback.node, 10.0)
        found = look(self._stage.control, action, node)
        what = f"{rollback.do.value} on {node}"
        outcome: Outcome | None
        if isinstance(found, Outcome):
            outcome = found
        elif not found.passed:
            outcome = refusal(found)
        else:
            why = f"rollback of runbook {self._runbook.id}"
            outcome = self._carry_out(step, action, found, why)
        if outcome is None:
            self._add(step.line, "rollback", f"{what}: was not confirmed", False)
            return
        ok = outcome.end is End.DONE
        self._add(step.line, "rollback", f"{what}: {outcome.end.value}: {outcome.text}", ok)

    def _whole_scene(self) -> Scene:
        """What is known once both nodes have answered: a slow answer cancels no rollback."""
        end = time.monotonic() + LOOK_AGAIN_S
        while True:
            scene = self._cast.scene()
            if all(scene.nodes.values()) or time.monotonic() > end:
                return scene
            time.sleep(LOOK_EVERY_S)

    # ------------------------------------------------------------------------------------------

    def _node(self, who: Who, step: Step) -> str:
        end = time.monotonic() + LOOK_AGAIN_S
        while True:  # a slow answer of the leader is no reason to stop
            node = self._cast.scene().roles.get(who, "")
            if node or time.monotonic() > end:
                break
            time.sleep(LOOK_EVERY_S)
        if not node:
            raise _EndOfRunError(
                Verdict.FAIL, f"line {step.line}: no node leads, so nobody is the {who.value}"
            )
        return node

    def _add(self, line: int, what: str, text: str, ok: bool | None = None) -> None:
        event = Event((time.monotonic() - self._began) * 1000, line, what, text, ok)
        self.report.events.append(event)
        self._tell(event)
