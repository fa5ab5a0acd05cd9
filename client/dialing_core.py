"""Which node a producer tries next, and how long it looks whether anybody is there.

Decides the order of endpoints, when a round of them is over, and how long an endpoint may take to
accept a connection. Does not decide when to give up a node that has accepted one, nor the pace of
rounds: `connection_core` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_MS: Final = 1_000_000

# A refusal may name where the leader is. Only the first few names are followed: the list comes
# from the other end.
_MAX_LEADERS: Final = 4

# How long to look for a node that has never answered, and at least for one that has. Every second
# look in vain is followed by one of twice the length, every fourth by one of four times, and so on:
# most looks are short, so that a standby that is promoted meanwhile is found soon; still there is a
# long one now and then, for a node that has become slow or is far away.
_LOOK_UNKNOWN_NS: Final = 125 * _MS
_LOOK_MIN_NS: Final = 50 * _MS
_LOOK_MAX_NS: Final = 1_000 * _MS
_STEPS_UNKNOWN: Final = 3
_STEPS: Final = 2
_LOOK_FACTOR: Final = 4  # of the time that the node took to answer when it was quickest
_MAX_REMEMBERED: Final = 16


class Dialing:
    """Tries each known endpoint once a round, from the one that was good last.

    A node that says where the leader is has that endpoint tried next; once a round, or two nodes
    that each take the other for the leader would send us to and fro without a pause. A new round
    begins with the leader that was named last.
    """

    def __init__(self, endpoints: Sequence[str]) -> None:
        self._endpoints = list(endpoints)
        self.current = self._endpoints[0]
        self._tried: set[str] = set()
        self._leaders: list[str] = []
        self._named: Sequence[str] = ()

    def again(self) -> str:
        """A new round that starts with the present endpoint."""
        self._begin(self.current)
        return self.current

    def next(self, leaders: Sequence[str] = ()) -> str | None:
        """The endpoint to try after the present one, which may have named `leaders`; None when the
        round is over.
        """
        self._named = leaders[:_MAX_LEADERS]
        self._leaders += self._named
        start = self._endpoints.index(self.current) + 1 if self.current in self._endpoints else 0
        for endpoint in (*self._leaders, *self._endpoints[start:], *self._endpoints[:start]):
            if endpoint not in self._tried:
                self._tried.add(endpoint)
                self.current = endpoint
                return endpoint
        return None

    def new_round(self) -> str:
        """The endpoint to try first when a round was in vain."""
        first = self._named[0] if self._named else None
        self._begin(first)
        return first or self.next() or self.again()

    def _begin(self, first: str | None) -> None:
        self._tried.clear()
        self._leaders.clear()
        if first is not None:
            self._tried.add(first)
            self.current = first

    @property
    def all(self) -> str:
        """The known endpoints, for an error's text."""
        return ", ".join(self._endpoints)


class Looks:
    """How long to look whether somebody is at an endpoint.

    A killed process refuses connections, a frozen or cut-off one leaves them open without a word.
    Neither takes a hello, so both cost a look, not the time-out of a node that has taken one.
    """

    def __init__(self) -> None:
        self._answered_ns: dict[str, int] = {}
        self._in_vain: dict[str, int] = {}

    def duration_ns(self, endpoint: str) -> int:
        """How long the next look at `endpoint` lasts."""
        base, steps = _LOOK_UNKNOWN_NS, _STEPS_UNKNOWN
        if endpoint in self._answered_ns:
            base, steps = max(_LOOK_MIN_NS, _LOOK_FACTOR * self._answered_ns[endpoint]), _STEPS
        number = self._in_vain.get(endpoint, 0) + 1
        doublings = (number & -number).bit_length() - 1  # 0 1 0 2 0 1 0 3 ...
        return min(base << min(doublings, steps), _LOOK_MAX_NS)

    def answered(self, endpoint: str, after_ns: int) -> None:
        """The first word came `after_ns` after the dialling. The quickest counts: a node may hold
        a hello back for reasons of its own.
        """
        if len(self._answered_ns) >= _MAX_REMEMBERED and endpoint not in self._answered_ns:
            self._answered_ns.clear()
        self._answered_ns[endpoint] = min(after_ns, self._answered_ns.get(endpoint, after_ns))
        self._in_vain.pop(endpoint, None)

    def failed(self, endpoint: str) -> None:
        """Nobody was there."""
        if len(self._in_vain) >= _MAX_REMEMBERED and endpoint not in self._in_vain:
            self._in_vain.clear()
        self._in_vain[endpoint] = self._in_vain.get(endpoint, 0) + 1
