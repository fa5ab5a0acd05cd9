"""Rates and the curves of the last minutes, from one sample of the pair per second. Pure.

Decides how counts become rates. A sample is of whoever leads; where nobody is heard there is a
hole, drawn as one, and no rate is computed across it or across a count that fell (a restart).
"""

from __future__ import annotations

from collections import deque
from itertools import islice, pairwise, takewhile
from typing import Final

import msgspec

from .view import RatesView, Trend

EVERY_S: Final = 1.0
KEPT: Final = 600  # seconds
RATE_OVER: Final = 3  # samples: long enough to smooth a telemetry interval, short enough to follow


class Sample(msgspec.Struct, frozen=True):
    """The pair at one time; None: not known then. Counts, but for pending and lag."""

    at: float
    accepted: int | None = None
    released: int | None = None
    bytes: int | None = None
    pending: int | None = None
    pending_bytes: int | None = None
    lag_ms: float | None = None
    refused: int | None = None


class Trends:
    """The samples of the last minutes."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=KEPT)

    def due(self, now: float) -> bool:
        """Whether it is time for a sample."""
        return not self._samples or now - self._samples[-1].at >= EVERY_S

    def add(self, sample: Sample) -> None:
        """Takes a sample; the seconds that were missed since the last one become holes."""
        if self._samples:
            missed = int(sample.at - self._samples[-1].at - EVERY_S / 2)
            first = self._samples[-1].at
            for number in range(1, min(missed, KEPT) + 1):
                self._samples.append(Sample(first + number * EVERY_S))
        self._samples.append(sample)

    def rates(self) -> RatesView:
        """Over the last few samples."""
        names = ("accepted", "released", "bytes", "refused")
        return RatesView(*map(self._rate, names))

    def growth(self, name: str) -> float | None:
        """How fast a number that may fall grows, per second."""
        return self._slope(name)

    def curves(self) -> list[Trend]:
        """Rates in and out, pending and lag, one value per sample."""
        return [
            Trend("in/s", self._differences("accepted")),
            Trend("out/s", self._differences("released")),
            Trend("pending", [sample.pending for sample in self._samples]),
            Trend("lag ms", [sample.lag_ms for sample in self._samples]),
        ]

    def _rate(self, name: str) -> float | None:
        slope = self._slope(name)
        return slope if slope is None or slope >= 0 else None

    def _slope(self, name: str) -> float | None:
        newest = list(islice(reversed(self._samples), RATE_OVER + 1))
        known = list(takewhile(lambda one: getattr(one, name) is not None, newest))
        if len(known) < 2:
            return None
        last, first = known[0], known[-1]
        return float(getattr(last, name) - getattr(first, name)) / (last.at - first.at)

    def _differences(self, name: str) -> list[float | None]:
        found: list[float | None] = []
        for one, two in pairwise(self._samples):
            before, after = getattr(one, name), getattr(two, name)
            if before is None or after is None or after < before or two.at <= one.at:
                found.append(None)
            else:
                found.append((after - before) / (two.at - one.at))
        return found
