"""Runbooks: a row each, a step each, and the document as Markdown with its steps numbered. Pure."""

from __future__ import annotations

from typing import Final

from ...runbooks import Runbook, Step
from ...runbooks.record import Verdict
from ...runbooks.verbs import VERBS, Action, Decide, Fault, Note, Probe, ProbeMode
from ..guide import Guide, Mark, State, by_hand, step_title
from ..shelf import Book
from ..view import AlarmView
from ..words import age_text, clock_text, date_text, ms_text
from .alerts import SEVERITY_TONES
from .lines import Line, Tone, line, wrapped

ANSWERED: Final = frozenset({"active", "acknowledged"})  # alarms that are there now
LOOKS: Final = {
    Mark.HOLDS: ("✓", Tone.GOOD),
    Mark.WRONG: ("✗", Tone.WARN),
    Mark.UNKNOWN: ("?", Tone.WARN),
    Mark.DRILL: ("·", Tone.DIM),
    Mark.OPEN: ("○", Tone.PLAIN),
    Mark.RUNNING: ("▸", Tone.ACCENT),
    Mark.DONE: ("✓", Tone.GOOD),
    Mark.REFUSED: ("✗", Tone.BAD),
    Mark.DOUBTFUL: ("?", Tone.ALARM),
    Mark.NO_TRACE: ("○", Tone.WARN),
    Mark.ELSEWHERE: ("·", Tone.DIM),
}


# The list ---------------------------------------------------------------------------------------


def answering(runbook: Runbook, alarms: list[AlarmView]) -> list[AlarmView]:
    """The present alarms that it answers, the gravest first."""
    found = [
        alarm
        for alarm in alarms
        if alarm.state in ANSWERED
        and (alarm.kind in runbook.front.alarms or alarm.runbook == runbook.id)
    ]
    return sorted(found, key=lambda alarm: alarm.severity)


def in_order(books: list[Book], alarms: list[AlarmView]) -> list[Book]:
    """The ones that answer a present alarm first: those that an alarm names before the others."""

    def place(book: Book) -> tuple[int, bool, str]:
        found = answering(book.runbook, alarms)
        named = [alarm.severity for alarm in found if alarm.runbook == book.runbook.id]
        worst = min(named or [alarm.severity for alarm in found], default=9)
        return worst, not named, book.runbook.id

    return sorted(books, key=place)


def badge(book: Book, at: float) -> str:
    """How long ago the last drill was and how it ended: `PASS 2h05m, RTO 183 ms; changed since`"""
    result = book.result
    if result is None:
        return "never drilled"
    text = f"{result.verdict.value} {age_text(at - result.started_ns / 1e9)}"
    if result.rto_ms is not None:
        text += f", RTO {ms_text(result.rto_ms)}"
    return f"{text}; changed since" if book.has_changed else text


def row_cells(book: Book, alarms: list[AlarmView], guide: Guide | None, at: float) -> list[str]:
    """What it answers now, its title, risk, and badge."""
    found = answering(book.runbook, alarms)
    now = "now" if found else ""
    if guide is not None and not guide.ended:
        now = f"{now} open".strip()
    return [now, book.runbook.front.title, book.runbook.front.risk, badge(book, at)]


def book_lines(book: Book, alarms: list[AlarmView], width: int) -> list[Line]:
    """The row under the cursor in full."""
    front = book.runbook.front
    rows = [line((front.title, Tone.TITLE), f"   {front.id}")]
    for alarm in answering(book.runbook, alarms):
        of = f" ({alarm.subject})" if alarm.subject else ""
        told = f"answers now: {alarm.title}{of}"
        rows += wrapped(told, width, SEVERITY_TONES[alarm.severity])
    rows += wrapped(f"answers {', '.join(front.alarms)}", width)
    modes = ", ".join(mode.value for mode in front.modes)
    rows.append(line(("risk ", Tone.LABEL), front.risk, ("   owner ", Tone.LABEL), front.owner))
    rows[-1] = [*rows[-1], *line(("   modes ", Tone.LABEL), modes)]
    if book.result is not None:
        when = date_text(book.result.started_ns)
        changed = "; its text has changed since" if book.has_changed else ""
        why = f": {book.result.reason}" if book.result.reason else ""
        told = f"last drilled {when}: {book.result.verdict.value}{why}{changed}"
        is_good = book.result.verdict is Verdict.PASS and not changed
        rows += wrapped(told, width, Tone.PLAIN if is_good else Tone.WARN)
    return rows


# A run ------------------------------------------------------------------------------------------


def guide_lines(guide: Guide, width: int) -> list[Line]:
    """What is followed, and which node is `old`."""
    others = "" if guide.ended else "   n: the other one"
    ended = ("   ENDED", Tone.WARN) if guide.ended else ("", Tone.DIM)
    title = line((guide.runbook.front.title, Tone.TITLE), ended)
    return [title, line(("old is ", Tone.LABEL), (guide.old, Tone.ACCENT), (others, Tone.DIM))]


def step_line(number: int, step: Step, state: State) -> Line:
    """`✓ 3 probe  the standby holds everything`"""
    shape, tone = LOOKS[state.mark]
    is_dim = state.mark in (Mark.DRILL, Mark.ELSEWHERE)
    plain = Tone.DIM if is_dim else Tone.PLAIN
    title = step_title(step)
    if not isinstance(step.what, Decide) and step.what.branch:
        title = f"[{step.what.branch}] {title}"
    return line((f"{shape} ", tone), (f"{number:>2} {step.verb:<7}", Tone.LABEL), (title, plain))


def step_lines(guide: Guide, index: int, read_only: bool, width: int) -> list[Line]:
    """The step under the cursor in full: what it is at, why, and which key goes on."""
    step, state = guide.runbook.steps[index], guide.states[index]
    shape, tone = LOOKS[state.mark]
    rows = wrapped(step_title(step), width)
    what = step.what
    if isinstance(what, Probe):
        rows += wrapped(f"wants {'; '.join(what.expect)}", width, Tone.DIM)
        if what.steady and guide.runbook.makes_faults:
            rows.append(line(("the steady state, to which the steps lead", Tone.DIM)))
    told = f"{state.mark.value}: {state.why}" if state.why else state.mark.value
    rows += wrapped(told, width, tone, first=f"{shape} ")
    if state.held_at is not None and state.mark is not Mark.HOLDS:
        rows.append(line((f"it held at {clock_text(int(state.held_at * 1e9))}", Tone.DIM)))
    if hint := _hint(guide, index, step, read_only):
        rows += wrapped(hint, width, Tone.ACCENT)
    return rows


def _hint(guide: Guide, index: int, step: Step, read_only: bool) -> str:
    """Which key goes on."""
    what, mark = step.what, guide.states[index].mark
    if guide.ended or mark in (Mark.DRILL, Mark.ELSEWHERE) or isinstance(what, Probe | Fault):
        return ""
    if isinstance(what, Decide):
        return "enter: decide"
    if isinstance(what, Action) and read_only:
        return "disabled: this console is read-only"
    if by_hand(step):
        done = "x: it is not done" if mark is Mark.DONE else "x: it is done"
        return done if isinstance(what, Note) else f"by hand, outside this console. {done}"
    return "enter: see what it needs; that changes nothing"


# The document -----------------------------------------------------------------------------------


def document(runbook: Runbook) -> str:
    """The Markdown with a heading and a sentence where a step's block stands: `Step 3` can be gone
    to, and nobody has to read the language of the blocks."""
    made: list[str] = []
    number, inside = 0, False
    for text in runbook.text.splitlines():
        if inside:
            inside = text.strip() != "```"
        elif text.startswith("```") and text[3:].strip() in VERBS:
            inside, number = True, number + 1
            made += _step_markdown(number, runbook.steps[number - 1])
        else:
            made.append(text)
    return "\n".join(made) + "\n"


def _step_markdown(number: int, step: Step) -> list[str]:
    what = step.what
    rows = [f"#### Step {number}", "", f"**{step.verb}**: {step_title(step)}"]
    if isinstance(what, Probe):
        how = {
            ProbeMode.STEADY: f", then for {what.hold or 0:g} s",
            ProbeMode.CONTINUOUS: " at all times",
        }
        wants = ", ".join(f"`{one}`" for one in what.expect)
        rows[-1] = (
            rows[-1].removesuffix(".")
            + f". Wants {wants} within {what.within:g} s{how.get(what.mode, '')}."
        )
    if isinstance(what, Action):
        flags = "".join(f" --{name.replace('_', '-')}" for name, on in what.options.items() if on)
        rows[-1] += f" (`{what.do.value} {what.node.value}{flags}`)"
    if isinstance(what, Decide):
        rows += ["", *(f"- `{name}`: {text}" for name, text in what.branches.items())]
    elif what.branch:
        rows[-1] += f" Only in the branch `{what.branch}`."
    return [*rows, ""]
