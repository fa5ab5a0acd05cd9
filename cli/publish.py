"""`interlock publish`: submits the rows of a file as messages of one producer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..shared.config import load_config
from ..shared.errors import UserError
from .common import DEFAULT_CONFIG, AsJson, ConfigPath
from .output import print_json
from .rows import Format, read_rows

if TYPE_CHECKING:
    from ..client import Producer

PROGRESS_EVERY = 512  # rows between two looks at the clock


def publish(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Plain, .gz or .xz; - reads standard input.")
    ],
    producer: Annotated[str, typer.Option(help="Name to submit as: 1 to 16 ASCII characters.")],
    form: Annotated[
        Format, typer.Option("--format", help="What a row is; of csv, the header is no message.")
    ] = Format.LINES,
    config: ConfigPath = DEFAULT_CONFIG,
    window: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Messages that may be unconfirmed at once.")
    ] = 65_536,
    rate: Annotated[
        float, typer.Option(min=0, help="Messages per second at most; 0: as fast as it goes.")
    ] = 0,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on by position: row N is message N of this producer, so rows that the log "
            "holds already are not sequenced again.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Publish the rows of FILE, one message each, and wait until all are confirmed.

    Without --resume the rows are new messages, whatever this producer has published before.
    """
    from ..client import Producer

    loaded = load_config(config)
    begin = time.perf_counter()
    rows = read_rows(file, form)
    start = list(islice(rows, 1))  # a file that cannot be read takes no name over
    with Producer(producer, loaded, window=window, resume=resume) as client:
        first = client.next_producer_seq
        skipped = first - 1 if resume else 0
        try:
            _send_all(client, islice(chain(start, rows), skipped, None), rate, quiet=as_json)
        except UserError as error:
            client.flush()
            confirmed = client.confirmed_producer_seq - first + 1
            raise UserError(f"{error}; {confirmed:,} messages before it are confirmed") from None
        client.flush()
        confirmed = client.confirmed_producer_seq - first + 1
    _tell(producer, first, skipped, confirmed, time.perf_counter() - begin, as_json=as_json)


def _tell(
    producer: str, first: int, skipped: int, confirmed: int, seconds: float, *, as_json: bool
) -> None:
    per_second = confirmed / seconds if seconds else 0.0
    if as_json:
        print_json(
            {
                "producer": producer,
                "confirmed": confirmed,
                "skipped": skipped,
                "first_producer_seq": first,
                "seconds": round(seconds, 3),
                "msgs_per_s": round(per_second),
            }
        )
        return
    already = f" ({skipped:,} rows were in the log already)" if skipped else ""
    typer.echo(
        f"confirmed {confirmed:,} messages of {producer} in {seconds:.2f} s, "
        f"{per_second:,.0f} msg/s{already}"
    )


def _send_all(client: Producer, rows: Iterator[bytes], rate: float, *, quiet: bool) -> None:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    begin = time.perf_counter()
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("publishing")
        for count, row in enumerate(rows):
            if rate:
                _wait_until(begin + count / rate)
            if count % PROGRESS_EVERY == 0:
                bar.update(task, description=f"sent {count:,}, unconfirmed {client.unconfirmed:,}")
            client.send(row)


def _wait_until(moment: float) -> None:
    remaining = moment - time.perf_counter()
    if remaining > 0:
        time.sleep(remaining)
