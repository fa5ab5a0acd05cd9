"""The file operations whose order or failure can break a promise, each at one place.

Decides nothing. Tests put another `Disk` in its place: one that fails, or one that photographs the
directory before each step as a kill or a power cut at that moment would leave it.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..descriptors import with_spares


class Disk:
    """Plain system calls; every method raises OSError as they do."""

    def allocate(self, path: Path, size: int) -> int:
        """Creates a file of `size` zero bytes with all its blocks, durable; its descriptor.

        What could not be completed is removed again: half a segment would only hold space.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        fd = with_spares(lambda: os.open(path, flags, 0o644))
        try:
            os.posix_fallocate(fd, 0, size)
            os.fsync(fd)
        except OSError:
            os.close(fd)
            path.unlink()
            raise
        return fd

    def sync_data(self, fd: int) -> None:
        os.fdatasync(fd)

    def sync_directory(self, fd: int) -> None:
        os.fsync(fd)

    def write_file(self, path: Path, data: bytes) -> None:
        """Writes a whole small file, durable by itself; its name is not yet."""
        with with_spares(lambda: open(path, "wb")) as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())

    def rename(self, old: Path, new: Path) -> None:
        old.rename(new)

    def unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)
