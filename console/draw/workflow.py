"""One operation: its guards, its cost, its progress and its receipt. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...shared.operations import Guard, Preflight, Receipt, Risk
from ...shared.telemetry import Watermarks
from ...shared.wording import request_text, risk_text
from ..words import age_text, count_text, ms_text
from ..workflow import Stage, Workflow
from .lines import Line, Tone, line, wrapped

RISK_TONES: Final = {"lost": Tone.BAD, "in doubt": Tone.BAD}
STAGE_TONES: Final = {
    Stage.DONE: Tone.GOOD,
    Stage.REFUSED: Tone.BAD,
    Stage.UNKNOWN: Tone.ALARM,
    Stage.BLOCKED: Tone.BAD,
    Stage.READY: Tone.GOOD,
}


def preflight_lines(flow: Workflow, now: float, width: int) -> list[Line]:
    """Everything that a person has to know before saying yes."""
    preflight = flow.preflight
    if preflight is None:
        tone = Tone.BAD if flow.trouble else Tone.DIM
        return wrapped(flow.trouble or "asking the node what this needs...", width, tone)
    rows = guard_lines(preflight.guards, width)
    rows += [line(), *ledger_lines(preflight, width)]
    if preflight.consequences:
        rows += [line(), line(("what it does", Tone.TITLE))]
        for text in preflight.consequences:
            tone = Tone.WARN if text.startswith("UNPROTECTED") else Tone.PLAIN
            rows += wrapped(text, width, tone, "- ")
    rows += wrapped(f"the other node: {preflight.peer}", width, Tone.DIM)
    if flow.trouble:
        age = age_text(flow.age_s(now))
        rows += wrapped(f"this is {age} old: {flow.trouble}", width, Tone.BAD)
    return rows


def guard_lines(guards: Sequence[Guard], width: int) -> list[Line]:
    """Each guard with what was observed; one that fails also with what is needed and the remedy."""
    rows: list[Line] = []
    for guard in guards:
        if guard.passed:
            rows += wrapped(f"{guard.name}: {guard.observed}", width, Tone.GOOD, "ok  ")
            continue
        rows += wrapped(guard.name, width, Tone.BAD, "NO  ")
        rows += wrapped(guard.observed, width, Tone.PLAIN, "    observed: ")
        rows += wrapped(guard.needed, width, Tone.PLAIN, "    needed:   ")
        if guard.remedy:
            rows += wrapped(guard.remedy, width, Tone.ACCENT, "    do:       ")
    return rows


def ledger_lines(preflight: Preflight, width: int) -> list[Line]:
    """The loss ledger: what is released, acked and held now, and what this operation costs."""
    marks = preflight.watermarks
    rows = [line(("loss ledger ", Tone.TITLE), _marks_text(preflight.request.node, marks))]
    for risk in preflight.risks:
        rows += wrapped(risk_text(risk), width, _risk_tone(risk), "  ")
    if not preflight.risks:
        rows.append(line(("  nothing is lost, cut or left in doubt", Tone.GOOD)))
    return rows


def _marks_text(node: str, marks: Watermarks) -> str:
    """After a start a node does not know what is released before it is told."""
    if not marks.released_seq:
        return f"{node} holds {marks.accepted_seq:,}, and does not know what of it is released"
    held = max(0, marks.accepted_seq - marks.released_seq)
    acked = count_text(marks.acked_seq or None)
    return f"released {marks.released_seq:,}, acked {acked}, held and not released {held:,}"


def _risk_tone(risk: Risk) -> Tone:
    return RISK_TONES.get(risk.what, Tone.WARN)


def demand_lines(flow: Workflow, now: float, width: int) -> list[Line]:
    """What has to be attested, what has still to be typed, and for how long the token is good."""
    stage = flow.stage(now)
    rows: list[Line] = []
    if flow.preflight is not None and flow.preflight.attestation:
        rows.append(line(("attest, if it is true and only then:", Tone.WARN)))
        rows += wrapped(flow.preflight.attestation, width, Tone.TITLE, "  ")
    if flow.changed:
        rows += wrapped(flow.changed, width, Tone.WARN)
    missing = flow.missing(now)
    if stage is Stage.READY:
        rows.append(line(("everything is there: press the button to send it", Tone.GOOD)))
    else:
        tone = STAGE_TONES.get(stage, Tone.WARN)
        rows += wrapped(f"missing: {'; '.join(missing)}", width, tone)
    left_s = flow.left_s(now)
    if left_s:
        tone = Tone.WARN if left_s < 10 else Tone.DIM
        rows.append(
            line((f"token {flow.token} good for {left_s:.0f} s, renewed while you read", tone))
        )
    return rows


def progress_lines(flow: Workflow, now: float, width: int) -> list[Line]:
    """What has happened since it was sent."""
    stage = flow.stage(now)
    sent_at = flow.sent_at or now
    rows = [line((request_text(flow.request), Tone.TITLE), (f"  token {flow.token}", Tone.DIM))]
    for at, step in flow.steps:
        rows += wrapped(step, width, Tone.PLAIN, f"{f'+{at - sent_at:.1f}s':>7}  ")
    if stage in (Stage.RUNNING, Stage.WAITING):
        text = f"{f'+{now - sent_at:.1f}s':>7}  ..."
        rows.append(line((text, Tone.DIM)))
    if stage is Stage.WAITING:
        rows += _approval_lines(flow, now, width)
    rows.append(line())
    return rows


def _approval_lines(flow: Workflow, now: float, width: int) -> list[Line]:
    node = flow.request.node
    rows = [line()]
    rows += wrapped(
        f"Another operator than {flow.typed.operator} has to approve within "
        f"{flow.left_s(now):.0f} s: on another console with Operations > approve, or by",
        width,
        Tone.WARN,
    )
    command = f"  interlock approve {flow.token} --node {node} --operator OTHER"
    return [*rows, line((command, Tone.ACCENT))]


def outcome_lines(flow: Workflow, now: float, width: int) -> list[Line]:
    """How it has ended: never "failed" for something that may have happened."""
    stage = flow.stage(now)
    if stage in (Stage.RUNNING, Stage.WAITING):
        return []
    tone = STAGE_TONES.get(stage, Tone.WARN)
    rows = [line((f" {stage.name} ", tone))]
    rows += wrapped(flow.text, width)
    if stage is Stage.REFUSED:
        rows.append(line(("nothing was changed", Tone.DIM)))
    if flow.receipt is not None:
        rows += [line(), *receipt_lines(flow.receipt, width)]
    return rows


def receipt_lines(receipt: Receipt, width: int) -> list[Line]:
    """What was verified after an operation, and what it cost."""
    rows: list[Line] = []
    for check in receipt.checks:
        word, tone = ("ok", Tone.GOOD) if check.passed else ("NO", Tone.BAD)
        rows += wrapped(f"{check.name}: {check.observed}", width, tone, f"{word}  ")
    took_ms = (receipt.finished_ns - receipt.started_ns) / 1e6
    who = " and ".join([receipt.operator, *receipt.approvers])
    pause = f", nothing was released for {ms_text(receipt.pause_ms)}" if receipt.pause_ms else ""
    text = (
        f"receipt {receipt.id}: {request_text(receipt.request)} by {who}, {receipt.reason!r}, "
        f"epoch {receipt.epoch}, took {ms_text(took_ms)}{pause}"
    )
    rows += wrapped(text, width, Tone.DIM)
    if receipt.attestation:
        rows += wrapped(f"attested: {receipt.attestation}", width, Tone.DIM)
    return rows
