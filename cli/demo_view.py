"""What the demo says at its end. Draws only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from .demo_run import DemoReport

UNFINISHED = (
    "You left while the two nodes did not work together, so nothing was judged. What was confirmed "
    "is in the log; what was not may be, or not."
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
    if report.secure:
        table.add_row("keys", "used by both nodes and every client")
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
