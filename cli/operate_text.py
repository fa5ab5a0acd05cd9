"""How a preflight and a receipt look. Decides nothing about them.

Names and texts come from other machines and other people: they are printed as they are, never as
markup.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..shared.operations import Preflight, Receipt
from ..shared.wording import request_text, risk_text

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 160  # a table in a file or a pipe is not cut at 80 columns


def console() -> Console:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False, markup=False)


def time_text(time_ns: int) -> str:
    """A time of day in UTC, as it also stands in the nodes' logs."""
    return f"{datetime.fromtimestamp(time_ns / 1e9, UTC):%Y-%m-%dT%H:%M:%SZ}"


def show_preflight(preflight: Preflight) -> None:
    """Everything that a person has to know before saying yes."""
    from rich.table import Table
    from rich.text import Text

    out = console()
    request = preflight.request
    out.print(f"preflight: {request_text(request)}   (cluster {preflight.cluster})", style="bold")
    marks = preflight.watermarks
    out.print(
        f"{request.node}: epoch {preflight.epoch}, accepted {marks.accepted_seq:,}, written "
        f"{marks.written_seq:,}, synced {marks.synced_seq:,}, acked {marks.acked_seq:,}, released "
        f"{marks.released_seq:,}"
    )
    out.print(f"the other node: {preflight.peer}")
    table = Table(box=None, pad_edge=False)
    for column in ("guard", "ok", "observed", "needed"):
        table.add_column(column, overflow="fold")
    for guard in preflight.guards:
        ok = Text("yes", "green") if guard.passed else Text("NO", "bold red")
        table.add_row(Text(guard.name), ok, Text(guard.observed), Text(guard.needed))
    out.print()
    out.print(table)
    for guard in preflight.guards:
        if not guard.passed and guard.remedy:
            out.print(f"  to make `{guard.name}` pass: {guard.remedy}", style="yellow")
    out.print()
    out.print("loss ledger:", style="bold")
    for risk in preflight.risks:
        out.print(f"  {risk_text(risk)}", style="red" if risk.what == "lost" else "yellow")
    if not preflight.risks:
        out.print("  nothing is lost, cut or left in doubt")
    if preflight.consequences:
        out.print("what it does:", style="bold")
    for consequence in preflight.consequences:
        out.print(f"  - {consequence}")
    if preflight.attestation:
        out.print(f"needs your attestation: {preflight.attestation}", style="yellow")
    if preflight.approvals > 1:
        out.print(f"needs {preflight.approvals} operators, you are one of them", style="yellow")
    if preflight.token:
        out.print(
            f"token {preflight.token}, good for {preflight.expires_ms / 1000:.0f} s while both "
            "nodes stay as they are"
        )
    out.print()


def show_receipt(receipt: Receipt) -> None:
    """What was verified after the operation, and what it cost."""
    from rich.table import Table
    from rich.text import Text

    out = console()
    if receipt.checks:
        table = Table(box=None, pad_edge=False)
        for column in ("verified after", "ok", "observed"):
            table.add_column(column, overflow="fold")
        for check in receipt.checks:
            ok = Text("yes", "green") if check.passed else Text("NO", "bold red")
            table.add_row(Text(check.name), ok, Text(check.observed))
        out.print(table)
    took_ms = (receipt.finished_ns - receipt.started_ns) / 1e6
    who = " and ".join([receipt.operator, *receipt.approvers])
    what = request_text(receipt.request)
    pause = f", nothing was released for {receipt.pause_ms:,.1f} ms" if receipt.pause_ms else ""
    out.print(
        f"receipt {receipt.id}: {what} by {who}, {receipt.reason!r}, epoch {receipt.epoch}, "
        f"took {took_ms:,.1f} ms{pause}",
        soft_wrap=True,
    )
