"""Disks that a test can fill, fail or cut the power of, and system calls that fail.

Decides how each fault is made: a file system of its own on a file, the shutdown ioctl of ext4, and
strace. Nothing of the machine's own disks is touched.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.pair import wait_for

EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2  # what is not on the disk by now is gone, the file system's own log too


class Ext4:
    """A file system on a file. A context manager; skips the test where it cannot be had."""

    def __init__(self, directory: Path, name: str, mib: int = 96) -> None:
        """Puts the data directory of node `name` of the pair in `directory` onto it."""
        _needs_root("mounting a file system")
        if shutil.which("mkfs.ext4") is None:
            pytest.skip("mkfs.ext4 is not installed")
        self._image = directory / f"{name}.ext4"
        self._at = directory / f"{name}.mount"
        self._at.mkdir()
        (directory / name).symlink_to(self._at / "data")
        with self._image.open("wb") as image:
            image.truncate(mib << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self._image)], check=True)
        self.mount()
        (self._at / "data").mkdir()

    def mount(self) -> None:
        line = ["mount", "-o", "loop", str(self._image), str(self._at)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount a loop device here: {done.stderr.strip()}")

    def cut_power(self) -> None:
        """From now on nothing reaches the disk; what had not reached it is gone."""
        root = os.open(self._at, os.O_RDONLY)
        try:
            fcntl.ioctl(root, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(root)

    def power_on(self) -> None:
        """Mounts it again, as after a power cut. Nobody may have a file open."""
        subprocess.run(["umount", str(self._at)], check=True)
        self.mount()

    def __enter__(self) -> Ext4:
        return self

    def __exit__(self, *error: object) -> None:
        subprocess.run(["umount", "-l", str(self._at)], capture_output=True, check=False)


@contextmanager
def small_disk(directory: Path, name: str, size: str) -> Iterator[Path]:
    """A tmpfs of `size` under the data directory of a node."""
    _needs_root("mounting a file system")
    at = directory / f"{name}.mount"
    at.mkdir()
    (directory / name).symlink_to(at)
    line = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


@contextmanager
def injected(pid: int, fault: str, notes: Path) -> Iterator[None]:
    """Within, system calls of this process fail as strace's `-e inject=FAULT` says."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    line = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={fault}", "-p", str(pid)]
    with notes.open("wb") as out:
        tracer = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        _wait_until_traced(pid, tracer, notes)
        yield
    finally:
        tracer.terminate()
        tracer.wait()


def _wait_until_traced(pid: int, tracer: subprocess.Popen[bytes], notes: Path) -> None:
    """Until strace holds each thread; or the process has ended, for the fault may come at once."""

    def traced() -> bool:
        if tracer.poll() is not None:
            complaint = notes.read_text().strip()
            if complaint:
                pytest.skip(f"strace cannot trace a process here: {complaint}")
            return True
        try:
            threads = Path(f"/proc/{pid}/task").iterdir()
            found = [(thread / "status").read_text("ascii") for thread in threads]
        except (ProcessLookupError, FileNotFoundError):
            return False  # a thread ended while we looked: look again
        return all(f"TracerPid:\t{tracer.pid}" in one for one in found)

    wait_for(f"strace to hold {pid}", traced)


def _needs_root(what: str) -> None:
    if os.geteuid() != 0:
        pytest.skip(f"{what} needs root")
