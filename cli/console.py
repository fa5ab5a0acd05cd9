"""`interlock console`: the operations console on a terminal, in a file or in a browser."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ..shared.config import load_config
from ..shared.errors import UserError
from .common import DEFAULT_CONFIG, ConfigPath

_SIZE = re.compile(r"(\d{2,3})x(\d{2,3})")


class Alert(Enum):
    """How a new alarm of severity 1 or 2 draws attention."""

    FLASH = "flash"
    BELL = "bell"
    BOTH = "both"
    NONE = "none"


class ScreenName(Enum):
    """The screens of the console."""

    OVERVIEW = "overview"
    CLIENTS = "clients"
    LOG = "log"
    OPERATIONS = "operations"
    HISTORY = "history"
    ALARMS = "alarms"
    RUNBOOKS = "runbooks"


ReadOnly = Annotated[bool, typer.Option("--read-only", help="Show everything, operate nothing.")]
Record = Annotated[
    Path | None,
    typer.Option("--record", metavar="FILE", help="Keep telemetry and what is done in FILE."),
]
Replay = Annotated[
    Path | None, typer.Option("--replay", metavar="FILE", help="Play a recording instead.")
]
Seek = Annotated[
    float, typer.Option("--seek", min=0, help="Of --replay: begin so many seconds into it.")
]
Screenshot = Annotated[
    Path | None,
    typer.Option("--screenshot", metavar="FILE.svg", help="Render one frame and exit."),
]
Size = Annotated[str, typer.Option("--size", help="Of --screenshot: columns x rows.")]
Screen = Annotated[ScreenName, typer.Option("--screen", help="Of --screenshot: which screen.")]
Web = Annotated[
    bool, typer.Option("--web", help="Serve it to browsers: read-only, on this machine.")
]
Host = Annotated[str, typer.Option("--host", help="Of --web; it knows no passwords.")]
Port = Annotated[int, typer.Option("--port", min=1, max=65_535, help="Of --web.")]
Operate = Annotated[
    bool, typer.Option("--operate", help="Of --web: let the browser operate the pair.")
]
Alerting = Annotated[Alert, typer.Option(help="How new alarms draw attention.")]
Light = Annotated[bool, typer.Option("--light", help="Dark letters on light ground.")]
InBrowser = Annotated[bool, typer.Option("--in-browser", hidden=True)]


def console(
    config: ConfigPath = DEFAULT_CONFIG,
    read_only: ReadOnly = False,
    record: Record = None,
    replay: Replay = None,
    seek: Seek = 0.0,
    screenshot: Screenshot = None,
    size: Size = "160x48",
    screen: Screen = ScreenName.OVERVIEW,
    web: Web = False,
    host: Host = "127.0.0.1",
    port: Port = 8_000,
    operate: Operate = False,
    alert: Alerting = Alert.FLASH,
    light: Light = False,
    in_browser: InBrowser = False,
) -> None:
    """Watch and operate the pair: both nodes, alarms, log, history, and every operation.

    An operation is never one key: it shows what it needs and costs first, and the node's name has
    to be typed. Without colours: set NO_COLOR. Keys and words: press ?
    """
    columns_rows = _size(size)
    if replay is not None and (record or web):
        raise UserError("--replay goes with neither --record nor --web: leave them")
    from ..console import run

    if screenshot is not None and not web:
        _picture(config, replay, seek, screenshot, columns_rows, screen, light=light)
    elif replay is not None:
        run.run_replay(replay, seek, light=light)
    elif web:
        run.serve(load_config(config), host, port, operate=operate and not read_only)
    else:
        run.run_console(
            load_config(config),
            read_only=read_only,
            record=record,
            alert=alert.value,
            light=light,
            in_browser=in_browser,
        )


def _picture(
    config: Path,
    replay: Path | None,
    seek: float,
    target: Path,
    size: tuple[int, int],
    screen: ScreenName,
    *,
    light: bool,
) -> None:
    """One frame of the pair, or of a recording."""
    from ..console import run
    from ..console.source import LiveSource, ReplaySource

    if replay is not None:
        run.screenshot(ReplaySource(replay, seek), target, size, screen.value, light=light)
        return
    loaded = load_config(config)
    run.screenshot(LiveSource(loaded), target, size, screen.value, loaded, light=light)


def _size(text: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(text)
    if not match:
        raise UserError(f"--size is {text!r}; expected columns x rows, as 160x48")
    return int(match[1]), int(match[2])
