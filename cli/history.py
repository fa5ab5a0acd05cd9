"""`interlock history`: who did what, when and why, from the log alone.

Decides where it is read and how it is printed. Reigns (epochs opened and closed) and operations are
records of the log like all others (`shared.story`), so it survives whoever wrote it.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ..shared.config import load_config
from ..shared.story import Event, event_of
from ..shared.wire import Record
from .common import DEFAULT_CONFIG, ConfigPath
from .operate_text import console, time_text
from .output import complain

if TYPE_CHECKING:
    from ..shared.config import Config


def history(
    config: ConfigPath = DEFAULT_CONFIG,
    node: Annotated[
        str, typer.Option("--node", help="Ask this node only; default: whichever knows most.")
    ] = "",
    from_seq: Annotated[
        int, typer.Option("--from-seq", min=1, metavar="SEQ", help="Begin at this seq.")
    ] = 1,
    limit: Annotated[
        int, typer.Option("--limit", min=0, metavar="N", help="The newest N only; 0: all.")
    ] = 0,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--dir", metavar="DATA_DIR", help="Read this data directory, for nodes that are down."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per event and line.")
    ] = False,
) -> None:
    """Show who did what to the pair, when and why: epochs and operations, oldest first, UTC.

    Everything comes from the log, so either node tells it, and a data directory does when no node
    runs. From a node: what is released. From a directory: also what its node has not released.
    """
    if data_dir is not None:
        from ..shared.journal import JournalReader

        reader = JournalReader(data_dir)
        events = _events(reader.records(from_seq if from_seq > 1 else None))
        _print(_newest(events, limit), as_json=as_json)
        return
    loaded = load_config(config)
    if node:
        loaded.node(node)
    _print(_newest(_from_nodes(loaded, node, from_seq), limit), as_json=as_json)


def _from_nodes(config: Config, node: str, from_seq: int) -> Iterator[Event]:
    from ..client.past import PastLog

    with PastLog(config, [node] if node else list(config.nodes)) as log:
        log.open()
        if log.first_seq > from_seq:
            complain(
                f"{log.node} keeps the log from seq {log.first_seq:,} on: what was before is "
                "not shown"
            )
        if not log.released_seq:
            complain(
                f"{log.node} does not know yet what is released; if no primary leads, read a data "
                "directory: interlock history --dir DATA_DIR"
            )
        yield from _events(log.records(from_seq))


def _events(records: Iterable[Record]) -> Iterator[Event]:
    return (event for event in map(event_of, records) if event is not None)


def _newest(events: Iterator[Event], limit: int) -> Iterable[Event]:
    return deque(events, maxlen=limit) if limit else events


def _print(events: Iterable[Event], *, as_json: bool) -> None:
    if as_json:
        encoder = msgspec.json.Encoder()
        for event in events:
            sys.stdout.write(encoder.encode(event).decode() + "\n")
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    columns = ("time", "seq", "epoch", "what", "node", "operator", "reason", "result", "pause")
    for column in columns:
        table.add_column(column, overflow="fold")
    for event in events:
        result = event.result
        if event.text and result != "DONE":
            result = f"{result}: {event.text}" if result else event.text
        cells = (
            time_text(event.time_ns),
            f"{event.seq:,}",
            str(event.epoch),
            event.what,
            event.node,
            event.operator or "-",
            event.reason,
            result,
            f"{event.pause_ms:,.1f} ms" if event.pause_ms else "",
        )
        table.add_row(*map(Text, cells))
    out = console()
    if table.row_count:
        out.print(table)
    else:
        out.print("no epoch and no operation is in this part of the log")
