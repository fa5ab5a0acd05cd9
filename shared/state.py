"""What a node must remember besides its log, durable before use, and the lock on its directory.

Decides whether a data directory belongs to this node of this cluster. Does not decide roles.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import msgspec

from .descriptors import with_spares
from .errors import LocalError, UserError
from .operations import Receipt
from .roles import Role
from .wire import Position

STATE_FILE = "node.json"
LOCK_FILE = "lock"


class NodeMemory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`node.json`: identity, role, boots so far, and the promises that bind this node.

    `promised_epoch`: the highest number that this node has promised, asked for or used; no epoch
    below it is served any more. `target`: the position that this node must hold before it could be
    promoted; None: not promotable, whatever it holds, and `doubt` says why. `fenced`: why this node
    follows nobody until it is reinstated; empty: it is not fenced. `boot`: the machine's boot
    during which this was saved, and `stopped`: where the log ended when the node was stopped in
    good order; together they tell a start that may have lost written bytes. `receipts`: what this
    node was asked to do and has not seen in the log yet. `keys`: the digest of the list of allowed
    keys that the log was last told of.
    """

    cluster: str
    node: str
    role: Role
    incarnation: int = 0
    promised_epoch: int = 0
    target: Position | None = None
    doubt: str = ""
    fenced: str = ""
    boot: str = ""
    stopped: Position | None = None
    receipts: list[Receipt] = []
    keys: str = ""


class DataDir:
    """A node's directory, locked for as long as this object is open."""

    def __init__(self, path: Path, cluster: str, node: str) -> None:
        """Creates and locks the directory, and checks that it is this node's.

        Raises UserError if it cannot be used, is in use, or belongs to another node or cluster.
        """
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UserError(
                f"cannot use the data directory {path} of node {node}: {error.strerror}; "
                "it must be a directory that this user can write"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip()
            os.close(self._lock)
            raise UserError(
                f"the data directory {path} is in use by a running node {node} (pid {holder}); "
                "stop that one first, or name the other node with --node"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, b"%d\n" % os.getpid(), 0)
        try:
            self.memory = self._load(cluster, node)
        except BaseException:
            self.close()
            raise

    def _load(self, cluster: str, node: str) -> NodeMemory | None:
        file = self.path / STATE_FILE
        try:
            memory = msgspec.json.decode(file.read_bytes(), type=NodeMemory)
        except FileNotFoundError:
            if any(self.path.glob("*.log")):
                raise UserError(
                    f"{self.path} holds a journal but no {STATE_FILE}: it is not a whole data "
                    "directory; restore the file or use an empty directory"
                ) from None
            return None
        except (msgspec.MsgspecError, UnicodeDecodeError, OSError) as error:
            raise UserError(f"cannot read {file}: {error}; restore it from a copy") from None
        if memory.cluster != cluster:
            raise UserError(
                f"the data directory {self.path} belongs to cluster {memory.cluster}, the "
                f"configuration is of cluster {cluster}; correct nodes.{node}.data or pair.cluster"
            )
        if memory.node != node:
            raise UserError(
                f"the data directory {self.path} belongs to node {memory.node}, not {node}; "
                f"correct nodes.{node}.data"
            )
        return memory

    def save(self, memory: NodeMemory) -> None:
        """Replaces `node.json` durably: file and directory are synced before this returns."""
        file = self.path / STATE_FILE
        temporary = file.with_suffix(".tmp")
        try:
            with with_spares(lambda: open(temporary, "wb")) as out:
                out.write(msgspec.json.format(msgspec.json.encode(memory)) + b"\n")
                out.flush()
                os.fsync(out.fileno())
            os.replace(temporary, file)
            fd = with_spares(lambda: os.open(self.path, os.O_RDONLY | os.O_DIRECTORY))
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise LocalError(f"cannot save {file}: {error.strerror}") from error
        self.memory = memory

    def close(self) -> None:
        """Unlocks the directory."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
