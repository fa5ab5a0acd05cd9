"""The processes of a pair on this machine: started, killed and ended by who tries something out.

Decides how a node's process is started (by the very command that a user would type) and ended: by
pid, and only those that were started here. What the pair's configuration says is its caller's: the
demo, a drill, a benchmark, or the tests of an application.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

from ..shared.config import SOCKETS, Config
from ..shared.errors import InterlockError
from .control import ask_status

START_SECONDS: Final = 20.0
STOP_SECONDS: Final = 10.0
_LOOK_S: Final = 0.005
_LOG_LINES: Final = 30
GATED: Final = ["GATED", "IN_SYNC"]
# Below the range from which the kernel gives ports to outgoing connections.
_PORTS: Final = (10_000, 32_000)


class LocalPair:
    """The nodes of `config`. As a context manager it ends them, and removes the directory if that
    is `temporary`. The log of each goes to NAME.log in it."""

    def __init__(self, config: Config, directory: Path, *, temporary: bool) -> None:
        self.config = config
        self.directory = directory
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._temporary = temporary

    def start(self, name: str) -> None:
        """Starts a node, as what the configuration has it for."""
        role = "primary" if name == self.config.pair.primary else "secondary"
        command = [sys.executable, "-P", "-m", "interlock", role, "-c", self.config.path]
        self.run(name, command)

    def run(self, name: str, command: list[str]) -> None:
        """Starts a node by this command."""
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Sends a signal to a node; after SIGKILL it is waited for."""
        process = self.processes[name]
        process.send_signal(number)
        if number == signal.SIGKILL:
            process.wait()

    def stop(self) -> None:
        """Ends all nodes: asks first, then kills."""
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
                process.send_signal(signal.SIGCONT)
        end = time.monotonic() + STOP_SECONDS
        for process in self.processes.values():
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def states(self) -> list[str]:
        """The states of the nodes that answer, in order."""
        return sorted(node.state for node in ask_status(self.config, 0.5).values() if node)

    def is_gated(self) -> bool:
        """Whether the pair releases. Raises InterlockError if a node has ended by itself."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise InterlockError(f"node {name} has ended:\n{self.log(name)}")
        return self.states() == GATED

    def wait_until_gated(self, timeout: float = START_SECONDS) -> None:
        """Waits until the pair releases. Raises InterlockError with the nodes' logs."""
        self.wait("the pair to be gated", self.is_gated, timeout)

    def wait(self, what: str, look: Callable[[], bool], timeout: float = START_SECONDS) -> None:
        """Waits until `look()`. Raises InterlockError with the nodes' logs."""
        end = time.monotonic() + timeout
        while not look():
            if time.monotonic() > end:
                raise InterlockError(f"waited {timeout:g} s for {what}\n{self.logs()}")
            time.sleep(_LOOK_S)

    def log(self, name: str) -> str:
        """All that a node has logged."""
        return (self.directory / f"{name}.log").read_text("utf-8", "replace")

    def logs(self) -> str:
        """What the nodes have logged last, for an error's text."""
        told = []
        for path in sorted(self.directory.glob("*.log")):
            lines = path.read_text("utf-8", "replace").splitlines()
            told += [f"{path.name}:", *lines[-_LOG_LINES:]]
        return "\n".join(told)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            if self._temporary:
                shutil.rmtree(self.directory, ignore_errors=True)


def free_ports(count: int = 2 * len(SOCKETS)) -> int:
    """The first of `count` ports in a row on loopback that nobody listens on now."""
    draw = random.Random(os.getpid() ^ time.time_ns())  # another process may look just now too
    for _ in range(200):
        base = draw.randrange(_PORTS[0], _PORTS[1] - count)
        if all(_is_free(base + index) for index in range(count)):
            return base
    raise InterlockError(f"found no {count} free ports in a row on 127.0.0.1")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
