"""`interlock status`: both nodes of a pair, side by side, as each says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..shared.config import load_config
from .common import DEFAULT_CONFIG, AsJson, ConfigPath
from .output import print_json

if TYPE_CHECKING:
    from ..shared.telemetry import NodeStatus

SERVING = {"GATED", "SOLO"}


def status(
    config: ConfigPath = DEFAULT_CONFIG,
    timeout: Annotated[float, typer.Option(min=0.05, help="Seconds to wait for a node.")] = 1.0,
    as_json: AsJson = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on, line by line: what changes, and a summary.")
    ] = False,
    every: Annotated[
        float, typer.Option("--every", min=0.1, help="Of --watch: seconds between two summaries.")
    ] = 5.0,
) -> None:
    """Show both nodes of a pair: state, epoch, watermarks, lag, pending, why, and what to do now.

    Exits with 0 if a primary serves, with 1 if none does (stalled, resuming, not reachable). With
    --watch it goes on until it is interrupted; --watch --json prints the console's whole picture as
    one JSON object per line.
    """
    from ..client.advice import advise
    from ..client.control import ask_status

    loaded = load_config(config)
    if watch:
        from ..console.watch import watch as watch_pair

        watch_pair(loaded, every, as_json=as_json)
        return
    nodes = ask_status(loaded, timeout)
    advice = advise(nodes)
    if as_json:
        print_json({"nodes": nodes, "advice": advice})
    else:
        _print(nodes, advice)
    serves = any(
        node and node.role == "primary" and node.state in SERVING for node in nodes.values()
    )
    raise typer.Exit(0 if serves else 1)


def _print(nodes: dict[str, NodeStatus | None], advice: list[str]) -> None:
    from .status_text import show_divergence, show_keys, show_nodes, show_unprotected

    show_unprotected(nodes)
    show_keys(nodes)
    show_nodes(nodes)
    show_divergence(nodes)
    for name, node in nodes.items():
        for reason, count in sorted((node.refused if node else {}).items()):
            typer.echo(f"{name} refused {count} x {reason}")
    for line in advice:
        typer.echo(f"what now: {line}")
