"""A pair of real nodes for one measurement: on loopback, started by the commands of a user.

Decides where it lives, what its configuration says, and how its processes are started and ended:
by pid, and only those that it started.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from ..client.control import ask_status
from ..shared.config import Config, load_config
from ..shared.errors import InterlockError
from ..shared.telemetry import NodeStatus
from .scenario import Setup, Transport

GATED = ["GATED", "IN_SYNC"]
WAIT_S = 30.0
STOP_S = 10.0
LOOK_S = 0.005
LOG_LINES = 30
PORTS = range(20_101, 31_000, 37)
PORTS_OF_A_PAIR = 12
NAMES = ("a", "b")

Tables = Mapping[str, Mapping[str, int | str | bool]]


class Nodes:
    """Two nodes on endpoints of their own. As a context manager it ends them and removes their
    directory, unless that was given.
    """

    def __init__(
        self,
        directory: Path | None = None,
        setup: Setup | None = None,
        base: Path | None = None,
    ) -> None:
        """`directory` None: a temporary one, within `base`. One that holds a pair is used."""
        self._temporary = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="interlock-bench-", dir=base))
        path = self.directory / "interlock.toml"
        if not path.exists():
            setup = setup or Setup()
            _init(self.directory, setup)
            text = path.read_text("utf-8")
            if setup.transport is Transport.IPC:
                text = _with_ipc(text, self.directory)
            waits: Tables = {f"nodes.{name}": {"idle": setup.idle.value} for name in NAMES}
            path.write_text(with_tables(with_tables(text, waits), setup.tables), "utf-8")
        self.config: Config = load_config(path)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def primary(self) -> str:
        return self.config.pair.primary

    @property
    def secondary(self) -> str:
        return self.config.secondary()

    def start(self, name: str) -> None:
        role = "primary" if name == self.primary else "secondary"
        with (self.directory / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-P", "-m", "interlock", role, "-c", self.config.path]
            self.processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def start_both(self) -> None:
        """Starts both and waits until the pair is gated."""
        self.start(self.primary)
        self.start(self.secondary)
        self.wait_until_gated()

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()

    def end(self, name: str) -> None:
        """Ends a node in good order."""
        process = self.processes[name]
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stop(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for name in self.processes:
            self.end(name)

    def states(self) -> list[str]:
        return sorted(one.state for one in ask_status(self.config, 0.5).values() if one)

    def status(self, name: str) -> NodeStatus | None:
        return ask_status(self.config, 0.5)[name]

    def wait_until_gated(self) -> None:
        """Raises InterlockError if a node ends meanwhile, or after WAIT_S."""

        def look() -> bool:
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise InterlockError(f"node {name} has ended\n{self.logs()}")
            return self.states() == GATED

        self.wait("the pair to be gated", look)

    def wait_for_state(self, name: str, *states: str) -> None:
        def look() -> bool:
            found = self.status(name)
            return found is not None and found.state in states

        self.wait(f"{name} to be {' or '.join(states)}", look)

    def wait(self, what: str, look: Callable[[], bool], seconds: float = WAIT_S) -> None:
        """Until `look()`. Raises InterlockError with the nodes' logs."""
        end = time.monotonic() + seconds
        while not look():
            if time.monotonic() > end:
                raise InterlockError(f"waited {seconds:g} s for {what}\n{self.logs()}")
            time.sleep(LOOK_S)

    def logs(self) -> str:
        """What the nodes have logged last: for a measurement that failed."""
        told = []
        for path in sorted(self.directory.glob("*.log")):
            lines = path.read_text("utf-8", "replace").splitlines()
            told += [f"{path.name}:", *lines[-LOG_LINES:]]
        return "\n".join(told)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.stop()
        finally:
            if self._temporary:
                shutil.rmtree(self.directory, ignore_errors=True)


def free_ports(count: int) -> int:
    """The first of `count` ports in a row on loopback that nobody listens on."""
    draw = random.Random(os.getpid() ^ time.time_ns())  # another run may look at the same moment
    for base in draw.sample(PORTS, len(PORTS)):
        if all(_is_free(base + index) for index in range(count)):
            return base
    raise InterlockError(f"found no {count} free ports in a row on 127.0.0.1")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _init(directory: Path, setup: Setup) -> None:
    command = [sys.executable, "-P", "-m", "interlock", "init", str(directory)]
    command += ["--base-port", str(free_ports(PORTS_OF_A_PAIR)), "--node-names", ",".join(NAMES)]
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
