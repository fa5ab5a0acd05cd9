"""`interlock status`: both nodes of a pair, side by side, as each says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..shared.config import load_config
from .common import DEFAULT_CONFIG, AsJson, ConfigPath
from .output import print_json

if TYPE_CHECKING:
    from ..shared.telemetry import NodeStatus

GOOD_STATES = {"GATED", "IN_SYNC"}
SERVING = {"GATED", "SOLO"}


def status(
    config: ConfigPath = DEFAULT_CONFIG,
    timeout: Annotated[float, typer.Option(min=0.05, help="Seconds to wait for a node.")] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Show both nodes of a pair: state, epoch, watermarks, lag, pending, and why.

    Exits with 0 if a primary serves, with 1 if none does (stalled, resuming, not reachable).
    """
    from ..client.control import ask_status

    nodes = ask_status(load_config(config), timeout)
    if as_json:
        print_json({"nodes": nodes})
    else:
        _print(nodes)
    serves = any(
        node and node.role == "primary" and node.state in SERVING for node in nodes.values()
    )
    raise typer.Exit(0 if serves else 1)


def _print(nodes: dict[str, NodeStatus | None]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in nodes:
        table.add_column(name, overflow="fold")
    cells = [_cells(node) for node in nodes.values()]
    for label in next((column for column in cells if len(column) > 1), cells[0]):
        table.add_row(label, *(column.get(label, "---") for column in cells))
    console = Console()
    console.print(table)
    for name, node in nodes.items():
        for reason, count in sorted((node.refused if node else {}).items()):
            console.print(f"{name} refused {count} x {reason}", markup=False)


def _cells(node: NodeStatus | None) -> dict[str, str]:
    if node is None:
        return {"state": "[red]does not answer[/red]"}
    from rich.markup import escape

    colour = "green" if node.state in GOOD_STATES else "yellow"
    marks = node.watermarks
    age_s = (node.time_ns - node.state_since_ns) / 1e9
    link = node.link
    return {
        "state": f"[{colour}]{node.state}[/{colour}] for {age_s:.0f} s",
        "why": escape(node.why),
        "role": node.role,
        "epoch": f"{node.epoch} {node.mode}, led by {node.leader}" if node.epoch else "none yet",
        "accepted": f"{marks.accepted_seq:,}",
        "written": f"{marks.written_seq:,}",
        "synced": f"{marks.synced_seq:,}",
        "acked": f"{marks.acked_seq:,}",
        "released": f"{marks.released_seq:,}",
        "pending": _pending(node),
        "link": f"{'up' if link.up else '[red]down[/red]'} to {link.peer}",
        "lag": f"{link.lag_messages:,} messages, {link.lag_bytes:,} bytes, {link.lag_ms:.1f} ms",
        "journal": f"from seq {node.journal.first_seq:,}, {node.journal.segments} segments, "
        f"{node.journal.disk_free_bytes / 2**30:.1f} GiB free",
        "process": f"pid {node.pid}, start {node.incarnation}, version {node.version}",
    }


def _pending(node: NodeStatus) -> str:
    pending = node.pending
    if node.role != "primary":
        return "-"
    return (
        f"{pending.messages:,} of {pending.max_messages:,}, oldest {pending.oldest_age_ms:.1f} ms"
    )
