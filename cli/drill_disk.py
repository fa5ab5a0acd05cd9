"""What a drill does to disks and clocks: a small file system that fills, a flipped bit, a step."""

from __future__ import annotations

import contextlib
import ctypes.util
import os
import shutil
import subprocess
from pathlib import Path

from ..runbooks.stage import UnavailableError
from ..shared.journal import JournalReader

SIZE = "24m"
FILLER = "filler"
LIBRARIES = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
)


class SmallDisk:
    """A tmpfs in memory, mounted at `path` from entry to exit. Needs root."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> SmallDisk:
        if os.geteuid() != 0 or shutil.which("mount") is None:
            raise UnavailableError("a disk of its own needs root and mount")
        self._path.mkdir(parents=True)
        options = f"size={SIZE},mode=0700"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "interlock-drill", str(self._path)],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise UnavailableError(f"cannot mount a small disk: {done.stderr.strip()}")
        return self

    def __exit__(self, *error: object) -> None:
        subprocess.run(["umount", "-l", str(self._path)], check=False, capture_output=True)

    def fill(self) -> None:
        """Takes all that is left."""
        with contextlib.suppress(OSError), (self._path / FILLER).open("wb", buffering=0) as file:
            while True:
                file.write(bytes(65_536))

    def free(self) -> None:
        (self._path / FILLER).unlink(missing_ok=True)


def damage(directory: Path) -> None:
    """Flips a bit in the middle of a stopped node's newest segment: behind the checkpoint, and
    before the end, so that a start reads it."""
    segment = max(directory.glob("*.log"))
    records = list(JournalReader(directory).records(int(segment.stem)))
    broken = records[len(records) // 2]
    data = bytearray(segment.read_bytes())
    offset = data.index(bytes(broken.raw)) + len(broken.raw) - 1
    data[offset] ^= 1
    segment.write_bytes(data)


def faketime(file: Path) -> dict[str, str]:
    """The environment in which a process reads its wall clock's offset from `file`. Raises
    UnavailableError without libfaketime."""
    library = next((path for path in LIBRARIES if Path(path).exists()), None)
    library = library or ctypes.util.find_library("faketimeMT")
    if library is None:
        raise UnavailableError("stepping one process's clock needs libfaketime")
    return {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
