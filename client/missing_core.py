"""Whether a confirmation is missing, so that its numbers are submitted again.

Decides by two signs. A hole: newer numbers are confirmed and older ones are not; what was released
while the connection was broken is confirmed only when it is submitted again. And silence of a
primary that releases: it answers pings and confirms nothing; a node drops a reply that it cannot
hand over, and if that was the last one no later confirmation shows the hole. Submitting again costs
little: what the log holds is recognised by its number and confirmed once more.
"""

from __future__ import annotations

from typing import Final

_MS: Final = 1_000_000
HOLE_NS: Final = 1_000 * _MS
SILENCE_NS: Final = 2_000 * _MS  # doubled each time, up to
SILENCE_MAX_NS: Final = 30_000 * _MS
RELEASING: Final = ("GATED", "SOLO")


class Missing:
    """What is known of the confirmations that a producer waits for."""

    def __init__(self) -> None:
        self._hole_since_ns = 0
        self._left_aside = 0  # the highest number that was confirmed behind a hole
        self._waits_since_ns = 0
        self._silence_ns = SILENCE_NS

    def sent_first(self, now_ns: int) -> None:
        """Something is under way, and nothing was."""
        self._waits_since_ns = now_ns

    def hole(self, last: int, now_ns: int) -> None:
        """Numbers up to `last` were confirmed, and the next one was not: they are left aside."""
        self._hole_since_ns = self._hole_since_ns or now_ns
        self._left_aside = max(self._left_aside, last)

    def progressed(self, confirmed: int, now_ns: int) -> None:
        """All numbers up to `confirmed` are confirmed."""
        if confirmed >= self._left_aside:
            self._hole_since_ns = self._left_aside = 0
        self._waits_since_ns = now_ns
        self._silence_ns = SILENCE_NS

    def went_back(self, now_ns: int) -> None:
        """All is submitted again."""
        self._hole_since_ns = self._left_aside = 0
        self._waits_since_ns = now_ns

    def hole_ends_ns(self) -> int:
        """When a hole has stayed for too long; 0: there is none."""
        return self._hole_since_ns + HOLE_NS if self._hole_since_ns else 0

    def heard_state(self, state: str, before: str, now_ns: int) -> bool:
        """The primary answers a ping in `state`. Whether all is to be submitted again."""
        if state not in RELEASING or state != before:
            self._waits_since_ns = now_ns
            return False
        if now_ns - self._waits_since_ns < self._silence_ns:
            return False
        self._silence_ns = min(2 * self._silence_ns, SILENCE_MAX_NS)
        return True
