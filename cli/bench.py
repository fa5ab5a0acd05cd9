"""`interlock bench`: measures the pair on this machine, alone and beside what else there is.

Decides what the commands are and what they print; what is measured, and how, is with `bench`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..shared.config import AckLevel
from .common import AsJson
from .output import complain, print_json

if TYPE_CHECKING:
    from ..bench.report import Report
    from ..bench.suite import Pace

FAILED = 1
REPORT = "report.json"

app = typer.Typer(
    help="Measure on this machine: latency, throughput, memory, and what a long log costs, on "
    "pairs of its own in temporary directories. Nothing else should run meanwhile.",
    no_args_is_help=True,
)

Out = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Write report.json and the charts (SVG) into this folder."),
]
Level = Annotated[AckLevel, typer.Option(help="What both nodes have done before a confirmation.")]
Rounds = Annotated[int, typer.Option(min=1, help="Runs of each contender, in turn.")]
Seconds = Annotated[float, typer.Option(min=0.2, help="How long one run counts.")]


@app.command()
def essential(
    out: Out = None,
    ack_level: Level = AckLevel.WRITTEN,
    rounds: Rounds = 3,
    seconds: Seconds = 2.0,
    open_seconds: Annotated[float, typer.Option(min=0.2, help="Of the open loop.")] = 60.0,
    log_messages: Annotated[
        int, typer.Option(min=10_000, help="Length to which a log is grown.")
    ] = 10_000_000,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="More of everything: about an hour.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure what the targets are about, in about six minutes, and judge it.

    Exits with 0 also when targets are missed: a slower machine is no error.
    """
    import msgspec

    from ..bench.suite import ESSENTIAL, THOROUGH

    lengths = (log_messages // 100, log_messages // 10, log_messages)
    pace = msgspec.structs.replace(
        THOROUGH if thorough else ESSENTIAL,
        rounds=rounds,
        seconds=seconds,
        open_s=open_seconds,
        lengths=lengths,
    )
    _measure("essential", pace, ack_level, out, as_json=as_json)


@app.command()
def peers(
    out: Out = None,
    ack_level: Level = AckLevel.WRITTEN,
    rounds: Rounds = 3,
    seconds: Seconds = 3.0,
    install: Annotated[
        bool, typer.Option("--install", help="First install what is missing, with apt-get (root).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure the pair beside Redis, NATS JetStream and PostgreSQL, in turn.

    Starts those that are installed, on loopback with ports and directories of their own, and stops
    them again; the others are skipped with a word about what to install.
    """
    from ..bench import debian
    from ..bench.suite import Pace

    if install:
        debian.install(complain)
    _measure("peers", Pace(rounds=rounds, seconds=seconds), ack_level, out, as_json=as_json)


@app.command()
def load(
    scenario: Annotated[
        str,
        typer.Argument(
            metavar="[KEY=VALUE,...]",
            help="Such as load=open,rate=20000,size=256,producers=4; the keys are those of a "
            "scenario in docs/performance.md.",
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Run one load on a pair of its own: any size, rate, window, number of clients, level."""
    from rich.console import Console

    from ..bench.run import run
    from ..bench.scenario import parse
    from ..bench.tables import cost_table, runs_table

    found = run(parse(scenario))
    if as_json:
        print_json(found)
        return
    console = Console()
    console.print(runs_table({"load": found}))
    console.print(cost_table("load", found))


@app.command()
def show(
    report: Annotated[Path, typer.Argument(metavar="REPORT", help="A report.json.")],
    out: Out = None,
) -> None:
    """Print a report again, judged by the targets of today; with --out draw its charts."""
    from ..bench import report as kept
    from ..bench.targets import judge

    found = kept.load(report)
    found.targets = judge(found)
    _tell(found, out)


def _measure(what: str, pace: Pace, level: AckLevel, out: Path | None, *, as_json: bool) -> None:
    from ..bench.suite import Suite

    suite = Suite(pace, complain, level)
    found = suite.peers() if what == "peers" else suite.essential()
    if out:
        from ..bench.report import save

        save(found, out / REPORT)
    if as_json:
        print_json(found)
    else:
        _tell(found, out)
    if found.failed:
        raise typer.Exit(FAILED)


def _tell(found: Report, out: Path | None) -> None:
    """Tables on stdout; charts into `out`."""
    from rich.console import Console

    from ..bench.plots import write
    from ..bench.tables import conditions, tables

    console = Console()
    console.print(conditions(found), highlight=False)
    for table in tables(found):
        console.print(table)
    for step, why in found.failed.items():
        console.print(f"not measured: {step}: {why}", markup=False)
    if out:
        for path in write(found, out):
            console.print(f"wrote {path}", markup=False)
