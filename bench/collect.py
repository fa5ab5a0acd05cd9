"""What a load keeps of each record that was confirmed, and what it reports of a span of time.

Decides which messages count: those that were due within the span, however late they came, for the
latency; those that were confirmed within it for the rate.
"""

from __future__ import annotations

from array import array

import msgspec

from .latency import Histogram

SLICES = 10  # of a span: whether its latency drifts


class Span(msgspec.Struct, frozen=True):
    """When what happens counts, on the machine's monotonic clock."""

    begin_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.begin_ns) / 1e9


class LoadReport(msgspec.Struct, frozen=True):
    """What one load did in its span. `latency`: an encoded histogram; `slices`: one for each tenth
    of the span."""

    confirmed: int
    records: int
    latency: bytes
    slices: list[bytes]


class Collector:
    """Collects cheaply while the load runs, and works it out afterwards."""

    def __init__(self) -> None:
        self._rows = array("q")
        self._step_ns = 0.0

    def set_step(self, step_ns: float) -> None:
        """How far apart messages of one record were due."""
        self._step_ns = step_ns

    def take(self, due_ns: int, confirmed_ns: int, count: int) -> None:
        """`count` messages are confirmed, of which the first was due at `due_ns`."""
        self._rows.extend((due_ns, confirmed_ns, count))

    def report(self, span: Span) -> LoadReport:
        whole, slices = Histogram(), [Histogram() for _ in range(SLICES)]
        confirmed = records = 0
        rows, step_ns = self._rows, self._step_ns
        length = span.end_ns - span.begin_ns
        for at in range(0, len(rows), 3):
            due_ns, confirmed_ns, count = rows[at : at + 3]
            if span.begin_ns <= confirmed_ns < span.end_ns:
                confirmed += count
                records += 1
            if not span.begin_ns <= due_ns < span.end_ns:
                continue
            newest_ns = confirmed_ns - due_ns - int((count - 1) * step_ns)
            part = slices[(due_ns - span.begin_ns) * SLICES // length]
            for histogram in (whole, part):
                if step_ns:
                    histogram.record_span(newest_ns, step_ns, count)
                else:
                    histogram.record(newest_ns, count)
        encoded = [part.encode() for part in slices]
        return LoadReport(confirmed, records, whole.encode(), encoded)
