"""The client of all peers: requests that were encoded once, sent on one connection, and answers of
which only the ends are looked for.

No client library is faster than that, so what is compared is the servers: every peer gets the
benefit of it, while the pair is measured through its own SDK and a Python producer.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable

import msgspec

from ..shared.errors import InterlockError
from .collect import Collector, Span
from .contest import Sample
from .daemon import Daemons
from .latency import Histogram

RECEIVE_BYTES = 1 << 18
WARM_UP_SHARE = 5  # of the time that counts


class Replies(msgspec.Struct):
    """How to read answers: `ends` takes what has come and returns how many requests it answers,
    and what is left of it. It raises InterlockError for an answer that is an error."""

    ends: Callable[[bytes], tuple[int, bytes]]


class PeerLoad(msgspec.Struct):
    """`request` carries `count` messages; `depth` of them are in flight."""

    request: bytes
    count: int
    depth: int
    replies: Replies

    def run(self, connection: socket.socket, servers: Daemons, seconds: float) -> Sample:
        """Sends for so long after a warm-up, and waits for what is in flight then.

        The first request goes alone: a replica may answer that one only with its next heartbeat.
        """
        connection.sendall(self.request)
        ended, rest = 0, b""
        while not ended:
            ended, rest = self.replies.ends(rest + receive(connection))
        begin_ns = time.monotonic_ns() + int(seconds * 1e9 / WARM_UP_SHARE)
        span = Span(begin_ns, begin_ns + int(seconds * 1e9))
        collector, clock = Collector(), time.monotonic_ns
        sent: deque[int] = deque()
        used_s, counting = 0.0, False
        while (now := clock()) < span.end_ns or sent:
            if not counting and now >= span.begin_ns:
                counting, used_s = True, servers.cpu_s()
            while len(sent) < self.depth and now < span.end_ns:
                sent.append(now)
                connection.sendall(self.request)
                now = clock()
            ended, rest = self.replies.ends(rest + receive(connection))
            now = clock()
            for _ in range(ended):
                collector.take(sent.popleft(), now, self.count)
        report = collector.report(span)
        cpu_us = (servers.cpu_s() - used_s) * 1e6 / max(1, report.confirmed)
        latency = Histogram(report.latency).latency()
        return Sample(latency, round(report.confirmed / span.seconds, 1), round(cpu_us, 3))


def receive(connection: socket.socket) -> bytes:
    """Some bytes, which come before the connection's time-out, or an InterlockError."""
    try:
        came = connection.recv(RECEIVE_BYTES)
    except TimeoutError:
        raise InterlockError("the server has not answered in time") from None
    if not came:
        raise InterlockError("the server has closed the connection")
    return came


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """What comes up to and with `end`, when nothing is expected after it."""
    found = b""
    while not found.endswith(end):
        found += receive(connection)
    return found
