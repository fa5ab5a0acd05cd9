"""How long a producer holds back after a node said that it takes nothing at the moment.

Decides when to try again. Does not decide what such a refusal is nor what is sent then.

The hold is half of the time for which nothing was taken so far, within bounds. A drain that is
called off after 20 ms so costs 30, while a stall of minutes is asked about four times a second.
Doubling each hold would cost up to twice the time that has passed.
"""

from __future__ import annotations

from typing import Final

_MS: Final = 1_000_000
_HOLD_MIN_NS: Final = 5 * _MS
_HOLD_MAX_NS: Final = 250 * _MS


class Hold:
    """`until_ns` is when to try again; 0 while nothing is held back."""

    def __init__(self) -> None:
        self.until_ns = 0
        self._since_ns = 0

    def refused(self, now_ns: int) -> None:
        """Nothing is taken now."""
        self._since_ns = self._since_ns or now_ns
        wait_ns = (now_ns - self._since_ns) // 2
        self.until_ns = now_ns + max(_HOLD_MIN_NS, min(wait_ns, _HOLD_MAX_NS))

    def progressed(self) -> None:
        """Something of ours was confirmed: the next refusal is a new story."""
        self._since_ns = 0

    def over(self, now_ns: int) -> bool:
        """Whether a hold has ended by now; says so once."""
        if not self.until_ns or now_ns < self.until_ns:
            return False
        self.until_ns = 0
        return True

    def clear(self) -> None:
        """Another node, or a new session: all is forgotten."""
        self.until_ns = self._since_ns = 0
