"""Other people's servers for a comparison: found if they are installed, started on loopback in
directories of their own, and ended by pid.

Decides nothing about how they are configured; that is with each peer. Nothing is started through
the system's service manager, so nothing stays behind.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ..shared.errors import InterlockError
from .contest import Skipped
from .procfs import children, cpu_s

PLACES = ("/usr/sbin", "/usr/local/sbin")  # servers that are not in everybody's PATH
WAIT_S = 30.0
LOOK_S = 0.02
LOG_LINES = 10


def program(name: str, package: str, *places: Path) -> str:
    """Where a server is. Raises Skipped, naming the Debian package, if it is not installed."""
    path = os.pathsep.join([*map(str, places), os.environ.get("PATH", ""), *PLACES])
    found = shutil.which(name, path=path)
    if found is None:
        raise Skipped(f"{name} is not installed (Debian: apt-get install {package})")
    return found


class Daemons:
    """Servers that belong together. A context manager: leaving it ends them and removes `folder`.

    `user`: who they run as if we are root, for a server that refuses to be root.
    """

    def __init__(self, user: str = "") -> None:
        self._user = user if os.geteuid() == 0 else ""
        self.folder = Path(tempfile.mkdtemp(prefix="interlock-peer-"))
        self._processes: list[subprocess.Popen[bytes]] = []
        if self._user:
            try:
                entry = pwd.getpwnam(self._user)
            except KeyError:
                raise Skipped(f"there is no user {self._user} to run it as") from None
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)

    def call(self, *command: str) -> None:
        """Runs a command to its end. Raises Skipped with what it said if it fails."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            user=self._user or None,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Skipped(f"{Path(command[0]).name} failed: {done.stderr.strip()[-300:]}")

    def start(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                user=self._user or None,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)

    def wait(self, what: str, look: Callable[[], bool]) -> None:
        """Until `look()`, which may fail while a server starts. Raises Skipped with the logs."""
        end = time.monotonic() + WAIT_S
        while True:
            try:
                if look():
                    return
            except (OSError, InterlockError):
                pass  # it does not listen yet, or hangs up
            if time.monotonic() > end or any(one.poll() is not None for one in self._processes):
                raise Skipped(f"waited in vain for {what}: {self._logs()}")
            time.sleep(LOOK_S)

    def cpu_s(self) -> float:
        """CPU time of all of them and their children."""
        pids = [one.pid for one in self._processes]
        return sum(cpu_s(pid) for pid in [*pids, *(kid for pid in pids for kid in children(pid))])

    def _logs(self) -> str:
        lines = []
        for path in sorted(self.folder.glob("*.log")):
            lines += path.read_text("utf-8", "replace").splitlines()[-LOG_LINES:]
        return " | ".join(lines)

    def __enter__(self) -> Daemons:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def dial(port: int) -> socket.socket:
    """A connection to a server on loopback, without delay for small messages."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
