"""Latencies: an HdrHistogram, its percentiles, and how it travels between processes.

Decides precision (three digits) and range (0.1 us to 10 minutes). Values are recorded after a run,
as recording costs more than a round trip's fair share.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from hdrh.histogram import HdrHistogram

UNIT_NS = 100
HIGHEST = 600_000_000_000 // UNIT_NS
PERCENTILES = (50.0, 90.0, 99.0, 99.9)
# Of a curve over percentiles, for plots: each step halves what is left to 100.
CURVE = tuple(100.0 * (1 - 0.5**step) for step in range(18))
# Of the messages of one record, whose latencies are a straight line: so many are recorded.
MAX_PER_RECORD = 16


class Latency(msgspec.Struct, frozen=True):
    """A distribution in microseconds; `curve`: percentile and value, for plots."""

    count: int = 0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    p999: float = 0.0
    max: float = 0.0
    curve: list[tuple[float, float]] = []


class Histogram:
    """Collects nanoseconds."""

    def __init__(self, encoded: bytes = b"") -> None:
        self._hdr = HdrHistogram(1, HIGHEST, 3)
        if encoded:
            self._hdr.decode_and_add(encoded)

    def record(self, value_ns: int, count: int = 1) -> None:
        self._hdr.record_value(min(HIGHEST, max(1, value_ns // UNIT_NS)), count)

    def record_all(self, values_ns: Iterable[int]) -> None:
        for value_ns in values_ns:
            self.record(value_ns)

    def record_span(self, newest_ns: int, step_ns: float, count: int) -> None:
        """`count` messages that were due `step_ns` apart and confirmed at once: the latency of the
        newest is `newest_ns`, that of each one before it a step more."""
        taken = min(count, MAX_PER_RECORD)
        share, rest = divmod(count, taken)
        for index in range(taken):
            at = (index + 0.5) * count / taken - 0.5
            self.record(newest_ns + int(at * step_ns), share + (index < rest))

    def add(self, encoded: bytes) -> None:
        self._hdr.decode_and_add(encoded)

    def encode(self) -> bytes:
        return bytes(self._hdr.encode())

    def latency(self) -> Latency:
        """Its percentiles; all 0 if nothing was recorded."""
        count = int(self._hdr.get_total_count())
        if not count:
            return Latency()
        at = self._hdr.get_percentile_to_value_dict([*PERCENTILES, *CURVE, 100.0])
        scale = UNIT_NS / 1_000
        # Beyond what so many values can tell the curve is flat: leave it out.
        curve = [(p, round(at[p] * scale, 1)) for p in CURVE if (100 - p) / 100 * count >= 1]
        p50, p90, p99, p999 = (round(at[p] * scale, 1) for p in PERCENTILES)
        return Latency(count, p50, p90, p99, p999, round(at[100.0] * scale, 1), curve)
