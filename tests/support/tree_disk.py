"""A disk that photographs a data directory, folders included, before each step that is made on it.

As `journal_kit.PowerDisk`, for what also moves files into the quarantine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from interlock.shared.journal import Disk

Tree = dict[str, bytes | None]  # relative path to contents; None: a folder
Names = dict[int, dict[str, int]]  # of each folder, by inode: name to inode


def tree_of(directory: Path) -> Tree:
    return {
        str(path.relative_to(directory)): None if path.is_dir() else path.read_bytes()
        for path in sorted(directory.rglob("*"))
    }


def write_tree(directory: Path, tree: Tree) -> Path:
    directory.mkdir()
    for name, data in sorted(tree.items()):
        if data is None:
            (directory / name).mkdir()
        else:
            (directory / name).write_bytes(data)
    return directory


class TreeDisk(Disk):
    """Calls `before_step` before each step, and knows what a power cut would leave there.

    A file's data becomes durable by its fsync, the names in a folder by that of the folder. What
    is there at the beginning is durable.
    """

    def __init__(self, directory: Path, before_step: Callable[[str], None]) -> None:
        self.directory = directory
        self.before_step = before_step
        self.names: Names = {}
        self.data: dict[int, bytes] = {}
        self._gone: list[int] = []  # open, so that no new file gets the inode of one that is gone
        for folder in (directory, *(path for path in directory.rglob("*") if path.is_dir())):
            self._names_are_durable(folder)
            for path in folder.iterdir():
                if path.is_file():
                    self.data[path.stat().st_ino] = path.read_bytes()

    def _names_are_durable(self, folder: Path) -> None:
        names = {path.name: path.stat().st_ino for path in folder.iterdir()}
        self.names[folder.stat().st_ino] = names
        for path in folder.iterdir():
            if path.is_dir():  # a durable folder whose own names may not be
                self.names.setdefault(path.stat().st_ino, {})

    def allocate(self, path: Path, size: int) -> int:
        self.before_step("allocate")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        os.posix_fallocate(fd, 0, size)
        self.data[os.fstat(fd).st_ino] = bytes(size)
        return fd

    def sync_data(self, fd: int) -> None:
        self.before_step("sync data")
        status = os.fstat(fd)
        self.data[status.st_ino] = os.pread(fd, status.st_size, 0)

    def sync_directory(self, fd: int) -> None:
        self.before_step("sync directory")
        self._names_are_durable(Path(f"/proc/self/fd/{fd}").resolve())

    def write_file(self, path: Path, data: bytes) -> None:
        self.before_step("write file")
        path.write_bytes(data)
        self.data[path.stat().st_ino] = data

    def _keep_inode(self, path: Path) -> None:
        if path.exists():
            self._gone.append(os.open(path, os.O_RDONLY))

    def close(self) -> None:
        for fd in self._gone:
            os.close(fd)

    def rename(self, old: Path, new: Path) -> None:
        self.before_step("rename")
        self._keep_inode(new)
        super().rename(old, new)

    def unlink(self, path: Path) -> None:
        if path.exists():
            self.before_step("unlink")
            self._keep_inode(path)
        super().unlink(path)

    def images(self) -> dict[str, Tree]:
        """What the directory may hold after a death at this moment."""
        folders = {
            path.stat().st_ino: path
            for path in (self.directory, *self.directory.rglob("*"))
            if path.is_dir()
        }
        now = {
            inode: {path.name: path.stat().st_ino for path in folder.iterdir()}
            for inode, folder in folders.items()
        }
        written = {
            path.stat().st_ino: path.read_bytes()
            for folder in folders.values()
            for path in folder.iterdir()
            if path.is_file()
        }
        old: Names = {inode: {} for inode in folders} | self.names
        images = {
            "killed": self._image(now, written),
            "nothing more": self._image(old, self.data),
            "names only": self._image(now, self.data),
            "data only": self._image(old, self.data | written),
        }
        images |= {
            f"{name} late": self._image(names, self.data) for name, names in _late_names(old, now)
        }
        return images

    def _image(self, names: Names, data: dict[int, bytes]) -> Tree:
        tree: Tree = {}

        def visit(folder: int, prefix: str) -> None:
            for name, inode in names[folder].items():
                if inode in names:
                    tree[prefix + name] = None
                    visit(inode, f"{prefix}{name}/")
                else:
                    tree[prefix + name] = data.get(inode, b"")

        visit(self.directory.stat().st_ino, "")
        return tree


def _late_names(old: Names, now: Names) -> Iterator[tuple[str, Names]]:
    """Each change of a name that is not durable yet, as the only one that a power cut takes back;
    of a renaming, both of its names."""
    durable = {inode: (folder, name) for folder in old for name, inode in old[folder].items()}
    for folder, names in now.items():
        before = old.get(folder, {})
        for name in before.keys() | names.keys():
            if before.get(name) == names.get(name):
                continue
            image = {one: dict(names) for one, names in (old | now).items()}
            inode = image[folder].pop(name, None)
            if inode in durable:
                came_from, former = durable[inode]
                image[came_from][former] = inode
            if name in before:
                for one, others in now.items():
                    for other, inode in others.items():
                        if inode == before[name] and old.get(one, {}).get(other) != inode:
                            del image[one][other]
                            if other in old.get(one, {}):
                                image[one][other] = old[one][other]
                image[folder][name] = before[name]
            yield name, image
