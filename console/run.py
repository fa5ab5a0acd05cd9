"""Runs the console: on this terminal, as one frame in a file, or in a browser."""

from __future__ import annotations

import asyncio
import getpass
import ipaddress
import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from textual.pilot import Pilot

from ..client.control import ask_status
from ..shared.config import Config
from ..shared.credentials import credentials
from ..shared.errors import RemoteError, UserError
from .app import ConsoleApp, Options
from .demo import Demo
from .source import LiveSource, ReplaySource, Source

HEAR_S: Final = 3.0  # how long a screenshot waits for both nodes
ASK_S: Final = 1.0  # for nodes that may be down, before the screen is there


def operator_name() -> str:
    """Who sits here where no keys are used: $INTERLOCK_OPERATOR, else the login name, else nobody:
    then it is asked."""
    name = os.environ.get("INTERLOCK_OPERATOR", "")
    if name:
        return name
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def run_console(
    config: Config,
    *,
    demo: Demo | None = None,
    read_only: bool = False,
    record: Path | None = None,
    alert: str = "flash",
    light: bool = False,
    in_browser: bool = False,
) -> None:
    """Runs on this terminal until the person leaves. `demo`: over a pair of `interlock demo`."""
    if not in_browser:
        _check_terminal()
    key = check_key(config)
    options = Options(key or operator_name(), read_only, alert, light, in_browser, by_key=bool(key))
    ConsoleApp(LiveSource(config, record), options, config, demo).run()


def check_key(config: Config) -> str:
    """The name of the key that this console acts with; empty: no keys are used.

    Raises UserError if it cannot be used, DeniedError if the nodes that are up do not let it in: a
    screen that stays empty would not tell why.
    """
    name = credentials(config, operator=True).name
    with suppress(RemoteError):  # the console shows what is wrong with a node
        ask_status(config, ASK_S)
    return name


def run_replay(recording: Path, seek_s: float = 0.0, *, light: bool = False) -> None:
    """Plays a recording on this terminal."""
    source = ReplaySource(recording, seek_s)
    _check_terminal()
    ConsoleApp(source, Options(operator_name(), read_only=True, light=light)).run()


def _check_terminal() -> None:
    """Without one the letters would go into a file for ever, and nobody could leave."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError(
            "the console needs a terminal; without one: interlock status --watch, or "
            "interlock console --screenshot FILE.svg"
        )


def screenshot(
    source: Source,
    target: Path,
    size: tuple[int, int],
    mode: str,
    config: Config | None = None,
    *,
    light: bool = False,
) -> None:
    """Renders one frame into an SVG file. Raises UserError if it cannot be written."""
    if isinstance(source, ReplaySource):
        source.player.paused = True
    elif config is not None:
        check_key(config)
    app = ConsoleApp(source, Options(operator_name(), read_only=True, light=light), config)
    picture: list[str] = []

    async def take(pilot: Pilot[object]) -> None:
        await pilot.pause()
        await app.switch_mode(mode)
        end = asyncio.get_running_loop().time() + (HEAR_S if source.is_live else 0.0)
        while asyncio.get_running_loop().time() < end:
            if app.view and all(node.status for node in app.view.nodes):
                await pilot.pause(0.6)
                break
            await pilot.pause(0.1)
        app.tick()
        await pilot.pause(0.1)
        picture.append(app.export_screenshot(title=f"interlock: {mode}"))
        app.exit()

    app.run(headless=True, size=size, auto_pilot=take)
    try:
        target.write_text(picture[0], "utf-8")
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror}") from None


def serve(config: Config, host: str, port: int, *, operate: bool) -> None:
    """Serves the console to browsers with textual-serve, which knows no passwords.

    Raises UserError if it is not installed, or if anybody on a network could operate the pair; and
    as `check_key`.
    """
    if operate and not _is_loopback(host):
        raise UserError(
            f"--operate with --host {host}: anybody who reaches that address could operate the "
            "pair; serve on 127.0.0.1 and come through an SSH tunnel"
        )
    try:
        from textual_serve.server import Server
    except ImportError:
        raise UserError(
            "--web needs textual-serve, which is not installed: pip install 'interlock[web]'"
        ) from None
    check_key(config)
    words = [sys.executable, "-P", "-m", "interlock", "console", "-c", config.path, "--in-browser"]
    if not operate:
        words.append("--read-only")
    Server(shlex.join(words), host=host, port=port, title="interlock").serve()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
