"""Installs what the comparisons need, on Debian, and leaves none of it running.

Decides which packages. A service that a package would start and enable is neither: comparisons
start servers of their own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..shared.errors import InterlockError, UserError

PACKAGES = ("gcc", "libzmq3-dev", "redis-server", "nats-server", "postgresql")
SERVICES = frozenset({"redis-server", "nats-server", "postgresql"})
POLICY = Path("/usr/sbin/policy-rc.d")  # asked by Debian's packages before they start a service
NOTHING_STARTS = "#!/bin/sh\nexit 101\n"


def missing() -> list[str]:
    """The packages that are not installed."""
    return [name for name in PACKAGES if not _is_installed(name)]


def _is_installed(name: str) -> bool:
    query = ["dpkg-query", "-W", "-f=${Status}", name]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.endswith(" installed")


def install(tell: Callable[[str], None]) -> None:
    """Installs what is missing. Raises UserError where that is not possible."""
    if shutil.which("apt-get") is None:
        raise UserError("installing takes apt-get; install Redis, NATS and PostgreSQL yourself")
    wanted = missing()
    if not wanted:
        return
    names = " ".join(wanted)
    if os.geteuid() != 0:
        raise UserError(f"installing takes root; as root: apt-get install {names}")
    tell(f"installing {names}")
    with _nothing_starts():
        command = ["apt-get", "install", "--yes", "--no-install-recommends", *wanted]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InterlockError(f"apt-get install {names} failed: {done.stderr.strip()[-300:]}")
    if shutil.which("systemctl"):
        for service in SERVICES.intersection(wanted):
            disable = ["systemctl", "disable", service]
            subprocess.run(disable, capture_output=True, check=False)


@contextmanager
def _nothing_starts() -> Iterator[None]:
    """While packages are installed; a policy that is there already is left as it is."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text(NOTHING_STARTS, "ascii")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()
