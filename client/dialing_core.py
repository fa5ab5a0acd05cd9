"""Which node a producer tries next.

Decides the order of endpoints and when a round of them is over. Does not decide when to give an
endpoint up: `producer_core` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

# A refusal may name where the leader is. Only the first few names are followed: the list comes
# from the other end.
_MAX_LEADERS: Final = 4


class Dialing:
    """Tries each known endpoint once a round, from the one that was good last.

    A node that says where the leader is has that endpoint tried next; once a round, or two nodes
    that each take the other for the leader would send us to and fro without a pause.
    """

    def __init__(self, endpoints: Sequence[str]) -> None:
        self._endpoints = list(endpoints)
        self.current = self._endpoints[0]
        self._tried: set[str] = set()
        self._leaders: list[str] = []

    def again(self) -> str:
        """A new round that starts with the present endpoint."""
        self._leaders.clear()
        self._tried = {self.current}
        return self.current

    def next(self, leaders: Sequence[str] = ()) -> str | None:
        """The endpoint to try after the present one; None when the round is over."""
        self._leaders += leaders[:_MAX_LEADERS]
        start = self._endpoints.index(self.current) + 1 if self.current in self._endpoints else 0
        for endpoint in (*self._leaders, *self._endpoints[start:], *self._endpoints[:start]):
            if endpoint not in self._tried:
                self._tried.add(endpoint)
                self.current = endpoint
                return endpoint
        return None

    def new_round(self) -> str:
        """The endpoint to try first after a pause: the one after the present one."""
        self._tried.clear()
        self._leaders.clear()
        return self.next() or self.again()

    @property
    def all(self) -> str:
        """The known endpoints, for an error's text."""
        return ", ".join(self._endpoints)
