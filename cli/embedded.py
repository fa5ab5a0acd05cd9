"""A pair of real node processes on loopback, made for one run and gone after it.

Decides where it lives and how its processes are started, killed and ended; by pid, and only those
that it started itself. Used by the demo and by tests.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from uuid import uuid4

from ..shared.config import SOCKETS, AckLevel, Config, load_config
from ..shared.errors import InterlockError
from .init import FILE, render
from .keys import keys_of

START_SECONDS = 20.0
STOP_SECONDS = 10.0


class EmbeddedPair:
    """Two nodes, "a" and "b", from a configuration of their own. A context manager."""

    def __init__(
        self,
        directory: Path | None = None,
        ack_level: AckLevel = AckLevel.WRITTEN,
        *,
        secure: bool = False,
    ) -> None:
        """Writes the configuration; `directory` None: a temporary one, removed at the end.
        `secure`: with keys.

        A given directory that holds a configuration already is used as it is.
        """
        self._temporary = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="interlock-"))
        path = self.directory / FILE
        if not path.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            ports = free_ports()
            text = render(str(uuid4()), ("a", "b"), "127.0.0.1", ports, ack_level, secure=secure)
            path.write_text(text, "utf-8")
        self.config: Config = load_config(path)
        if self.config.security is not None:
            keys_of(self.config)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Starts a node by the very command that a user would type; its log goes to NAME.log."""
        role = "primary" if name == self.config.pair.primary else "secondary"
        command = [sys.executable, "-P", "-m", "interlock", role, "-c", self.config.path]
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

    def wait_until_gated(self, timeout: float = START_SECONDS) -> None:
        """Waits until the pair releases. Raises InterlockError with the nodes' logs."""
        from ..client.control import ask_status

        end = time.monotonic() + timeout
        while time.monotonic() < end:
            states = [node.state for node in ask_status(self.config, 0.5).values() if node]
            if sorted(states) == ["GATED", "IN_SYNC"]:
                return
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise InterlockError(f"node {name} ended at once:\n{self.log(name)}")
            time.sleep(0.02)
        logs = "\n".join(self.log(name) for name in self.processes)
        raise InterlockError(f"the pair did not come up within {timeout:g} s:\n{logs}")

    def log(self, name: str) -> str:
        """What a node has logged."""
        return (self.directory / f"{name}.log").read_text("utf-8", "replace")

    def stop(self) -> None:
        """Ends both nodes: asks first, then kills."""
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

    def __enter__(self) -> EmbeddedPair:
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


def free_ports(count: int = 2 * len(SOCKETS)) -> int:
    """The first of `count` ports in a row on loopback that nobody listens on now.

    Below the range from which the kernel gives ports to outgoing connections.
    """
    draw = random.Random(os.getpid() ^ time.time_ns())
    for _ in range(200):
        base = draw.randrange(10_000, 32_000 - count)
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
