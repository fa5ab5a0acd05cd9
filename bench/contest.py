"""Contenders side by side: measured in turn (A B A B ...), compared within each round.

Decides what a ratio is: of two runs of the same round, so that what the machine did meanwhile
happened to both; and the median over the rounds. A contender that cannot run here is skipped with
the reason.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from ..shared.errors import InterlockError
from .latency import Latency


class Skipped(InterlockError):
    """A contender cannot be measured here; the text says what is missing."""


class Sample(msgspec.Struct, frozen=True):
    """One run of one contender. `cpu_us_per_message`: of its servers (0: not known)."""

    latency: Latency
    per_s: float
    cpu_us_per_message: float = 0.0


class Contender(Protocol):
    """Something that takes a message, holds it on two nodes, and says so."""

    @property
    def name(self) -> str: ...

    @property
    def conditions(self) -> str:
        """What is durable where when a message is confirmed, and how it is sent."""
        ...

    def measure(self, seconds: float) -> Sample:
        """Starts it, measures, and stops it. Raises Skipped if it cannot run here."""
        ...


class Entry(msgspec.Struct, frozen=True):
    """What a contender did over all rounds: its samples in order, medians, and the ratio of the
    first contender to it (above 1: the first one's value is higher)."""

    name: str
    conditions: str
    samples: list[Sample]
    p50: float = 0.0
    p99: float = 0.0
    per_s: float = 0.0
    p50_ratio: float = 0.0
    p99_ratio: float = 0.0
    rate_ratio: float = 0.0
    skipped: str = ""


class Contest(msgspec.Struct, frozen=True):
    """A finished comparison; the first entry is the one that the ratios are of."""

    title: str
    rounds: int
    seconds: float
    entries: list[Entry]

    def entry(self, name: str) -> Entry | None:
        """The entry of that name, if it was measured."""
        return next((one for one in self.entries if one.name == name and one.samples), None)


def hold(
    title: str,
    contenders: Sequence[Contender],
    rounds: int,
    seconds: float,
    tell: Callable[[str], None] = lambda text: None,
) -> Contest:
    """Measures all of them `rounds` times, in turn. `tell` hears what is measured next."""
    samples: list[list[Sample]] = [[] for _ in contenders]
    skipped: dict[int, str] = {}
    for number in range(1, rounds + 1):
        for index, contender in enumerate(contenders):
            if index in skipped:
                continue
            tell(f"{title}, round {number} of {rounds}: {contender.name}")
            try:
                samples[index].append(contender.measure(seconds))
            except Skipped as reason:
                skipped[index] = str(reason)
    entries = [
        _entry(one, samples[index], samples[0], skipped.get(index, ""))
        for index, one in enumerate(contenders)
    ]
    return Contest(title, rounds, seconds, entries)


def _entry(one: Contender, samples: list[Sample], first: list[Sample], skipped: str) -> Entry:
    if skipped or not samples:
        return Entry(one.name, one.conditions, [], skipped=skipped)

    def ratio(value: Callable[[Sample], float]) -> float:
        pairs = [value(a) / value(b) for a, b in zip(first, samples, strict=False) if value(b)]
        return round(statistics.median(pairs), 3) if pairs else 0.0

    return Entry(
        one.name,
        one.conditions,
        samples,
        statistics.median(sample.latency.p50 for sample in samples),
        statistics.median(sample.latency.p99 for sample in samples),
        statistics.median(sample.per_s for sample in samples),
        ratio(lambda sample: sample.latency.p50),
        ratio(lambda sample: sample.latency.p99),
        ratio(lambda sample: sample.per_s),
    )
