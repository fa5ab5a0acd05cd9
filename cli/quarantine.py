"""`interlock quarantine`: the tails that were cut off a node's log, and what becomes of them.

Decides what the commands are and when a tail counts as submitted again. The messages themselves
are submitted by `client.resubmit`; entries are marked by their node, as operations.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ..shared.config import load_config
from ..shared.errors import UserError
from ..shared.operations import Operation, Request, Result
from ..shared.textform import body_fields
from ..shared.wire import Kind, Record, decode_messages, parse_records
from .common import DEFAULT_CONFIG, AsJson, ConfigPath
from .given import AttestGiven, ConfirmGiven, Given, OperatorGiven, TimeoutGiven, WhyGiven
from .operate_text import console, time_text
from .operation import ASK_S, EXIT_CODES, Ending, carry_out, finish, look, perform, prepare
from .output import print_json

if TYPE_CHECKING:
    from ..client.control import ControlClient
    from ..client.resubmit import ProducerPart
    from ..shared.commands import QuarantineEntry

WAIT_S = 30.0

app = typer.Typer(
    help="The tails that were cut off a node's log when it was reinstated: list, export, submit "
    "again or discard them.",
    no_args_is_help=True,
)

Node = Annotated[str, typer.Argument(metavar="NODE", help="The node that keeps the entry.")]
Entry = Annotated[str, typer.Argument(metavar="ENTRY", help="As interlock quarantine list shows.")]


@app.command("list")
def list_(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List the quarantined tails of both nodes. Exits with 1 if a node does not answer."""
    from ..client.control import ControlClient
    from ..client.errors import ClientError

    loaded = load_config(config)
    control = ControlClient(loaded)
    found: dict[str, list[QuarantineEntry] | None] = {}
    for name in loaded.nodes:
        try:
            found[name] = control.quarantine(name, ASK_S)
        except ClientError:
            found[name] = None
    if as_json:
        print_json({"nodes": found})
    else:
        _show_entries(found)
    raise typer.Exit(1 if None in found.values() else 0)


def _show_entries(found: dict[str, list[QuarantineEntry] | None]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    columns = ("node", "entry", "state", "cut", "seq", "messages", "bytes", "producers", "why")
    for column in columns:
        table.add_column(column, overflow="fold")
    for node, entries in found.items():
        for entry in entries or []:
            names = ", ".join(
                f"{name} {count:,}" for name, count in sorted(entry.producers.items())
            )
            cells = (
                node,
                entry.name,
                entry.state,
                time_text(entry.cut_ns),
                f"{entry.first_seq:,} to {entry.last_seq:,}",
                f"{entry.messages:,}",
                f"{entry.size_bytes:,}",
                names,
                entry.why,
            )
            table.add_row(*map(Text, cells))
    out = console()
    if table.row_count:
        out.print(table)
    for node, entries in found.items():
        if entries is None:
            out.print(f"{node} does not answer")
        elif not entries:
            out.print(f"{node} keeps nothing in quarantine")


@app.command()
def export(
    node: Node,
    entry: Entry,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write; default: stdout.")
    ] = None,
    jsonl: Annotated[
        bool,
        typer.Option("--jsonl", help="The messages, one JSON object per line, as consume prints."),
    ] = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Write the records of an entry, byte by byte as they stood in the log, or its messages."""
    from ..client.control import ControlClient

    loaded = load_config(config)
    loaded.node(node)
    control = ControlClient(loaded)
    chunks: Iterable[bytes] = control.quarantine_chunks(node, entry)
    if jsonl:
        chunks = _lines(parse_records(b"".join(chunks)))
    if out is None:
        sys.stdout.buffer.writelines(chunks)
        sys.stdout.buffer.flush()
        return
    try:
        with out.open("xb") as file:
            file.writelines(chunks)
            size = file.tell()
    except FileExistsError:
        raise UserError(f"--out {out} exists already; name a new file") from None
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written: {error.strerror}") from None
    typer.echo(f"{size:,} bytes written to {out}")


def _lines(records: list[Record]) -> Iterator[bytes]:
    encoder = msgspec.json.Encoder()
    for record in records:
        if record.kind is not Kind.DATA:
            continue
        for index, body in enumerate(decode_messages(record.payload)):
            line = {
                "seq": record.seq + index,
                "epoch": record.epoch,
                "time_ns": record.time_ns,
                "producer": record.producer,
                "producer_seq": record.producer_seq + index,
                **body_fields(body),
            }
            yield encoder.encode(line) + b"\n"


@app.command(epilog=EXIT_CODES)
def discard(
    node: Node,
    entry: Entry,
    config: ConfigPath = DEFAULT_CONFIG,
    reason: WhyGiven = "",
    operator: OperatorGiven = "",
    confirm: ConfirmGiven = "",
    attest: AttestGiven = "",
    timeout: TimeoutGiven = WAIT_S,
    as_json: AsJson = False,
) -> None:
    """Delete the bytes of an entry for good. That it was there stays on record."""
    from ..client.control import ControlClient

    loaded = load_config(config)
    loaded.node(node)
    given = Given(reason, operator, confirm, attest, timeout, as_json)
    request = Request(Operation.DISCARD, node, entry=entry)
    finish(perform(ControlClient(loaded), request, given), as_json=as_json)


@app.command(epilog=EXIT_CODES)
def resubmit(
    node: Node,
    entry: Entry,
    config: ConfigPath = DEFAULT_CONFIG,
    reason: WhyGiven = "",
    operator: OperatorGiven = "",
    confirm: ConfirmGiven = "",
    attest: AttestGiven = "",
    timeout: TimeoutGiven = WAIT_S,
    as_json: AsJson = False,
) -> None:
    """Submit an entry's messages again, each under its producer's own name and number.

    What the log has by its number is not taken twice. A producer that is connected submits by
    itself and is left alone, so let your producers reconnect first. Exits with 1 if something could
    be submitted only in part; the entry then stays as it is, and the same command may run again.
    """
    from ..client.control import ControlClient

    loaded = load_config(config)
    loaded.node(node)
    control = ControlClient(loaded)
    given = Given(reason, operator, confirm, attest, timeout, as_json)
    leader = _leader(control)
    if isinstance(leader, Ending):
        finish(leader, as_json=as_json)
        return
    ending = _resubmit(
        control, Request(Operation.RESUBMIT, node, entry=entry), given, loaded.node(leader).intake
    )
    finish(ending, as_json=as_json)


def _leader(control: ControlClient) -> str | Ending:
    """The node whose intake takes the messages; an Ending if there is none."""
    from .targets import choose, no_target

    nodes = control.statuses(ASK_S)
    leader = choose(Operation.RESUBMIT, nodes)
    return leader or Ending(Result.REFUSED, no_target(Operation.RESUBMIT, nodes))


def _resubmit(control: ControlClient, request: Request, given: Given, intake: str) -> Ending:
    """Questions first, then the messages, then the mark: with a preflight of its own, as the token
    of the first one will not outlive a long tail."""
    from ..client.resubmit import by_producer, part_of, resubmit
    from ..shared.credentials import credentials

    records = parse_records(control.read_quarantine(request.node, request.entry))
    if not given.as_json:
        _show_parts([part_of(name, own) for name, own in by_producer(records).items()], done=False)
    sent = prepare(control, request, given)
    if isinstance(sent, Ending):
        return sent
    who = credentials(control.config, operator=True)
    parts = resubmit(intake, sent.preflight.cluster, records, who=who)
    if not given.as_json:
        _show_parts(parts, done=True)
    ending = _judge(parts, request)
    if ending is None:
        request = msgspec.structs.replace(request, detail=_summary(parts))
        again = look(control, request, quiet=True)
        if isinstance(again, Ending):
            ending = again
        elif not again.passed:
            ending = Ending(Result.REFUSED, "the entry could not be marked: run it again", again)
        else:
            ending = carry_out(control, sent.renewed(again))
    ending.more = {"producers": parts}
    return ending


def _judge(parts: list[ProducerPart], request: Request) -> Ending | None:
    """How it ends if the entry is not to be marked; None: it is."""
    from ..client.resubmit import Fate

    open_ = [part for part in parts if part.fate not in (Fate.DONE, Fate.CONNECTED)]
    if not open_:
        return None
    texts = "; ".join(f"{part.producer}: {part.text}" for part in open_)
    if any(part.fate is Fate.UNKNOWN for part in open_):
        return Ending(Result.UNKNOWN, f"{texts}; the entry {request.entry} stays as it is")
    text = (
        f"{texts}. What was submitted is in the log; the entry {request.entry} stays as it is. Run "
        "it again when the reason is gone, or look at it with interlock quarantine export"
    )
    return Ending(None, text, partly=True)


def _summary(parts: list[ProducerPart]) -> str:
    """For the receipt, cut to what fits one."""
    lines = [
        f"{part.producer} {part.submitted} submitted, {part.already_there} there, "
        f"{part.skipped} skipped"
        for part in parts
    ]
    return "; ".join(lines)[:1000]


def _show_parts(parts: list[ProducerPart], *, done: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    columns = ["producer", "numbers", "messages"]
    columns += ["submitted", "already there (by number)", "skipped", ""] if done else []
    for column in columns:
        table.add_column(column, overflow="fold")
    for part in parts:
        cells = [part.producer, f"{part.first_producer_seq:,} to {part.last_producer_seq:,}"]
        cells.append(f"{part.messages:,}")
        if done:
            counts = (part.submitted, part.already_there, part.skipped)
            cells += [*(f"{count:,}" for count in counts), part.text or part.fate.value]
        table.add_row(*map(Text, cells))
    out = console()
    if table.row_count:
        out.print(table)
    else:
        out.print("the entry holds no messages of producers, only records of the pair itself")
    out.print()
