"""What the measurement ran on: without it a number says nothing."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import zmq


class Machine(msgspec.Struct, frozen=True):
    """The machine, its load before the run, and the versions of what runs."""

    cpu: str
    cpus: int
    memory_mb: int
    kernel: str
    system: str
    load_average: float
    python: str
    versions: dict[str, str]


def this_machine() -> Machine:
    """Describes this machine; nothing in it names it or its user."""
    versions = {"libzmq": zmq.zmq_version()}
    for name in ("interlock", "pyzmq", "msgspec", "xxhash", "hdrhistogram"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "unknown"
    return Machine(
        _field("/proc/cpuinfo", "model name") or platform.machine(),
        len(os.sched_getaffinity(0)),
        int((_field("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) // 1024,
        platform.release(),
        _field("/etc/os-release", "PRETTY_NAME", "=").strip('"') or platform.system(),
        round(os.getloadavg()[0], 2),
        platform.python_version(),
        versions,
    )


def _field(path: str, name: str, separator: str = ":") -> str:
    try:
        lines = Path(path).read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        key, _, value = line.partition(separator)
        if key.strip() == name:
            return value.strip()
    return ""
