"""`interlock demo`: a real pair under load, on this machine, watched and checked."""

from __future__ import annotations

import os
import signal
import sys
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from ..shared.config import AckLevel
from ..shared.errors import UserError
from .common import AsJson
from .output import print_json

if TYPE_CHECKING:
    from .demo_run import DemoRun

HEADLESS_MESSAGES = 100_000
WATCHED_MESSAGES = 3_600_000  # half an hour
WATCHED_RATE = 2_000.0
DRILL_MESSAGES = 300_000  # watched, with something that happens half-way
WATCHED_PATIENCE_S = 86_400.0  # an operator may look at a pair that releases nothing
DRILL_RATE = 20_000.0  # so that the load goes on while roles change


class Victim(Enum):
    """What `--kill` kills."""

    STANDBY = "standby"
    PRIMARY = "primary"


class FailoverKind(Enum):
    """What `--failover` does half-way."""

    SWITCHOVER = "switchover"
    KILL_PRIMARY = "kill-primary"
    KILL_STANDBY = "kill-standby"


Messages = Annotated[
    int,
    typer.Option(min=0, help="Messages to send; 0: as many as it takes watched, 100,000 headless."),
]
Size = Annotated[int, typer.Option(min=1, max=65_536, help="Bytes of each message.")]
Rate = Annotated[
    float,
    typer.Option(min=-1, help="Messages per second; 0: flat out; -1: 2,000 watched, else 0."),
]
Kill = Annotated[
    Victim | None, typer.Option(help="Kill this node half-way, start it again 1 s later.")
]
Failover = Annotated[
    FailoverKind | None,
    typer.Option(help="Change roles half-way, through the commands that operators use."),
]
ClosedLoop = Annotated[
    bool, typer.Option("--closed-loop", help="One message in flight: measures the RTT.")
]
Headless = Annotated[
    bool,
    typer.Option("--headless", help="No console, only the report; so without a terminal anyway."),
]
Directory = Annotated[
    Path | None,
    typer.Option("--dir", help="Run in this folder and keep it; otherwise a temporary one."),
]
Level = Annotated[AckLevel, typer.Option(help="What the standby does before it acknowledges.")]
Secure = Annotated[
    bool, typer.Option("--secure", help="With keys: every connection is encrypted and checked.")
]
Window = Annotated[
    int, typer.Option(min=1, max=1_000_000, help="Messages that may be unconfirmed at once.")
]
Seed = Annotated[int, typer.Option(help="Of the order flow that is sent.")]


def demo(
    messages: Messages = 0,
    size: Size = 128,
    rate: Rate = -1,
    kill: Kill = None,
    failover: Failover = None,
    closed_loop: ClosedLoop = False,
    headless: Headless = False,
    directory: Directory = None,
    ack_level: Level = AckLevel.WRITTEN,
    secure: Secure = False,
    window: Window = 65_536,
    seed: Seed = 1,
    as_json: AsJson = False,
) -> None:
    """Start a pair on this machine, put it under a load of orders, and check every message.

    On a terminal the operations console runs over it: kill a node (press d), and bring service
    back. The run ends when you leave it with ctrl+q.

    A producer submits, the primary sequences, the standby acknowledges, a consumer of its own
    compares what is released with what was sent. Exits with 0 only if nothing was lost, doubled,
    reordered or released early, and both journals are byte-identical.
    """
    from .demo_run import DemoRun
    from .demo_workers import GIVE_UP_S, WorkerOptions
    from .orderflow import EVENT

    if size < EVENT.size:
        raise UserError(f"--size {size}: an order event takes {EVENT.size} bytes at least")
    if directory and directory.exists() and any(directory.iterdir()):
        raise UserError(f"--dir {directory} is not empty; name a new folder")
    if kill and failover:
        raise UserError("--kill and --failover: name one of them")
    watched = sys.stdout.isatty() and sys.stdin.isatty() and not headless and not as_json
    if rate < 0 and (failover or (kill and watched)):
        rate = DRILL_RATE
    elif rate < 0:
        rate = WATCHED_RATE if watched and not closed_loop else 0.0
    watched_messages = DRILL_MESSAGES if kill or failover else WATCHED_MESSAGES
    messages = messages or (watched_messages if watched else HEADLESS_MESSAGES)
    patience_s = WATCHED_PATIENCE_S if watched else GIVE_UP_S
    options = WorkerOptions(
        "demo", messages, size, seed, rate, closed_loop, window, patience_s=patience_s
    )
    victim = kill.value if kill else ""
    os.environ.pop("INTERLOCK_KEY", None)  # of another pair
    run = DemoRun(options, directory, ack_level, victim, failover, secure=secure)
    _run(run, watched=watched, as_json=as_json)


def _run(run: DemoRun, *, watched: bool, as_json: bool) -> None:
    """Runs it, under the console or not, tells the verdict, and ends with its exit code."""
    from rich.console import Console

    from .demo_view import UNFINISHED, verdict

    console = Console()
    signal.signal(signal.SIGTERM, _interrupt)
    if watched:
        from .demo_console import watch

        console.print("starting a pair with a load")
        report = watch(run)
    else:
        report = run.run()
    if report is None:
        console.print(UNFINISHED)
        raise typer.Exit(0)
    if as_json:
        print_json(report)
    else:
        console.print(verdict(report))
    raise typer.Exit(0 if report.ok else 1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
