"""Producers of the SDK under load, each in a process of its own.

Decides when each message is sent and what it carries: a stamp in every 64th (each one in a closed
loop), as reading the clock for each would be part of what is measured.
"""

from __future__ import annotations

import time

from ..client import Producer
from ..shared.config import Config
from .collect import Collector, Span
from .raw import STAMP
from .scenario import STAMP_BYTES, Load, Scenario

STAMP_EVERY = 64
WAIT_S = 30.0


class SdkLoad:
    """One producer of the SDK. Its share of an open rate is `rate`."""

    def __init__(self, scenario: Scenario, config: Config, name: str) -> None:
        self._scenario = scenario
        self._collector = Collector()
        self._filler = b"x" * (scenario.size - STAMP_BYTES)
        self._producer = self._connect(config, name)

    def _connect(self, config: Config, name: str) -> Producer:
        scenario, idle = self._scenario, self._scenario.client_idle.value
        if not scenario.record:
            return Producer(name, config, window=scenario.window, connect_timeout=WAIT_S, idle=idle)
        return Producer(
            name,
            config,
            window=scenario.window,
            record_messages=scenario.record,
            record_bytes=scenario.record * (scenario.size + 8),
            records_in_flight=scenario.records_in_flight,
            connect_timeout=WAIT_S,
            idle=idle,
        )

    def run(self, span: Span) -> Collector:
        """Sends until the span has ended, and waits for what is in flight then."""
        with self._producer:
            match self._scenario.load:
                case Load.CLOSED:
                    self._run_closed(span)
                case Load.OPEN:
                    self._run_open(span)
                case Load.SATURATION:
                    self._run_full(span)
            self._producer.flush(WAIT_S)
        return self._collector

    def _run_closed(self, span: Span) -> None:
        clock, send, filler = time.monotonic_ns, self._producer.send, self._filler
        take, pack = self._collector.take, STAMP.pack
        while (begin := clock()) < span.end_ns:
            send(pack(begin) + filler).result(WAIT_S)
            take(begin, clock(), 1)

    def _run_full(self, span: Span) -> None:
        clock, send = time.monotonic_ns, self._producer.send
        plain = bytes(STAMP_BYTES) + self._filler
        self._producer.on_record_confirmed = self._confirmed
        while (now := clock()) < span.end_ns:
            send(STAMP.pack(now) + self._filler)
            for _ in range(STAMP_EVERY - 1):
                send(plain)

    def _confirmed(self, rtt_ns: int, count: int) -> None:
        now = time.monotonic_ns()
        self._collector.take(now - rtt_ns, now, count)

    def _run_open(self, span: Span) -> None:
        """The message of number n is due at begin + n steps, whatever happened to those before."""
        send, clock = self._producer.send, time.monotonic_ns
        plain = bytes(STAMP_BYTES) + self._filler
        step_ns = 1e9 * self._scenario.producers / self._scenario.rate
        begin_ns, sent, confirmed = clock(), 0, 0
        collector = self._collector
        collector.set_step(step_ns)

        def took(rtt_ns: int, count: int) -> None:
            nonlocal confirmed
            collector.take(begin_ns + int(confirmed * step_ns), clock(), count)
            confirmed += count

        self._producer.on_record_confirmed = took
        while (due_ns := begin_ns + int(sent * step_ns)) < span.end_ns:
            if (ahead_ns := due_ns - clock()) > 0:
                time.sleep(ahead_ns / 1e9)
            send(plain if sent % STAMP_EVERY else STAMP.pack(due_ns) + self._filler)
            sent += 1
