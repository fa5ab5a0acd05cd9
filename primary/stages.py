"""How long the steps of a message's way take on this node: one record after the other is timed.

Decides nothing. Turns have one time, so the shell says when the effects of a turn were performed. A
record is timed from the turn in which it was taken to the one that releases it; meanwhile no other
is, which bounds what timing costs. What lies before and after (the producer's way here, the
consumer's way from here) is not in it.
"""

from __future__ import annotations

from collections import deque

from ..shared.telemetry import StageStatus

NAMES = ("intake", "replicate+write", "ack", "release", "rtt")
SAMPLES = 512  # kept of each step
EVERY_NS = 2_000_000  # between two records that are timed
REPORT_EVERY_NS = 1_000_000_000
LATELY_NS = 10_000_000_000  # older samples tell nothing of now


class Stages:
    """The steps of the records that were timed lately."""

    def __init__(self) -> None:
        self.seq = 0  # of the record that is being timed; 0: none
        self._taken_ns = self._sequenced_ns = self._written_ns = 0
        self._due_ns = 0
        self._report: list[StageStatus] = []
        self._reported_ns = -REPORT_EVERY_NS
        self._samples: deque[tuple[int, tuple[int, ...]]] = deque(maxlen=SAMPLES)

    def is_due(self, now_ns: int) -> bool:
        return self.seq == 0 and now_ns >= self._due_ns

    def begin(self, seq: int, turn_ns: int, now_ns: int) -> None:
        """Times the record that ends at `seq`: taken in the turn of `turn_ns`, sequenced by now."""
        self.seq = seq
        self._taken_ns, self._sequenced_ns, self._written_ns = turn_ns, now_ns, 0

    def performed(self, released_seq: int, turn_ns: int, now_ns: int) -> None:
        """The effects of the turn of `turn_ns` are performed now."""
        if not self._written_ns:
            self._written_ns = now_ns
        if released_seq < self.seq:
            return
        acked_ns = max(turn_ns, self._written_ns)
        steps = (
            self._sequenced_ns - self._taken_ns,
            self._written_ns - self._sequenced_ns,
            acked_ns - self._written_ns,
            now_ns - acked_ns,
            now_ns - self._taken_ns,
        )
        self._samples.append((now_ns, steps))
        self.seq, self._due_ns = 0, now_ns + EVERY_NS

    def report(self, now_ns: int) -> list[StageStatus]:
        """Each step, by what was timed lately; empty if nothing was. It is made anew once a second:
        sorting all samples takes as long as a few messages do."""
        if not self._report or now_ns - self._reported_ns >= REPORT_EVERY_NS:
            self._reported_ns = now_ns
            self._report = self._summaries(now_ns)
        return self._report

    def _summaries(self, now_ns: int) -> list[StageStatus]:
        while self._samples and now_ns - self._samples[0][0] > LATELY_NS:
            self._samples.popleft()
        columns = zip(*(steps for _, steps in self._samples), strict=True)
        return [_summary(name, column) for name, column in zip(NAMES, columns, strict=False)]


def _summary(name: str, column: tuple[int, ...]) -> StageStatus:
    ordered = sorted(column)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1_000

    return StageStatus(name, at(0.5), at(0.99), ordered[-1] / 1_000)
