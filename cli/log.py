"""`interlock log`: look into journals, of stopped or running nodes, without changing them; and
`repair`, which changes one, of a stopped node.

Decides what the commands are and how they end. What is valid, damaged or different is decided in
`shared.journal`; how it looks, in `log_text` and `log_export`. `repair` is in a file of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ..shared.journal import JournalReader, diff, verify
from ..shared.wire import Kind
from .log_export import Format, rows, write
from .log_text import comparison_text, record_fields, record_lines, report_lines
from .output import print_json
from .repair import repair

if TYPE_CHECKING:
    from rich.table import Table

DAMAGED = DIFFERENT = 1

app = typer.Typer(
    help="Look into journals: list, show, verify, compare and export what a data directory holds. "
    "Reads stopped and running nodes alike, takes no lock and changes nothing; only repair does.",
    no_args_is_help=True,
)
app.command("repair")(repair)

DataDir = Annotated[
    Path,
    typer.Argument(metavar="DATA_DIR", help="A node's data directory (`data` in interlock.toml)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Control = Annotated[
    bool,
    typer.Option(
        "--control/--no-control", help="With or without control records (epochs, ticks, ...)."
    ),
]


@app.command("ls")
def list_(data_dir: DataDir, as_json: Json = False) -> None:
    """List the segments and checkpoints of a journal, from their headers.

    A segment is a file of records, named by the first seq in it; all but the newest are full. A
    checkpoint spares a restart from reading what lies before it. The contents are not checked: for
    that, use `interlock log verify`.
    """
    reader = JournalReader(data_dir)
    segments, checkpoints = reader.segments(), reader.checkpoints()
    if as_json:
        print_json({"directory": str(data_dir), "segments": segments, "checkpoints": checkpoints})
        return
    table = _table("segment", "first seq", "last seq", "records", "bytes used", "bytes")
    for one in segments:
        numbers = (one.first_seq, one.last_seq, one.records, one.bytes_used, one.bytes)
        table.add_row(Path(one.file).name, *(f"{number:,}" for number in numbers))
    _print(table)
    if not checkpoints:
        typer.echo("no checkpoints: the first is written when the first segment is full")
        return
    table = _table("checkpoint", "covers seq", "in segment", "at offset", "producers", "valid")
    for saved in checkpoints:
        places = (saved.seq, saved.segment, saved.offset, saved.producers)
        valid = "yes" if saved.ok else "NO"
        table.add_row(Path(saved.file).name, *(f"{place:,}" for place in places), valid)
    _print(table)


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right", no_wrap=True)
    return table


def _print(table: Table) -> None:
    """As wide as the terminal; into a pipe, never cut."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(table)


@app.command()
def show(
    data_dir: DataDir,
    from_seq: Annotated[
        int | None,
        typer.Option("--from", min=1, metavar="SEQ", help="Begin with the record that holds SEQ."),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", "-n", min=0, metavar="N", help="Show N records.")
    ] = None,
    control: Control = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per record and line.")
    ] = False,
) -> None:
    """Show records: header, then each message as text (or hex), control records decoded.

    Every record is checked on the way; damage ends the output with file, offset and seq.
    """
    reader = JournalReader(data_dir)
    records = (one for one in reader.records(from_seq) if control or one.kind is Kind.DATA)
    for number, record in enumerate(records):
        if number == count:
            break
        if as_json:
            sys.stdout.write(msgspec.json.encode(record_fields(record)).decode() + "\n")
        else:
            sys.stdout.writelines(f"{line}\n" for line in record_lines(record))
    else:
        if reader.torn is not None and not as_json:
            typer.echo(f"(an incomplete record follows: {reader.torn})")


@app.command("verify")
def verify_(
    data_dirs: Annotated[
        list[Path],
        typer.Argument(metavar="DATA_DIR...", help="Data directories of nodes, running or not."),
    ],
    as_json: Json = False,
) -> None:
    """Check every byte: checksums, hash chain, seqs, producer numbers, zero tails, checkpoints.

    Exit code 0 if all journals are clean, 1 if one is damaged (the first damage is told by file,
    offset and seq), 2 if there is no journal. An incomplete record at the very end is no damage: a
    killed node leaves it, and cuts it at its next start.
    """
    reports = [verify(data_dir) for data_dir in data_dirs]
    clean = all(report.ok for report in reports)
    if as_json:
        print_json({"ok": clean, "journals": reports})
    else:
        for report in reports:
            for line in report_lines(report):
                typer.echo(line)
    raise typer.Exit(0 if clean else DAMAGED)


@app.command("diff")
def diff_(
    dir_a: Annotated[Path, typer.Argument(metavar="DIR_A", help="A node's data directory.")],
    dir_b: Annotated[Path, typer.Argument(metavar="DIR_B", help="Another node's.")],
    as_json: Json = False,
) -> None:
    """Compare two journals byte by byte.

    Exit code 0 if both hold the same records, 1 if not: the first differing byte is told, or which
    one is longer. If one was pruned further than the other, what both still hold is compared.
    """
    found = diff(dir_a, dir_b)
    if as_json:
        print_json(found)
    else:
        typer.echo(comparison_text(found))
    raise typer.Exit(0 if found.identical else DIFFERENT)


@app.command()
def export(
    data_dir: DataDir,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write; - for standard output.")
    ],
    format_: Annotated[
        Format, typer.Option("--format", help="jsonl, or parquet (needs the extra `parquet`).")
    ] = Format.JSONL,
    from_seq: Annotated[
        int | None, typer.Option("--from", min=1, metavar="SEQ", help="Begin with message SEQ.")
    ] = None,
    control: Control = True,
) -> None:
    """Write one row per message: seq, epoch, time_ns, producer, producer_seq, kind and body.

    jsonl: `body` is text if it is valid UTF-8, otherwise there is `body_base64` instead, as in
    `interlock consume`. parquet: `body` is binary.
    """
    written = write(rows(JournalReader(data_dir), from_seq, control), format_, output)
    if str(output) != "-":
        typer.echo(f"{written:,} messages written to {output}")
