"""How the status of a pair looks: the nodes side by side, and what must not be overlooked.

Decides nothing. What a node says is printed as it is, never as markup.
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ..console.keylist import keys_text, lists_differ
from ..shared.keyring import FILE
from ..shared.limits import BAN_SECONDS
from ..shared.telemetry import NodeStatus
from ..shared.wording import duration_text
from .operate_text import console, time_text

Nodes = Mapping[str, NodeStatus | None]

GOOD_STATES = {"GATED", "IN_SYNC"}
BAD_STATES = {"FENCED", "DIVERGED", "FAILED"}


def show_unprotected(nodes: Nodes) -> None:
    """Says so at the top if a node releases alone: since when, what, and until when."""
    for name, node in nodes.items():
        if node is None or node.unprotected is None:
            continue
        one = node.unprotected
        age_s = max(0, node.time_ns - one.since_ns) // 1_000_000_000
        until = (
            f"until {time_text(one.until_ns)}, then it stalls"
            if one.until_ns
            else "until the gate engages"
        )
        text = (
            f"UNPROTECTED: {name} releases without a standby since {time_text(one.since_ns)} "
            f"({duration_text(age_s * 1000)}): {one.messages:,} messages so far, {until}"
        )
        console().print(Panel(Text(text, "bold red"), border_style="red"))


def show_keys(nodes: Nodes) -> None:
    """Says so at the top if something is wrong with the keys: what, and what to do."""
    troubles = []
    for name, node in nodes.items():
        security = node.security if node else None
        if security is not None and security.error:
            troubles.append(f"KEYS of {name}: {security.error}")
        if security is not None and security.banned:
            who = ", ".join(security.banned)
            troubles.append(
                f"BANNED by {name} for too many bad frames: {who}; nothing is taken from them for "
                f"{BAN_SECONDS} s: ask the owner, or interlock keys revoke NAME"
            )
    if different := lists_differ(nodes):
        troubles.append(
            f"THE LISTS OF ALLOWED KEYS DIFFER: {different}; copy {FILE} from the right one, then: "
            "interlock keys reload"
        )
    for text in troubles:
        console().print(Panel(Text(text, "bold red"), border_style="red"))


def show_nodes(nodes: Nodes) -> None:
    """A column for each node."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in nodes:
        table.add_column(Text(name), overflow="fold")
    cells = [_cells(node) for node in nodes.values()]
    for label in _LABELS:
        if any(label in column for column in cells):
            table.add_row(Text(label), *(column.get(label, Text("---")) for column in cells))
    console().print(table)


def show_divergence(nodes: Nodes) -> None:
    """Both histories side by side from the first seq in which they differ."""
    for name, node in nodes.items():
        if node is None or node.divergence is None:
            continue
        other = next(each for each in nodes if each != name)
        found = node.divergence
        table = Table(box=None, pad_edge=False)
        for column in (f"{name} after seq {found.common_seq:,}", f"{other} after it"):
            table.add_column(Text(column), overflow="fold")
        for index in range(max(len(found.ours), len(found.theirs))):
            table.add_row(
                *(
                    Text(lines[index] if index < len(lines) else "")
                    for lines in (found.ours, found.theirs)
                )
            )
        out = console()
        out.print(f"DIVERGED: the first seq that differs is {found.common_seq + 1:,}", style="red")
        out.print(table)
        return  # the other node says the same from its side


_LABELS = (
    "state",
    "why",
    "fenced",
    "at work",
    "paused",
    "role",
    "promotable",
    "epoch",
    "handed over",
    "accepted",
    "written",
    "synced",
    "acked",
    "released",
    "pending",
    "link",
    "lag",
    "journal",
    "process",
    "keys",
    "drill",
)


def _cells(node: NodeStatus | None) -> dict[str, Text]:
    if node is None:
        return {"state": Text("does not answer", "red")}
    age_s = (node.time_ns - node.state_since_ns) / 1e9
    marks, link, journal = node.watermarks, node.link, node.journal
    cells = {
        "state": Text.assemble((node.state, _colour(node.state)), f" for {age_s:.0f} s"),
        "why": Text(node.why),
        "role": Text(node.role),
        "epoch": Text(
            f"{node.epoch} {node.mode}, led by {node.leader}" if node.epoch else "none yet"
        ),
        "accepted": Text(f"{marks.accepted_seq:,}"),
        "written": Text(f"{marks.written_seq:,}"),
        "synced": Text(f"{marks.synced_seq:,}"),
        "acked": Text(f"{marks.acked_seq:,}"),
        "released": Text(f"{marks.released_seq:,}"),
        "pending": Text(_pending(node)),
        "link": Text.assemble("up" if link.up else ("down", "red"), f" to {link.peer}"),
        "lag": Text(
            f"{link.lag_messages:,} messages, {link.lag_bytes:,} bytes, {link.lag_ms:.1f} ms"
        ),
        "journal": Text(
            f"from seq {journal.first_seq:,}, {journal.segments} segments, "
            f"{journal.disk_free_bytes / 2**30:.1f} GiB free"
        ),
        "process": Text(f"pid {node.pid}, start {node.incarnation}, version {node.version}"),
        "keys": Text(keys_text(node.security), "" if node.security else "dim"),
    }
    return cells | _standing(node)


def _standing(node: NodeStatus) -> dict[str, Text]:
    """What an operator has decided or has to know before deciding; only what there is."""
    cells: dict[str, Text] = {}
    if node.fenced:
        cells["fenced"] = Text(node.fenced, "red")
    if node.operation:
        cells["at work"] = Text(node.operation, "yellow")
    if node.paused:
        cells["paused"] = Text(f"takes no submissions: {node.paused}", "yellow")
    if node.role == "secondary":
        cells["promotable"] = (
            Text("yes", "green")
            if node.promotable
            else Text("no" if node.doubt in ("", node.fenced) else f"no: {node.doubt}", "yellow")
        )
    if node.closed_for:
        cells["handed over"] = Text(f"the epoch is closed, for {node.closed_for}")
    if node.environment == "drill":
        cells["drill"] = Text("this pair is for drills")
    return cells


def _colour(state: str) -> str:
    if state in GOOD_STATES:
        return "green"
    return "bold red" if state in BAD_STATES else "yellow"


def _pending(node: NodeStatus) -> str:
    pending = node.pending
    if node.role != "primary":
        return "-"
    return (
        f"{pending.messages:,} of {pending.max_messages:,}, oldest {pending.oldest_age_ms:.1f} ms"
    )
