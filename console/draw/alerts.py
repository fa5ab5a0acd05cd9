"""What must not be overlooked: the header, the alarms, contradictions, and what to do now. Pure."""

from __future__ import annotations

from typing import Final

from ...shared.wording import request_text
from ..alarm_kinds import SHAPES, Severity, severity_text
from ..view import AlarmView, View
from ..words import age_text, clock_text
from .lines import Line, Tone, by_age, cut, line, pad, text_of, width_of, wrapped

SEVERITY_TONES: Final = {1: Tone.BAD, 2: Tone.WARN, 3: Tone.ACCENT}
OPEN_STATES: Final = frozenset({"active", "latched"})


def header_line(view: View, marks: list[tuple[str, Tone]], width: int) -> Line:
    """One line over every screen: the pair, the alarms that wait for somebody, the gate."""
    name = f"{view.cluster[:8]} " if view.cluster else ""
    drill = [(" DRILL ", Tone.ACCENT)] if view.environment == "drill" else []
    left = line(("interlock ", Tone.TITLE), (name, Tone.DIM), " ")
    left += drill + [part for text, tone in marks for part in ((text, tone), (" ", Tone.PLAIN))]
    right = [*alarm_counts(view), ("  ", Tone.PLAIN), *_gate_word(view)]
    right += [("  ", Tone.PLAIN), (clock_text(int(view.at * 1e9)), Tone.DIM)]
    room = width - width_of(right) - 1
    return [*pad(cut(left, room), room), (" ", Tone.PLAIN), *right]


def _gate_word(view: View) -> Line:
    tones = {"OPEN": Tone.GOOD, "SOLO": Tone.ALARM}
    word = view.gate.word
    if word == "SOLO":
        return line((" UNPROTECTED ", Tone.ALARM))
    return line(("gate ", Tone.LABEL), (word, tones.get(word, Tone.BAD)))


def alarm_counts(view: View) -> Line:
    """`■2 ▲1 ●0`: those that nobody has acknowledged."""
    waiting = [alarm.severity for alarm in view.alarms if alarm.state in OPEN_STATES]
    made: Line = []
    for severity in Severity:
        number = waiting.count(severity)
        tone = SEVERITY_TONES[severity] if number else Tone.DIM
        made += line((f"{SHAPES[severity]}{number}", tone), " " if severity < 3 else "")
    return made


def alarm_line(alarm: AlarmView, width: int) -> Line:
    """`■ 1 CRITICAL  nothing is released: a: the link broke  12s`"""
    waits = alarm.state in OPEN_STATES
    tone = SEVERITY_TONES[alarm.severity] if waits else Tone.DIM
    state = "" if alarm.state == "active" else f" [{alarm.state}]"
    age = age_text(alarm.for_s)
    head = line((severity_text(alarm.severity), tone), f"  {alarm.title}{state}", f"  {age}  ")
    return cut([*head, *line((alarm.text, Tone.DIM))], width)


def alarm_lines(view: View, width: int, height: int) -> list[Line]:
    """As many alarms as fit, and how many more there are."""
    if not view.alarms:
        return [line(("no alarms", Tone.GOOD))]
    rows = [alarm_line(alarm, width) for alarm in view.alarms]
    if len(rows) <= height:
        return rows
    more = line((f"and {len(rows) - height + 1} more: press 6", Tone.DIM))
    return [*rows[: height - 1], more]


def now_lines(view: View, width: int, height: int) -> list[Line]:
    """What to do now: contradictions, advice, and the operations that fit with the key to them."""
    rows: list[Line] = []
    for node in view.nodes:
        if node.denied:
            rows += wrapped(f"! {node.why_silent}", width, Tone.BAD)
    for each in view.disagreements:
        said = "; ".join(f"{name} says {text}" for name, text in each.says.items())
        tone = Tone.BAD if each.grave else Tone.WARN
        rows += wrapped(f"! {each.what}: {said}: {each.meaning}", width, tone)
    keys = _suggestion_lines(view, width, max(1, height - 2))
    advice: list[Line] = []
    for text in view.advice:
        advice += wrapped(text, width)
    room = max(0, height - len(keys))
    body = [*rows, *advice]
    if len(body) > room > 0:
        body = [*body[: room - 1], [*cut(body[room - 1], width - 1), ("…", Tone.DIM)]]
    return [*body[:room], *keys][:height]


def _suggestion_lines(view: View, width: int, room: int) -> list[Line]:
    """The operations that fit, and the key to them; a line each, as far as there is room."""
    made: list[Line] = []
    for each in view.suggestions[:room]:
        lead = (
            line(("press o", Tone.ACCENT), " to look at: ") if not made else line(f"{'or: ':>20}")
        )
        made.append(
            cut([*lead, *line(f"{request_text(each.request)}  ", (each.why, Tone.DIM))], width)
        )
    return made


def event_lines(view: View, width: int, height: int) -> list[Line]:
    """The newest of what both nodes have noted, the newest first."""
    noted = [(text, node) for node in view.nodes if node.status for text in node.status.events]
    newest = sorted(noted, key=lambda one: one[0], reverse=True)
    return [
        cut(line((f"{node.name}  ", Tone.LABEL), (text, by_age(Tone.PLAIN, node.freshness))), width)
        for text, node in newest[:height]
    ]


def banner_lines(view: View, width: int) -> list[Line]:
    """The gravest alarm that waits, over the whole width; nothing if there is none."""
    waiting = [alarm for alarm in view.alarms if alarm.state == "active"]
    if not waiting or waiting[0].severity > Severity.WARNING:
        return []
    first = waiting[0]
    tone = Tone.ALARM if first.severity == Severity.CRITICAL else Tone.WARN
    text = text_of(alarm_line(first, width - 2))
    return [line((f" {text} ".ljust(width), tone))]
