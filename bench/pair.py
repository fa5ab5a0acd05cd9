"""A pair of real nodes for one measurement.

Decides what its configuration says; how its processes are started and ended is `client.local`.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ..client.control import ask_status
from ..client.local import STOP_SECONDS, LocalPair, free_ports
from ..shared.config import load_config
from ..shared.errors import InterlockError
from ..shared.telemetry import NodeStatus
from .scenario import Setup, Transport

WAIT_S = 30.0
NAMES = ("a", "b")

Tables = Mapping[str, Mapping[str, int | str | bool]]


class Nodes(LocalPair):
    """Two nodes on endpoints of their own, as `interlock init` and a setup have them."""

    def __init__(
        self,
        directory: Path | None = None,
        setup: Setup | None = None,
        base: Path | None = None,
    ) -> None:
        """`directory` None: a temporary one, within `base`. One that holds a pair is used."""
        made = directory or Path(tempfile.mkdtemp(prefix="interlock-bench-", dir=base))
        path = made / "interlock.toml"
        if not path.exists():
            setup = setup or Setup()
            _init(made, setup)
            text = path.read_text("utf-8")
            if setup.transport is Transport.IPC:
                text = _with_ipc(text, made)
            waits: Tables = {f"nodes.{name}": {"idle": setup.idle.value} for name in NAMES}
            path.write_text(with_tables(with_tables(text, waits), setup.tables), "utf-8")
        super().__init__(load_config(path), made, temporary=directory is None)

    @property
    def primary(self) -> str:
        return self.config.pair.primary

    @property
    def secondary(self) -> str:
        return self.config.secondary()

    def start_both(self) -> None:
        """Starts both and waits until the pair is gated."""
        self.start(self.primary)
        self.start(self.secondary)
        self.wait_until_gated(WAIT_S)

    def end(self, name: str) -> None:
        """Ends a node in good order."""
        process = self.processes[name]
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def status(self, name: str) -> NodeStatus | None:
        return ask_status(self.config, 0.5)[name]

    def wait_for_state(self, name: str, *states: str) -> None:
        def look() -> bool:
            found = self.status(name)
            return found is not None and found.state in states

        self.wait(f"{name} to be {' or '.join(states)}", look, WAIT_S)


def _init(directory: Path, setup: Setup) -> None:
    command = [sys.executable, "-P", "-m", "interlock", "init", str(directory)]
    command += ["--base-port", str(free_ports()), "--node-names", ",".join(NAMES)]
    command += ["--ack-level", setup.ack_level.value]
    if not setup.keys:
        command.append("--insecure-loopback")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InterlockError(f"interlock init failed: {done.stderr.strip()}")


def _with_ipc(text: str, directory: Path) -> str:
    """Endpoints in the pair's directory in place of ports."""
    return re.sub(
        r"(?m)^(\w+) = \"tcp://[^\"]*:(\d+)\"",
        lambda found: f'{found[1]} = "ipc://{directory.absolute()}/{found[1]}-{found[2]}"',
        text,
    )


def with_tables(text: str, tables: Tables) -> str:
    """The configuration with these settings: a key that is there is replaced, another one added
    at the head of its table, and a table that is not there at the end."""
    for table, settings in tables.items():
        header = f"[{table}]\n"
        if header not in text:
            text = f"{text.rstrip()}\n\n{header}"
        before, _, after = text.partition(header)
        inside, bracket, rest = after.partition("\n[")
        for key, value in settings.items():
            line = f"{key} = {_toml(value)}"
            inside, found = re.subn(rf"(?m)^{re.escape(key)} = .*$", line, inside)
            if not found:
                inside = f"{line}\n{inside}"
        text = f"{before}{header}{inside}{bracket}{rest}"
    return text


def _toml(value: int | str | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else str(value)
