"""The operations of the pair as commands: switchover, promote, demote, solo, gate, and the others.

Decides what each command asks a node for. How an operation runs is `operation`, what an operator
has to type is `given`, which node is meant is `targets`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ..shared.config import Config, load_config
from ..shared.errors import UserError
from ..shared.operations import Operation, Request, Result
from ..shared.wording import request_text
from .common import DEFAULT_CONFIG, AsJson, ConfigPath
from .given import (
    AttestGiven,
    ConfirmGiven,
    Given,
    OperatorGiven,
    TimeoutGiven,
    WhyGiven,
    operator_name,
    parse_duration_ms,
)
from .operation import ASK_S, Ending, failing_text, finish, look, perform

if TYPE_CHECKING:
    from ..client.control import ControlClient

WAIT_S = 30.0

Leader = Annotated[str, typer.Argument(metavar="NODE", help="Default: the node that leads.")]
Named = Annotated[str, typer.Argument(metavar="NODE", help="The node that is to do it.")]
AcceptLoss = Annotated[
    bool, typer.Option("--accept-loss", help="Give up what the preflight lists as lost.")
]
For = Annotated[
    str,
    typer.Option(
        "--for", metavar="DURATION", help="As 90s, 10m, 2h: then stall. Default: until gated."
    ),
]


def _operate(config: Path, request: Request, given: Given) -> None:
    """Runs an operation to its end. The node of `request` may be empty: the fitting one."""
    from ..client.control import ControlClient

    loaded = load_config(config)
    control = ControlClient(loaded)
    found = _aim(control, loaded, request)
    ending = found if isinstance(found, Ending) else perform(control, found, given)
    finish(ending, as_json=given.as_json)


def _aim(control: ControlClient, config: Config, request: Request) -> Request | Ending:
    """The request with its node. Raises UserError if it names none of the pair's."""
    from .targets import choose, no_target

    if request.node:
        config.node(request.node)
        return request
    nodes = control.statuses(ASK_S)
    node = choose(request.operation, nodes)
    if not node:
        return Ending(Result.REFUSED, no_target(request.operation, nodes))
    return msgspec.structs.replace(request, node=node)


def switchover(
    node: Leader = "",
    config: ConfigPath = DEFAULT_CONFIG,
    reason: WhyGiven = "",
    operator: OperatorGiven = "",
    confirm: ConfirmGiven = "",
    attest: AttestGiven = "",
    timeout: TimeoutGiven = WAIT_S,
    as_json: AsJson = False,
) -> None:
    """Exchange the roles, planned: the leader hands over to its standby. Loses nothing.

    For maintenance, while both nodes run and the standby follows. If the primary is lost, what you
    want is: interlock promote
    """
    given = Given(reason, operator, confirm, attest, timeout, as_json)
    _operate(config, Request(Operation.SWITCHOVER, node), given)


def promote(
    node: Annotated[str, typer.Argument(metavar="NODE", help="Default: the standby.")] = "",
    solo: Annotated[
        bool, typer.Option("--solo", help="Release alone at once, without waiting for a standby.")
    ] = False,
    accept_loss: AcceptLoss = False,
    config: ConfigPath = DEFAULT_CONFIG,
    reason: WhyGiven = "",
    operator: OperatorGiven = "",
    confirm: ConfirmGiven = "",
    attest: AttestGiven = "",
    timeout: TimeoutGiven = WAIT_S,
    as_json: AsJson = False,
) -> None:
    """Fail over: make the standby the primary, when the primary is lost or was demoted.

    If the old primary cannot be asked, you attest that it is stopped and stays so: stop it first.
    The new primary is gated: it releases nothing until the other node is back as its standby
    (interlock reinstate), unless you let it with --solo, now, or with interlock solo, later.
    """
    given = Given(reason, operator, confirm, attest, timeout, as_json)
    request = Request(Operation.PROMOTE, node, solo=solo, accept_loss=accept_loss)
    _operate(config, request, given)


def demote(
    node: Leader = "",
    config: ConfigPath = DEFAULT_CONFIG,
    reason: WhyGiven = "",
    operator: OperatorGiven = "",
    confirm: ConfirmGiven = "",
    attest: AttestGiven = "",
    timeout: TimeoutGiven = WAIT_S,
    as_json: AsJson = False,
) -> None:
    """Make the leader a standby. Afterwards nobody leads, until: interlock promote

    To exchange the roles in one step, use: interlock switchover
    """
    given = Given(reason, operator, confirm, attest, timeout, as_json)
    _operate(config, Request(Operation.DEMOTE, node), given)


def solo(
    node: Leader = "",
    for_: For = "",
    accept_loss: AcceptLoss = False,
    config: ConfigPath = DEFAULT_CONFIG,
    reason: WhyGiven = "",
    operator: OperatorGiven = "",
    confirm: ConfirmGiven = "",
    attest: AttestGiven = "",
    timeout: TimeoutGiven = WAIT_S,
    as_json: AsJson = False,
) -> None:
    """Let the primary release without its standby. UNPROTECTED: one disk holds what is released.

    For a primary that is STALLED, or has restarted, while its standby is lost. It ends by itself
    when the standby has caught up, after --for, or by: interlock gate
    """
    given = Given(reason, operator, confirm, attest, timeout, as_json)
    for_ms = parse_duration_ms(for_)
    _operate(config, Request(Operation.SOLO, node, accept_loss=accept_loss, for_ms=for_ms), given)


def gate(
    node: Leader = "",
    config: ConfigPath = DEFAULT_CONFIG,
    reason: WhyGiven = "",
    operator: OperatorGiven = "",
    confirm: ConfirmGiven = "",
    attest: AttestGiven = "",
    timeout: TimeoutGiven = WAIT_S,
    as_json: AsJson = False,
) -> None:
    """End solo: release nothing more that the standby does not hold.

    Without a standby that follows, releases stop until there is one.
    """
    given = Given(reason, operator, confirm, attest, timeout, as_json)
    _operate(config, Request(Operation.GATE, node), given)


def reinstate(
    node: Named,
    accept_loss: AcceptLoss = False,
    reseed: Annotated[
        bool,
        typer.Option("--reseed", help="Set its whole journal aside, stream the leader's instead."),
    ] = False,
    config: ConfigPath = DEFAULT_CONFIG,
    reason: WhyGiven = "",
    operator: OperatorGiven = "",
    confirm: ConfirmGiven = "",
    attest: AttestGiven = "",
    timeout: TimeoutGiven = WAIT_S,
    as_json: AsJson = False,
) -> None:
    """Bring a FENCED (or DIVERGED) node back as the standby of the node that leads.

    What only NODE holds is cut off its log and kept: see interlock quarantine. Without
    --accept-loss only what was never released is cut.
    """
    given = Given(reason, operator, confirm, attest, timeout, as_json)
    request = Request(Operation.REINSTATE, node, accept_loss=accept_loss, reseed=reseed)
    _operate(config, request, given)


def pause(
    node: Leader = "",
    config: ConfigPath = DEFAULT_CONFIG,
    reason: WhyGiven = "",
    operator: OperatorGiven = "",
    confirm: ConfirmGiven = "",
    attest: AttestGiven = "",
    timeout: TimeoutGiven = WAIT_S,
    as_json: AsJson = False,
) -> None:
    """Take no submissions. What is pending is still released; roles stay as they are.

    It holds across restarts and failovers, until: interlock resume
    """
    given = Given(reason, operator, confirm, attest, timeout, as_json)
    _operate(config, Request(Operation.PAUSE, node), given)


def resume(
    node: Leader = "",
    config: ConfigPath = DEFAULT_CONFIG,
    reason: WhyGiven = "",
    operator: OperatorGiven = "",
    confirm: ConfirmGiven = "",
    attest: AttestGiven = "",
    timeout: TimeoutGiven = WAIT_S,
    as_json: AsJson = False,
) -> None:
    """Take submissions again, after: interlock pause"""
    given = Given(reason, operator, confirm, attest, timeout, as_json)
    _operate(config, Request(Operation.RESUME, node), given)


def shutdown(
    node: Named,
    config: ConfigPath = DEFAULT_CONFIG,
    reason: WhyGiven = "",
    operator: OperatorGiven = "",
    confirm: ConfirmGiven = "",
    attest: AttestGiven = "",
    timeout: TimeoutGiven = WAIT_S,
    as_json: AsJson = False,
) -> None:
    """End a node's process cleanly. A leader drains and closes its epoch first.

    The other node does not take over by itself: that is interlock switchover, before, or interlock
    promote, after.
    """
    given = Given(reason, operator, confirm, attest, timeout, as_json)
    _operate(config, Request(Operation.SHUTDOWN, node), given)


def approve(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="As the other operator got it.")],
    node: Annotated[str, typer.Option("--node", help="The node that gave the token.")],
    config: ConfigPath = DEFAULT_CONFIG,
    operator: OperatorGiven = "",
    as_json: AsJson = False,
) -> None:
    """Agree to another operator's operation, where the pair needs two (pair.approvals = 2).

    Look at what you agree to first: interlock preflight shows the same as the other operator saw.
    """
    from ..client.control import ControlClient
    from ..client.errors import OperationRefused

    loaded = load_config(config)
    loaded.node(node)
    who = operator_name(operator, loaded)
    try:
        approved = ControlClient(loaded).approve(node, token, who)
    except OperationRefused as refused:
        finish(Ending(Result.REFUSED, refused.text), as_json=as_json)
        return
    if approved is None:
        text = f"{node} has not answered; approving again does no harm"
        finish(Ending(Result.UNKNOWN, text), as_json=as_json)
        return
    names = ", ".join(approved.approvers)
    text = f"{request_text(approved.request)} is approved by {names}; it is executed by who asked"
    finish(Ending(Result.DONE, text), as_json=as_json)


def preflight(
    operation: Annotated[Operation, typer.Argument(metavar="OP", help="As the command is called.")],
    node: Annotated[
        str, typer.Argument(metavar="NODE", help="Default: as that command chooses it.")
    ] = "",
    solo: Annotated[bool, typer.Option("--solo", help="Of promote.")] = False,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Of promote, solo and reinstate.")
    ] = False,
    reseed: Annotated[bool, typer.Option("--reseed", help="Of reinstate.")] = False,
    for_: Annotated[str, typer.Option("--for", metavar="DURATION", help="Of solo.")] = "",
    entry: Annotated[str, typer.Option("--entry", help="Of discard and resubmit.")] = "",
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Show what an operation would need, do and cost. Changes nothing.

    OP: switchover, demote, promote, solo, gate, reinstate, pause, resume, shutdown, discard or
    resubmit. Exits with 0 if all guards pass, with 3 if one fails.
    """
    from ..client.control import ControlClient

    named_only = (Operation.REINSTATE, Operation.SHUTDOWN, Operation.DISCARD, Operation.RESUBMIT)
    if operation is Operation.KEYS:
        raise UserError("keys are no operation; see: interlock keys --help")
    if not node and operation in named_only:
        raise UserError(f"name the node: interlock preflight {operation.value} NODE")
    loaded = load_config(config)
    control = ControlClient(loaded)
    request = Request(operation, node, solo, accept_loss, reseed, parse_duration_ms(for_), entry)
    found = _aim(control, loaded, request)
    seen = found if isinstance(found, Ending) else look(control, found, quiet=as_json)
    if not isinstance(seen, Ending):
        passes = seen.passed
        seen = Ending(
            None if passes else Result.REFUSED,
            "all guards pass; nothing was changed" if passes else failing_text(seen),
            seen,
        )
    finish(seen, as_json=as_json)
