"""Redis: XADD and WAIT 1, on a primary and its replica.

Durability: an append-only file on both. WAIT counts a replica once it has the write in memory, a
little before its own file has it; with `appendfsync always` the primary's file is synced first.
"""

from __future__ import annotations

from ..client.local import free_ports
from ..shared.config import AckLevel
from ..shared.errors import InterlockError
from .contest import Sample
from .daemon import Daemons, dial, program
from .peerload import PeerLoad, Replies

FSYNC = {AckLevel.RECEIVED: "no", AckLevel.WRITTEN: "no", AckLevel.SYNCED: "always"}
DEPTH = 4  # batches in flight: hides the client's own time


def command(*words: bytes) -> bytes:
    """A command as the server reads it fastest."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(one), one) for one in words)


def ends(buffer: bytes) -> tuple[int, bytes]:
    """A request ends with WAIT, and its answer is the only one that begins with a colon."""
    found = at = 0
    while (start := buffer.find(b"\r\n:", at)) >= 0:
        end = buffer.find(b"\r\n", start + 3)
        if end < 0:
            break
        if buffer[start + 3 : end] == b"0":
            raise InterlockError("Redis: WAIT counted no replica")
        found, at = found + 1, end  # this CRLF is that before the next answer
    if b"\r\n-" in buffer or buffer.startswith(b"-"):
        raise InterlockError(f"Redis: {buffer[:200]!r}")
    return found, buffer[at:]


class Redis:
    """XADD one by one, each with its WAIT, or `batch` of them and one WAIT."""

    def __init__(self, level: AckLevel, size: int, batch: int = 1) -> None:
        self._fsync, self._size, self._batch = FSYNC[level], size, batch
        self.name = "Redis XADD + WAIT 1" if batch == 1 else f"Redis XADD x {batch} + WAIT 1"

    @property
    def conditions(self) -> str:
        sent = f"{DEPTH} batches in flight" if self._batch > 1 else "one in flight"
        return f"primary and replica, appendonly yes, appendfsync {self._fsync}; {sent}"

    def measure(self, seconds: float) -> Sample:
        server = program("redis-server", "redis-server")
        with Daemons() as servers:
            one = free_ports(2)
            for port in (one, one + 1):
                self._start(servers, server, port, one)
            servers.wait("the replica", lambda: self._has_replica(one))
            entry = command(b"XADD", b"bench", b"*", b"m", b"x" * self._size)
            request = entry * self._batch + command(b"WAIT", b"1", b"0")
            depth = 1 if self._batch == 1 else DEPTH
            load = PeerLoad(request, self._batch, depth, Replies(ends))
            with dial(one) as connection:
                return load.run(connection, servers, seconds)

    def _start(self, servers: Daemons, server: str, port: int, leader: int) -> None:
        folder = servers.folder / str(port)
        folder.mkdir()
        options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
        options += ["--save", "", "--appendonly", "yes", "--appendfsync", self._fsync]
        options += ["--auto-aof-rewrite-percentage", "0", "--repl-diskless-sync-delay", "0"]
        if port != leader:
            options += ["--replicaof", "127.0.0.1", str(leader)]
        servers.start(f"redis-{port}", server, *options)

    def _has_replica(self, port: int) -> bool:
        with dial(port) as connection:
            connection.sendall(command(b"INFO", b"replication"))
            return b"state=online" in connection.recv(65_536)
