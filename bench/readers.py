"""Consumers in processes of their own: one that reads each message through the SDK, and many whose
sockets alone are read, or not even that.

Decides what a delivery is: the moment at which the application has the message.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import msgspec
import zmq

from ..client import Consumer
from ..shared.config import Config
from ..shared.credentials import credentials
from .collect import Span
from .latency import Histogram
from .raw import STAMP, connect
from .scenario import STAMP_BYTES, Scenario

GRACE_S = 1.0  # after the span: what was sent in it still comes
NO_STAMP = bytes(STAMP_BYTES)
DRAIN_HWM = 1_000


class ReadReport(msgspec.Struct, frozen=True):
    """What one reader got in its span: messages (0 where it does not look), frames, bytes, and how
    long messages took from their sending (an encoded histogram)."""

    delivered: int
    frames: int
    received_bytes: int
    seconds: float
    latency: bytes


class SdkReader:
    """Iterates over what is released from now on, and looks at every message."""

    def __init__(self, scenario: Scenario, config: Config) -> None:
        self._consumer = Consumer(config, from_seq=None, idle=scenario.client_idle.value)

    def run(self, span: Span) -> ReadReport:
        """Reads until the span has ended, and a little longer for what was sent in it."""
        left_s = (span.end_ns - time.monotonic_ns()) / 1e9 + GRACE_S
        ending = threading.Timer(max(0.0, left_s), self._consumer.close)
        ending.start()
        clock, unpack = time.monotonic_ns, STAMP.unpack_from
        read = taken = 0
        first: tuple[int, int] | None = None
        last = (0, 0)
        stamps: list[int] = []
        for message in self._consumer:
            read += 1
            taken += len(message.body)
            if message.body[:STAMP_BYTES] == NO_STAMP:
                continue
            now, sent_ns = clock(), unpack(message.body)[0]
            if span.begin_ns <= sent_ns < span.end_ns:
                stamps.append(now - sent_ns)
            if span.begin_ns <= now < span.end_ns:
                first = first or (read, now)
                last = (read, now)
        ending.join()
        histogram = Histogram()
        histogram.record_all(stamps)
        delivered = last[0] - first[0] if first else 0
        seconds = (last[1] - first[1]) / 1e9 if first else 0.0
        return ReadReport(delivered, 0, taken, seconds, histogram.encode())


class Drains:
    """Subscribers in one process: some read their sockets and throw away what comes, some sleep."""

    def __init__(self, scenario: Scenario, config: Config) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self._poller = zmq.Poller()
        self._sleepers = []
        endpoint, who = config.node(config.pair.primary).feed, credentials(config)
        for index in range(scenario.drains + scenario.sleepers):
            socket = connect(self._context, zmq.SUB, endpoint, who, hwm=DRAIN_HWM)
            socket.setsockopt(zmq.SUBSCRIBE, b"")
            if index < scenario.drains:
                self._poller.register(socket, zmq.POLLIN)
            else:
                self._sleepers.append(socket)

    def run(self, span: Span) -> ReadReport:
        frames = size = 0
        while (now := time.monotonic_ns()) < span.end_ns:
            ready = self._poller.poll(min(100, max(1, (span.end_ns - now) // 1_000_000)))
            counts = now >= span.begin_ns
            for socket, _ in ready:
                try:
                    while True:
                        frame = socket.recv(zmq.NOBLOCK)
                        frames += counts
                        size += len(frame) * counts
                except zmq.Again:
                    continue
        self._context.destroy(linger=0)
        return ReadReport(0, frames, size, span.seconds, Histogram().encode())
