"""One runbook as it is followed on this pair: what each step is at, and what was done. Pure; time
is an argument.

Decides what the ticks mean and which entries the run leaves. Whether a probe holds is decided by
`runbooks`, what may run by the nodes. A probe is evaluated only on what is known now: a node that
was asked and is silent does not answer, and whatever else is old tells nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

import msgspec

from ..runbooks import Runbook, Step, evaluate, name_old
from ..runbooks.cast import scene_of
from ..runbooks.conditions import SINCE_FIELDS, Condition, Scene, parse_condition
from ..runbooks.operate import OPERATIONS
from ..runbooks.verbs import Action, Decide, Do, Fault, Note, Probe, Who
from ..shared.operations import Request
from ..shared.telemetry import NodeStatus
from .options import input_fault
from .view import NodeView

MAX_ENTRIES: Final = 5_000  # of a run: it may stay open for days beside a probe that flickers
MAX_TURNS: Final = 50  # entries that one step leaves by changing alone
BY_ITSELF: Final = ""  # the operator of an entry that nobody has made


class Mark(Enum):
    """What a step is at."""

    HOLDS = "holds"
    WRONG = "does not hold"
    UNKNOWN = "not known"  # something that it needs is old, or was never heard
    DRILL = "drill only"
    OPEN = "to do"
    RUNNING = "under way"
    DONE = "done"
    REFUSED = "refused"
    DOUBTFUL = "UNKNOWN"  # it may have happened
    NO_TRACE = "settled"  # it was UNKNOWN, and it is known now that it left no trace
    ELSEWHERE = "another branch"


SETTLED: Final = frozenset({Mark.HOLDS, Mark.DONE, Mark.DRILL, Mark.ELSEWHERE})


class Entry(msgspec.Struct, frozen=True):
    """One line of what a run leaves. `line` of the runbook, or 0."""

    at: float
    operator: str
    line: int
    what: str
    text: str


class State(msgspec.Struct, frozen=True):
    """A step now, and why. `held_at`: when its probe held last, if it ever did."""

    mark: Mark
    why: str = ""
    held_at: float | None = None


class Guide:
    """A run. Public attributes are what is shown."""

    def __init__(self, runbook: Runbook, nodes: list[NodeView], at: float, operator: str) -> None:
        self.runbook = runbook
        self.old = first_old(nodes)
        self._first = {node.name: node.usable for node in nodes}
        self.began = at
        self.ended = False
        self.entries: list[Entry] = []
        self.chosen: dict[int, str] = {}
        self.states = [State(Mark.UNKNOWN) for _ in runbook.steps]
        self._done: dict[int, State] = {}
        self._turns: dict[int, int] = {}
        text = f"sha256 {runbook.sha256[:16]}, old is {self.old}"
        self.note(at, operator, 0, f"{runbook.id} opened", text)
        self.look(nodes, at)

    # Now ----------------------------------------------------------------------------------------

    def look(self, nodes: list[NodeView], at: float) -> None:
        """What each step is at by this picture; what has changed is noted."""
        for node in nodes:
            self._first[node.name] = self._first.get(node.name) or node.usable
        for index, step in enumerate(self.runbook.steps):
            before = self.states[index]
            mark, why = self._judge(index, step, nodes)
            if isinstance(step.what, Probe) and before.mark is not mark:
                self._turned(at, step, mark, why)
            held_at = at if mark is Mark.HOLDS else before.held_at
            self.states[index] = State(mark, why, held_at)

    def _judge(self, index: int, step: Step, nodes: list[NodeView]) -> tuple[Mark, str]:
        what = step.what
        branch = "" if isinstance(what, Decide) else what.branch
        if branch and branch not in self.chosen.values():
            other = any(branch in one for one in self._decided())
            why = f"only in the branch {branch!r}"
            return (Mark.ELSEWHERE, why) if other else (Mark.OPEN, f"{why}: decide first")
        if isinstance(what, Fault):
            return Mark.DRILL, "a drill breaks it; on a live pair it is broken already"
        if isinstance(what, Probe):
            return probe_state(what, nodes, self.old, self._first)
        if isinstance(what, Action) and what.drill_only:
            return Mark.DRILL, "a drill makes the situation; a live pair is in it already"
        if index in self._done:
            return self._done[index].mark, self._done[index].why
        return Mark.OPEN, ""

    def _decided(self) -> list[dict[str, str]]:
        """The branches of each question that was answered."""
        steps = self.runbook.steps
        return [
            what.branches for index in self.chosen if isinstance(what := steps[index].what, Decide)
        ]

    def _turned(self, at: float, step: Step, mark: Mark, why: str) -> None:
        turns = self._turns[step.line] = self._turns.get(step.line, 0) + 1
        if turns == MAX_TURNS:
            why = f"{why}; more changes of this step are not noted"
        if turns <= MAX_TURNS and mark is not Mark.DRILL:
            self.note(at, BY_ITSELF, step.line, mark.value, _told(step_title(step), why))

    @property
    def next_index(self) -> int:
        """The first step that is not settled; the last one if all are. In an incident the steady
        state is where the steps lead to, not what they begin with."""
        steps = self.runbook.steps
        for index, state in enumerate(self.states):
            what = steps[index].what
            is_goal = self.runbook.makes_faults and isinstance(what, Probe) and what.steady
            if state.mark not in SETTLED and not is_goal:
                return index
        return len(steps) - 1

    # What a person does ---------------------------------------------------------------------------

    def swap_old(self, nodes: list[NodeView], at: float, operator: str) -> None:
        """The other node is `old`: the one that led when it happened was another."""
        self.old = next(node.name for node in nodes if node.name != self.old)
        self.note(at, operator, 0, "old", f"old is {self.old} from here on")
        self.look(nodes, at)

    def choose(self, index: int, branch: str, at: float, operator: str) -> None:
        """Answers the question of a step; again with another answer takes the first one back."""
        step = self.runbook.steps[index]
        assert isinstance(step.what, Decide)
        self.chosen[index] = branch
        self._done[index] = State(Mark.DONE, branch)
        meaning = step.what.branches[branch]
        self.note(at, operator, step.line, f"chose {branch}", _told(step.what.question, meaning))

    def tick(self, index: int, at: float, operator: str) -> None:
        """A note was read, or something was done by hand; once more takes the tick away."""
        step = self.runbook.steps[index]
        if index in self._done:
            del self._done[index]
            self.note(at, operator, step.line, "not done", step_title(step))
        else:
            self._done[index] = State(Mark.DONE, f"ticked by {operator or 'nobody'}")
            self.note(at, operator, step.line, "done", step_title(step))

    def ran(self, index: int, mark: Mark, what: str, text: str, at: float, operator: str) -> None:
        """What became of the operation of a step: `what` as on a command line."""
        self._done[index] = State(mark, _told(what, text))
        self.note(at, operator, self.runbook.steps[index].line, f"{what}: {mark.value}", text)

    def end(self, at: float, operator: str) -> None:
        """It is followed no more; what it left can still be exported."""
        self.ended = True
        self.note(at, operator, 0, f"{self.runbook.id} closed", "")

    def note(self, at: float, operator: str, line: int, what: str, text: str) -> None:
        """One entry of the run."""
        if len(self.entries) < MAX_ENTRIES:
            self.entries.append(Entry(at, operator, line, what, text))

    def request(self, index: int, nodes: list[NodeView]) -> Request | str:
        """The operation of an action; a string says why there is none to open now."""
        what = self.runbook.steps[index].what
        assert isinstance(what, Action)
        node = _scene(nodes, self.old).roles.get(what.node)
        if node is None:
            return f"no node is the {what.node.value} now: nobody leads, as far as is heard"
        return Request(OPERATIONS[what.do], node, **what.options)  # type: ignore[arg-type]


def first_old(nodes: list[NodeView]) -> str:
    """The node that is `old` when a runbook is opened: by what is known now, and if nothing is, by
    what both nodes said last."""
    known = {node.name: node.usable for node in nodes}
    return name_old(known if any(known.values()) else {node.name: node.status for node in nodes})


def by_hand(step: Step) -> bool:
    """Whether a person does it outside the console, and says here that it is done."""
    what = step.what
    return isinstance(what, Note) or (
        isinstance(what, Action) and (what.do not in OPERATIONS or what.do is Do.RESUBMIT)
    )


def step_title(step: Step) -> str:
    """The step in one line, without markup."""
    what = step.what
    match what:
        case Decide():
            return what.question
        case Fault():
            return what.text or " ".join(
                [what.fault.value, *([what.node.value] if what.node else [])]
            )
        case Action():
            return what.text or f"{what.do.value} {what.node.value}"
        case Probe():
            return what.text or "; ".join(what.expect)
        case Note():
            return what.text


def probe_state(
    probe: Probe,
    nodes: list[NodeView],
    old: str,
    first: Mapping[str, NodeStatus | None] | None = None,
) -> tuple[Mark, str]:
    """Whether a probe holds now. One condition that is known not to hold is enough; all have to be
    known for it to hold. `first`: what the nodes said when the runbook was opened."""
    scene = _scene(nodes, old, first)
    blind, seen = [], []
    for text in probe.expect:
        fault = _blindness(parse_condition(text), nodes, scene)
        if fault:
            blind.append(f"{text}: {fault}")
        else:
            seen.append(text)
    known = {node.name: node.usable for node in nodes}
    holds, why = evaluate(msgspec.structs.replace(probe, expect=seen), known, old, first)
    if holds is None:
        return Mark.DRILL, "only a drill can tell"
    if not holds:
        return Mark.WRONG, why
    if blind:
        return Mark.UNKNOWN, "; ".join(blind)
    return Mark.HOLDS, ""


def _scene(
    nodes: list[NodeView], old: str, first: Mapping[str, NodeStatus | None] | None = None
) -> Scene:
    return scene_of({node.name: node.usable for node in nodes}, old, None, first)


def _blindness(condition: Condition, nodes: list[NodeView], scene: Scene) -> str:
    """Why nothing can be said of a condition now; empty: it can be evaluated."""
    if condition.needs_flow:
        return ""
    if condition.subject == "pair":
        concerned = nodes
    else:
        name = scene.roles.get(Who(condition.subject))
        if name is None:
            return "nobody leads, as far as is heard"
        concerned = [node for node in nodes if node.name == name]
    for node in concerned:
        if node.usable is not None or (condition.field == "answers" and node.answers is False):
            continue
        return f"{node.name} does not answer" if node.answers is False else input_fault(node)
    if condition.field in SINCE_FIELDS and any(
        scene.first.get(one.name) is None for one in concerned
    ):
        return "what it was when the runbook was opened is not known"
    return ""


def _told(first: str, second: str) -> str:
    return f"{first}: {second}" if second else first


def to_jsonl(guide: Guide) -> bytes:
    """A line that says what was followed, then one for each entry."""
    runbook = guide.runbook
    marks = zip(runbook.steps, guide.states, strict=True)
    head = {
        "runbook": runbook.id,
        "sha256": runbook.sha256,
        "began": guide.began,
        "ended": guide.ended,
        "old": guide.old,
        "steps": {str(step.line): state.mark.value for step, state in marks},
    }
    encoder = msgspec.json.Encoder()
    return b"".join(encoder.encode(one) + b"\n" for one in (head, *guide.entries))
