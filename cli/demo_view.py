"""What the demo shows while it runs: both nodes, the load and the checker. Draws only."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ..shared.telemetry import NodeStatus
    from .demo_run import DemoReport, DemoRun

GOOD = {"GATED", "IN_SYNC"}
RATE_OVER_S = 1.0


class Rates:
    """Deliveries per second over the last second."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, delivered: int) -> float:
        now = time.monotonic()
        self._seen.append((now, delivered))
        while len(self._seen) > 2 and now - self._seen[0][0] > RATE_OVER_S:
            self._seen.popleft()
        then, before = self._seen[0]
        return (delivered - before) / (now - then) if now > then else 0.0


def watch(run: DemoRun, console: Console) -> DemoReport:
    """Runs the demo and draws it as it goes."""
    rates = Rates()
    with Live(console=console, auto_refresh=False) as live:
        run.on_sample = lambda: live.update(draw(run, rates), refresh=True)
        return run.run()


def draw(run: DemoRun, rates: Rates) -> Group:
    """One picture of a run."""
    load, check = run.load, run.check
    delivered = check.delivered if check else 0
    nodes = Table.grid(padding=(0, 3))
    for name, node in run.nodes.items():
        nodes.add_row(*_node(name, node))
    flow = Table.grid(padding=(0, 3))
    flow.add_row("confirmed", f"{load.confirmed if load else 0:,} of {run.options.messages:,}")
    flow.add_row("delivered", f"{delivered:,}   at {rates.add(delivered):,.0f} msg/s")
    if load:
        flow.add_row("RTT", f"p50 {load.p50_us:,.0f} us   p99 {load.p99_us:,.0f} us")
    wrong = (check.gaps + check.duplicates + check.out_of_order) if check else 0
    flow.add_row(
        "checked",
        Text("no gap, no duplicate, in order", "green")
        if not wrong
        else Text(f"{wrong} messages are missing, doubled or out of order", "bold red"),
    )
    bar = ProgressBar(total=run.options.messages, completed=delivered, width=60)
    title = Text(f"interlock demo: {run.phase}")
    return Group(Panel(Group(nodes, Text(), flow, Text(), bar), title=title, width=78))


def _node(name: str, node: NodeStatus | None) -> tuple[Text, ...]:
    if node is None:
        return (Text(name, "bold"), Text("down", "bold red"), Text("does not answer"), Text())
    marks, pending = node.watermarks, node.pending
    colour = "green" if node.state in GOOD else "yellow"
    where = f"epoch {node.epoch}, released {marks.released_seq:,}"
    if node.role == "primary":
        held = f"pending {pending.messages:,}, lag {node.link.lag_ms:.1f} ms"
    else:
        held = f"holds {marks.written_seq:,}"
    return (
        Text(f"{name} {node.role}", "bold"),
        Text(node.state, f"bold {colour}"),
        Text(where),
        Text(held),
    )


def verdict(report: DemoReport) -> Table:
    """The report for people."""
    table = Table.grid(padding=(0, 3))
    ok = Text("everything held", "bold green") if report.ok else Text("FAILED", "bold red")
    table.add_row("verdict", ok)
    table.add_row(
        "messages",
        f"{report.confirmed:,} confirmed, {report.delivered:,} delivered "
        f"of {report.messages:,}, {report.size_bytes} bytes each",
    )
    table.add_row(
        "order", f"gaps {report.gaps}, duplicates {report.duplicates}, in order: {report.in_order}"
    )
    table.add_row("content", "as it was sent" if report.content_identical else "DIFFERS")
    table.add_row(
        "journals", "byte-identical" if report.journals_identical else "DIFFER between the nodes"
    )
    table.add_row(
        "gate",
        f"{report.unacked_released} released without the standby, "
        f"in {report.released_samples} samples",
    )
    table.add_row("rate", f"{report.throughput_msgs_per_s:,} msg/s, end to end, checked")
    table.add_row("RTT", f"p50 {report.rtt_us['p50']:,.0f} us, p99 {report.rtt_us['p99']:,.0f} us")
    if report.failover:
        table.add_row("failover", f"{report.failover}, epochs: {report.epochs}")
        for line in report.operations:
            table.add_row("", line)
        table.add_row("pause", f"{report.pause_ms:,.1f} ms without a message, as the consumer saw")
    if report.killed:
        table.add_row("fault", f"kill -9 of the {report.killed} half-way, epochs: {report.epochs}")
    return table
