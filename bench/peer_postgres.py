"""PostgreSQL: INSERT with a synchronous standby.

Durability: `remote_write`: synced on the primary, written by the standby; `on`: synced on both.
There is no setting that waits for the standby and not for the own disk, so at `written` the
comparison is with a server that does more; its table says so.
"""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

from ..client.local import free_ports
from ..shared.config import AckLevel
from ..shared.errors import InterlockError
from .contest import Sample
from .daemon import Daemons, dial, program
from .peerload import PeerLoad, Replies, read_until

COMMIT = {AckLevel.RECEIVED: "remote_write", AckLevel.WRITTEN: "remote_write"}
READY = b"Z\0\0\0\5I"  # ready for the next transaction
USER = "postgres"
DEPTH = 2


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">I", len(body) + 4) + body


def ends(buffer: bytes) -> tuple[int, bytes]:
    """Each Sync is answered by one ReadyForQuery."""
    if b"SERROR" in buffer or b"SFATAL" in buffer:
        raise InterlockError(f"PostgreSQL: {buffer[-300:]!r}")
    end = buffer.rfind(READY)
    if end < 0:
        return 0, buffer
    return buffer.count(READY), buffer[end + len(READY) :]


class Postgres:
    """INSERT one by one, each its own transaction, or `batch` of them in one."""

    def __init__(self, level: AckLevel, size: int, batch: int = 1) -> None:
        self._commit, self._size, self._batch = COMMIT.get(level, "on"), size, batch
        self.name = f"PostgreSQL, {self._commit}" + (f", {batch} per commit" if batch > 1 else "")

    @property
    def conditions(self) -> str:
        sent = f"{DEPTH} batches in flight" if self._batch > 1 else "one in flight"
        return f"synchronous standby, synchronous_commit {self._commit}, prepared INSERT; {sent}"

    def measure(self, seconds: float) -> Sample:
        versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        initdb = program("initdb", "postgresql", *versions)
        postgres = program("postgres", "postgresql", *versions)
        with Daemons(USER) as servers:
            first = free_ports(2)
            self._start(servers, initdb, postgres, first)
            servers.wait("the synchronous standby", lambda: self._has_standby(first))
            self._query(first, "CREATE TABLE bench (seq bigserial PRIMARY KEY, body bytea)")
            with dial(first) as connection:
                connection.sendall(_startup())
                read_until(connection, READY)
                insert = b"\0INSERT INTO bench (body) VALUES ($1)\0\0\0"
                connection.sendall(message(b"P", insert) + message(b"S", b""))
                ends(read_until(connection, READY))
                body = b"x" * self._size
                bind = b"\0\0" + struct.pack(">HHHI", 1, 1, 1, len(body)) + body + b"\0\0"
                once = message(b"B", bind) + message(b"E", b"\0" + struct.pack(">I", 0))
                request = once * self._batch + message(b"S", b"")
                depth = 1 if self._batch == 1 else DEPTH
                load = PeerLoad(request, self._batch, depth, Replies(ends))
                return load.run(connection, servers, seconds)

    def _start(self, servers: Daemons, initdb: str, postgres: str, first: int) -> None:
        """The primary, and a standby that begins as a copy of it."""
        data, copy = servers.folder / "primary", servers.folder / "standby"
        common = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        common += ["-c", "shared_buffers=256MB", "-c", "max_wal_size=8GB"]
        common += ["-c", f"synchronous_commit={self._commit}"]
        servers.call(initdb, "-D", str(data), "-A", "trust", "-U", USER, "--no-instructions")
        backup = Path(initdb).with_name("pg_basebackup")
        servers.start("primary", postgres, "-D", str(data), "-p", str(first), *common)
        servers.wait("the primary", lambda: self._query(first, "SELECT 1") != b"")
        servers.call(str(backup), "-D", str(copy), "-h", "127.0.0.1", "-p", str(first), "-U", USER)
        (copy / "standby.signal").touch()
        shutil.chown(copy / "standby.signal", data.stat().st_uid, data.stat().st_gid)
        follow = f"host=127.0.0.1 port={first} user={USER} application_name=standby"
        servers.start(
            "standby",
            *(postgres, "-D", str(copy), "-p", str(first + 1), *common),
            *("-c", f"primary_conninfo={follow}"),
        )
        self._query(first, "ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        self._query(first, "SELECT pg_reload_conf()")

    def _has_standby(self, port: int) -> bool:
        found = self._query(port, "SELECT 'is ' || sync_state FROM pg_stat_replication")
        return b"is sync" in found

    def _query(self, port: int, text: str) -> bytes:
        """Everything that the server says to a query; empty while it does not serve yet."""
        with dial(port) as connection:
            connection.sendall(_startup())
            greeting = connection.recv(65_536)
            if greeting.startswith(b"E"):
                return b""
            if not greeting.endswith(READY):
                read_until(connection, READY)
            connection.sendall(message(b"Q", text.encode() + b"\0"))
            answer = read_until(connection, READY)
        ends(answer)
        return answer


def _startup() -> bytes:
    body = struct.pack(">I", 196_608) + f"user\0{USER}\0database\0postgres\0\0".encode()
    return struct.pack(">I", len(body) + 4) + body
