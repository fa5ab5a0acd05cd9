"""One operation from the first look to its end, as a state machine. Pure; time is an argument.

Decides what an operator has to type before anything is sent, when what was typed does not count any
more, and what the end means: DONE, REFUSED, or UNKNOWN, which locks everything until it is settled.
What may run is decided by the nodes, once more, when they are asked.

Why the preflight is asked for again and again: somebody opens the dialog, reads for a minute, and
meanwhile the standby is lost. The table has to show that. Why a change takes the confirmation away:
the name was typed for what was shown then.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

import msgspec

from ..shared.errors import LocalError
from ..shared.operations import Guard, Preflight, Receipt, Request, Result
from ..shared.wording import request_text
from .words import age_text

MAX_OPERATOR_CHARS: Final = 64
MAX_REASON_CHARS: Final = 500
OLD_AFTER_S: Final = 8.0  # a preflight that could not be renewed for so long is not to be acted on
LEAST_LEFT_S: Final = 2.0  # of the token's time, so that it does not expire on the way


class Stage(Enum):
    """Where an operation is."""

    LOOKING = "looking"  # no preflight has come yet
    BLOCKED = "blocked"  # a guard fails
    FILLING = "filling"  # the guards pass; something has still to be typed
    READY = "ready"  # everything is there; it can be sent
    WAITING = "waiting"  # sent; another operator has to approve
    RUNNING = "running"  # sent, and begun for all we know
    DONE = "done"
    REFUSED = "refused"  # nothing was changed
    UNKNOWN = "unknown"  # it may have happened
    SETTLED = "settled"  # it was unknown, and it is known now that it left no trace


ENDED: Final = frozenset({Stage.DONE, Stage.REFUSED, Stage.SETTLED})


class Typed(msgspec.Struct, frozen=True):
    """What the operator has typed so far."""

    operator: str = ""
    reason: str = ""
    confirm: str = ""
    attest: str = ""


class Workflow:
    """One dialog. Public attributes are what it shows."""

    def __init__(self, request: Request, operator: str) -> None:
        self.request = request
        self.typed = Typed(operator=operator)
        self.preflight: Preflight | None = None
        self.trouble = ""  # why the newest look brought no preflight
        self.changed = ""  # why what was typed does not count any more
        self.voided = 0  # how often what was typed as confirmation was taken away
        self.steps: list[tuple[float, str]] = []  # progress: when, what
        self.receipt: Receipt | None = None
        self.text = ""  # how it ended
        self.sent_at: float | None = None
        self._looked_at: float | None = None
        self._expires = 0.0
        self._end: Stage | None = None

    # Looking ------------------------------------------------------------------------------------

    def choose(self, request: Request) -> None:
        """Another target or other flags: everything that was shown is void."""
        if self.sent_at is None and request != self.request:
            self.request, self.preflight, self.trouble = request, None, ""
            self._unconfirm("")

    def on_preflight(self, preflight: Preflight, now: float) -> None:
        """A preflight has come; ignored once the operation was sent or if it is another one's."""
        if self.sent_at is not None or preflight.request != self.request:
            return
        old, self.preflight = self.preflight, preflight
        self.trouble, self._looked_at = "", now
        self._expires = now + preflight.expires_ms / 1_000
        if old is not None and (what := change(old, preflight)):
            had_typed = self.typed.confirm or self.typed.attest
            self._unconfirm(f"{what}: confirm again" if had_typed else "")

    def on_no_preflight(self, why: str) -> None:
        """The node refused to tell, or did not answer."""
        if self.sent_at is None:
            self.trouble = why

    def type(self, typed: Typed) -> None:
        """The operator has typed."""
        if self.sent_at is None:
            if typed.confirm or typed.attest:
                self.changed = ""
            self.typed = typed

    def _unconfirm(self, why: str) -> None:
        self.changed = why
        self.voided += 1
        self.typed = msgspec.structs.replace(self.typed, confirm="", attest="")

    # What is missing ----------------------------------------------------------------------------

    def stage(self, now: float) -> Stage:
        if self._end is not None:
            return self._end
        if self.sent_at is not None:
            return Stage.RUNNING
        if self.preflight is None:
            return Stage.LOOKING
        if not self.preflight.passed:
            return Stage.BLOCKED
        return Stage.FILLING if self.missing(now) else Stage.READY

    def left_s(self, now: float) -> float:
        """For how long the token can still be used."""
        return max(0.0, self._expires - now) if self.preflight and self.preflight.token else 0.0

    def age_s(self, now: float) -> float | None:
        """How old the preflight is."""
        return None if self._looked_at is None else max(0.0, now - self._looked_at)

    def missing(self, now: float) -> list[str]:
        """What stands between the operator and sending it, in the order of the dialog."""
        preflight = self.preflight
        if preflight is None:
            return [self.trouble or f"waiting for the preflight of {self.request.node}"]
        found = []
        age_s = self.age_s(now) or 0.0
        if age_s > OLD_AFTER_S:
            why = f" ({self.trouble})" if self.trouble else ""
            found.append(f"the preflight is {age_text(age_s)} old{why}")
        failing = [guard.name for guard in preflight.guards if not guard.passed]
        if failing:
            found.append(f"guard fails: {', '.join(failing)}")
            return found
        if self.left_s(now) < LEAST_LEFT_S:
            found.append("the token has expired; a new preflight is asked for")
        return found + _not_typed(preflight, self.typed)

    def failing(self) -> list[Guard]:
        """The guards that fail."""
        return [] if self.preflight is None else [g for g in self.preflight.guards if not g.passed]

    # Sent ---------------------------------------------------------------------------------------

    def send(self, now: float) -> Preflight:
        """It is sent now. Call it at READY only; afterwards nothing that was typed can change."""
        if self.preflight is None or self.stage(now) is not Stage.READY:
            raise LocalError("an operation is sent before it is ready")
        self.sent_at = now
        self.on_step("sent", now)
        return self.preflight

    def can_wait(self, now: float) -> bool:
        """Whether it may be sent once more while another operator has not approved."""
        return self.left_s(now) > LEAST_LEFT_S

    def on_step(self, step: str, now: float) -> None:
        """What the node says that it is at; the same again is no news."""
        if not self.steps or self.steps[-1][1] != step:
            self.steps.append((now, step))

    def on_waiting(self, waiting: bool, now: float) -> None:
        """Whether another operator has to approve first."""
        if self._end in (None, Stage.WAITING):
            self._end = Stage.WAITING if waiting else None
            if waiting:
                self.on_step("waits for the approval of another operator", now)

    def on_receipt(self, receipt: Receipt, now: float) -> None:
        """It has ended, or it is known now how."""
        self.receipt, self.text = receipt, receipt.text
        self._end = {
            Result.DONE: Stage.DONE,
            Result.REFUSED: Stage.REFUSED,
            Result.UNKNOWN: Stage.UNKNOWN,
        }[receipt.result]
        self.on_step(receipt.result.name, now)

    def on_refused(self, text: str, now: float) -> None:
        """The node did not begin it."""
        self._end, self.text = Stage.REFUSED, text
        self.on_step("REFUSED", now)

    def on_no_answer(self, what: str, now: float) -> None:
        """Nobody knows. Never "failed": it may have happened, and the answer been lost."""
        self._end = Stage.UNKNOWN
        self.text = (
            f"{what}: {request_text(self.request)} may have happened, may still happen, or may "
            "not. Do not repeat it. Check who leads on the overview, and whether this token is in "
            "the history; this dialog goes on asking both nodes"
        )
        self.on_step("UNKNOWN", now)

    def on_no_trace(self, text: str, now: float) -> None:
        """It was unknown; both nodes and the log know nothing of it, or a person has checked."""
        if self._end is Stage.UNKNOWN:
            self._end, self.text = Stage.SETTLED, text
            self.on_step("SETTLED", now)

    @property
    def token(self) -> str:
        return self.preflight.token if self.preflight else ""

    @property
    def locks(self) -> bool:
        """Whether no other operation may be begun from this console."""
        return self._end in (Stage.UNKNOWN, Stage.WAITING) or (
            self.sent_at is not None and self._end is None
        )


def _not_typed(preflight: Preflight, typed: Typed) -> list[str]:
    found = []
    if not 0 < len(typed.operator) <= MAX_OPERATOR_CHARS or not typed.operator.isprintable():
        found.append("who you are (1 to 64 characters)")
    if not 0 < len(typed.reason.strip()) <= MAX_REASON_CHARS:
        found.append("the reason (1 to 500 characters)")
    if preflight.attestation and not same_words(typed.attest, preflight.attestation):
        found.append("the attestation, as it stands")
    if typed.confirm != preflight.confirm:
        found.append(f"the node's name to confirm: {preflight.confirm}")
    return found


def same_words(one: str, two: str) -> bool:
    """Whether two sentences say the same: case and spacing do not count."""
    return one.casefold().split() == two.casefold().split()


def change(old: Preflight, new: Preflight) -> str:
    """What is so different in the newer preflight that a confirmation of the older one does not
    count; empty: only numbers have moved."""
    if _outcomes(old) != _outcomes(new):
        return "the guards have changed"
    if old.attestation != new.attestation:
        return "another attestation is needed"
    if {risk.what for risk in old.risks} != {risk.what for risk in new.risks}:
        return "what it would cost has changed"
    if [_words(text) for text in old.consequences] != [_words(text) for text in new.consequences]:
        return "what it would do has changed"
    return ""


def _outcomes(preflight: Preflight) -> list[tuple[str, bool]]:
    return [(guard.name, guard.passed) for guard in preflight.guards]


def _words(text: str) -> str:
    return re.sub(r"[\d,.]+", "#", text)
