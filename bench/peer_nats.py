"""NATS JetStream: a stream with three replicas on disk, on three servers of one cluster.

Durability: an ack means that a majority of the three has written the message to its file; files
are synced every two minutes, as installed. So it compares with `written`.
"""

from __future__ import annotations

import json
import socket
from typing import Any

from ..client.local import free_ports
from ..shared.config import AckLevel
from ..shared.errors import InterlockError
from .contest import Sample, Skipped
from .daemon import Daemons, dial, program
from .peerload import PeerLoad, Replies, read_until

SERVERS = 3
SUBJECT, INBOX = "bench", "_INBOX.bench"
CONNECT = b'CONNECT {"verbose":false,"pedantic":false,"headers":false}\r\nPING\r\n'


def ends(buffer: bytes) -> tuple[int, bytes]:
    """Each ack is a MSG whose JSON is all that ends with a brace."""
    if b'"error"' in buffer or b"-ERR" in buffer:
        raise InterlockError(f"NATS: {buffer[:300]!r}")
    end = buffer.rfind(b"}\r\n")
    if end < 0:
        return 0, buffer
    return buffer.count(b"}\r\n"), buffer[end + 3 :]


def publish(subject: str, body: bytes) -> bytes:
    """A message whose ack comes to our inbox."""
    return f"PUB {subject} {INBOX} {len(body)}\r\n".encode() + body + b"\r\n"


class Nats:
    """Messages one by one: the client's choice is how many are in flight."""

    def __init__(self, level: AckLevel, size: int, in_flight: int = 1) -> None:
        self._level, self._size, self._in_flight = level, size, in_flight
        self.name = "NATS JetStream R3" + (f", {in_flight} in flight" if in_flight > 1 else "")

    @property
    def conditions(self) -> str:
        return (
            f"three servers, file storage, written by two of three; {self._in_flight} in flight, "
            "published asynchronously"
        )

    def measure(self, seconds: float) -> Sample:
        if self._level is AckLevel.SYNCED:
            raise Skipped("this NATS has no setting that syncs before it acknowledges")
        server = program("nats-server", "nats-server")
        with Daemons() as servers:
            first = free_ports(2 * SERVERS)
            routes = ",".join(f"nats://127.0.0.1:{first + SERVERS + n}" for n in range(SERVERS))
            for number in range(SERVERS):
                servers.start(
                    f"nats-{number}",
                    *(server, "--jetstream", "--store_dir", str(servers.folder / str(number))),
                    *("--server_name", f"n{number}", "--addr", "127.0.0.1"),
                    *("--port", str(first + number), "--cluster_name", "bench"),
                    *("--cluster", f"nats://127.0.0.1:{first + SERVERS + number}"),
                    *("--routes", routes),
                )
            leader = self._make_stream(servers, first)
            load = PeerLoad(publish(SUBJECT, b"x" * self._size), 1, self._in_flight, Replies(ends))
            with self._connect(first + leader) as connection:
                return load.run(connection, servers, seconds)

    def _make_stream(self, servers: Daemons, first: int) -> int:
        """Makes the stream as soon as the cluster does; which server leads it."""
        wanted: dict[str, Any] = {"name": SUBJECT, "subjects": [SUBJECT], "storage": "file"}
        wanted |= {"num_replicas": SERVERS, "retention": "limits", "discard": "old"}
        leader = ""

        def look() -> bool:
            nonlocal leader
            answer = self._ask(first, "STREAM.CREATE", wanted)
            if "error" in answer:
                answer = self._ask(first, "STREAM.INFO", {})
            cluster = answer.get("cluster", {})
            leader = cluster.get("leader", "")
            replicas = cluster.get("replicas") or []
            current = [one for one in replicas if one.get("current")]
            return bool(leader) and len(current) == SERVERS - 1

        servers.wait("a stream with three replicas", look)
        return int(leader.removeprefix("n"))

    def _ask(self, port: int, what: str, body: dict[str, Any]) -> dict[str, Any]:
        with self._connect(port) as connection:
            payload = json.dumps(body).encode() if body else b""
            connection.sendall(publish(f"$JS.API.{what}.{SUBJECT}", payload))
            try:
                answer = read_until(connection, b"}\r\n")
            except InterlockError:
                return {"error": "no answer"}
        found: dict[str, Any] = json.loads(answer[answer.index(b"{") :])
        return found

    def _connect(self, port: int) -> socket.socket:
        """A connection whose greetings are over, and that hears its inbox."""
        connection = dial(port)
        connection.settimeout(2.0)
        connection.sendall(CONNECT)
        read_until(connection, b"PONG\r\n")
        connection.sendall(f"SUB {INBOX} 1\r\n".encode())
        return connection
