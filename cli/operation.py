"""One operation from its preflight to its end, for every command that asks for one.

Decides the order of the steps, and how an operation ends: DONE, REFUSED or UNKNOWN, each with its
exit code. What has to hold is decided by the nodes.

Why no answer is not a failure: the node may have promoted itself and its answer been lost. A person
who reads "failed" starts the next thing. So silence is settled by asking what became of the token,
and if that stays open, the end is called UNKNOWN, with what to look at.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import typer

from ..shared.errors import Reason, UserError
from ..shared.operations import Preflight, Receipt, Request, Result
from ..shared.wording import request_text
from .given import Given, complete, operator_name
from .operate_text import console, show_preflight, show_receipt
from .output import print_json
from .progress import Progress

if TYPE_CHECKING:
    from ..client.control import ControlClient

DONE = 0
FAILED = 1
MISTAKE = 2
REFUSED = 3
UNKNOWN = 4
CODES = {Result.DONE: DONE, Result.REFUSED: REFUSED, Result.UNKNOWN: UNKNOWN}
EXIT_CODES = (
    "Exit codes: 0 DONE; 3 REFUSED, nothing was changed; 4 UNKNOWN, it may have happened, see "
    "interlock status and interlock history; 2 something was not given or mistyped; 1 it failed."
)

ASK_S = 3.0  # for answers that a node gives at once
SETTLE_S = 5.0  # how long the fate of an operation without an answer is asked for
POLL_S = 0.5


class Ending(msgspec.Struct):
    """How a command for an operation ends: what `--json` prints, with `more` besides.

    `result` None: it was not executed, as it was not asked to be, or only a part of it was done
    (`partly`).
    """

    result: Result | None
    text: str
    preflight: Preflight | None = None
    receipt: Receipt | None = None
    partly: bool = False
    more: dict[str, object] = {}

    @property
    def code(self) -> int:
        if self.partly:
            return FAILED
        return CODES[self.result] if self.result else DONE


class Sent(msgspec.Struct):
    """What was typed for a preflight; ready to be executed."""

    preflight: Preflight
    given: Given
    expires: float  # of time.monotonic

    def renewed(self, preflight: Preflight) -> Sent:
        """The same, for a newer preflight of what was confirmed."""
        return Sent(preflight, self.given, time.monotonic() + preflight.expires_ms / 1000)


def finish(ending: Ending, *, as_json: bool) -> None:
    """Prints how it ended, and ends the command with the exit code that says the same."""
    if as_json:
        _print_ending(ending, ending.code)
    else:
        out = console()
        if ending.receipt is not None:
            show_receipt(ending.receipt)
        style = {DONE: "bold green", UNKNOWN: "bold yellow"}.get(ending.code, "bold red")
        if ending.result or ending.partly:
            word = ending.result.name if ending.result else "NOT ALL OF IT"
            out.print(f"{word}: {ending.text}", style=style, soft_wrap=True)
        elif ending.text:
            out.print(ending.text, soft_wrap=True)
    raise typer.Exit(ending.code)


def _print_ending(ending: Ending, code: int) -> None:
    print_json(
        {
            "result": ending.result.value if ending.result else None,
            "exit_code": code,
            "text": ending.text,
            "preflight": ending.preflight,
            "receipt": ending.receipt,
            **ending.more,
        }
    )


def perform(control: ControlClient, request: Request, given: Given) -> Ending:
    """Preflight, questions, execution. Raises UserError if something is missing or mistyped."""
    sent = prepare(control, request, given)
    return sent if isinstance(sent, Ending) else carry_out(control, sent)


def look(control: ControlClient, request: Request, *, quiet: bool) -> Preflight | Ending:
    """The preflight, shown unless `quiet`; how it ended if the node gave none."""
    from ..client.errors import ClientError, OperationRefused

    try:
        preflight = control.preflight(request, ASK_S)
    except OperationRefused as refused:
        return Ending(Result.REFUSED, refused.text)
    except ClientError as error:
        return Ending(Result.REFUSED, f"{error}; nothing was begun; see: interlock status")
    if not quiet:
        show_preflight(preflight)
    return preflight


def failing_text(preflight: Preflight) -> str:
    """Which guards fail, and what would make each pass."""
    return "; ".join(
        f"{guard.name}: observed {guard.observed}, needed {guard.needed}"
        + (f"; {guard.remedy}" if guard.remedy else "")
        for guard in preflight.guards
        if not guard.passed
    )


def prepare(control: ControlClient, request: Request, given: Given) -> Sent | Ending:
    """Everything before the execution. An Ending if a guard fails.

    A token that has expired while a person was typing is replaced: by a new preflight, which is
    shown, and which has to be confirmed anew.
    """
    given.operator = operator_name(given.operator, control.config)
    while True:
        preflight = look(control, request, quiet=given.as_json)
        if isinstance(preflight, Ending):
            return preflight
        expires = time.monotonic() + preflight.expires_ms / 1000
        if not preflight.passed:
            return Ending(Result.REFUSED, failing_text(preflight), preflight)
        try:
            typed = complete(preflight, given)
        except UserError as error:
            if given.as_json:  # one object, whatever happens; the sentence is on stderr too
                _print_ending(Ending(None, str(error), preflight), MISTAKE)
            raise
        if time.monotonic() < expires:
            return Sent(preflight, typed, expires)
        typer.echo("the preflight has expired meanwhile; this is the present one:\n", err=True)
        given = msgspec.structs.replace(typed, confirm="", attest="")


def carry_out(control: ControlClient, sent: Sent) -> Ending:
    """Executes, waits for a second operator if one is needed, and settles a missing answer."""
    from ..client.errors import OperationRefused

    preflight, given = sent.preflight, sent.given
    node = preflight.request.node
    told = False
    while True:
        try:
            with Progress(control, preflight, shown=not given.as_json):
                receipt = control.execute(
                    node,
                    preflight.token,
                    given.operator,
                    given.reason,
                    given.confirm,
                    given.attest,
                    given.timeout,
                )
        except OperationRefused as refused:
            waits = preflight.approvals > 1 and refused.reason is Reason.NOT_CONFIRMED
            if not waits or time.monotonic() >= sent.expires:
                return Ending(Result.REFUSED, refused.text, preflight)
            if not told:
                told = True
                _ask_for_approval(sent)
            time.sleep(POLL_S)
            continue
        except KeyboardInterrupt:
            return _unknown(preflight, "it was interrupted after it had been asked for")
        if receipt is None:
            return _settle(control, preflight, given.timeout)
        return Ending(receipt.result, receipt.text, preflight, receipt)


def _ask_for_approval(sent: Sent) -> None:
    token, request = sent.preflight.token, sent.preflight.request
    left_s = max(0.0, sent.expires - time.monotonic())
    typer.echo(
        f"waits up to {left_s:.0f} s for another operator than {sent.given.operator} to run:\n"
        f"    interlock approve {token} --node {request.node} --operator OTHER",
        err=True,
    )


def _settle(control: ControlClient, preflight: Preflight, waited_s: float) -> Ending:
    """No answer came: what became of the token?"""
    node = preflight.request.node
    what = f"{node} has not answered within {waited_s:g} s"
    try:
        found = control.settle(node, preflight.token, SETTLE_S)
    except KeyboardInterrupt:
        return _unknown(preflight, what)
    if isinstance(found, Receipt):
        return Ending(found.result, found.text, preflight, found)
    if found is not None:
        what = f"it has not ended within {waited_s:g} s ({found.step})"
    return _unknown(preflight, what)


def _unknown(preflight: Preflight, what: str) -> Ending:
    request = preflight.request
    return Ending(
        Result.UNKNOWN,
        f"{what}: {request_text(request)} may have happened, may still happen, or may not. Check "
        f"with interlock status who leads, and with interlock history whether operation "
        f"{preflight.token} is in the log, before you do anything else",
        preflight,
    )
