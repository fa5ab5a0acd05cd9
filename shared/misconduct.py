"""Peers that send what is no message: counted, and for a while not listened to.

Decides when a peer has sent too much of it. A client with a bug is told the reason of each refusal;
one that does nothing else costs a node the decoding and the answers, so it gets neither for a
while, and for twice as long the next time. A peer is known by its key, or by its connection where
there are no keys. Pure: time is an argument.
"""

from __future__ import annotations

from typing import Final

from .limits import BAD_SECONDS, BAN_SECONDS, MAX_BAD_FRAMES, MAX_BAN_SECONDS, MAX_MISBEHAVING

_S: Final = 1_000_000_000
Peer = str | bytes


class Misconduct:
    """The bad frames of lately, by peer."""

    def __init__(self) -> None:
        self._counts: dict[Peer, tuple[int, int]] = {}  # since when, and how many
        self.until_ns: dict[Peer, int] = {}  # who is banned; empty most of the time
        self._bans: dict[Peer, int] = {}  # so many so far

    def bad(self, peer: Peer, now_ns: int) -> bool:
        """Counts a bad frame; true if the peer is banned because of it."""
        since_ns, count = self._counts.get(peer, (now_ns, 0))
        if now_ns - since_ns > BAD_SECONDS * _S:
            since_ns, count = now_ns, 0
        if count + 1 < MAX_BAD_FRAMES:
            if len(self._counts) >= MAX_MISBEHAVING and peer not in self._counts:
                del self._counts[next(iter(self._counts))]
            self._counts[peer] = (since_ns, count + 1)
            return False
        self._counts.pop(peer, None)
        for table in (self.until_ns, self._bans):
            if len(table) >= MAX_MISBEHAVING and peer not in table:
                del table[next(iter(table))]
        bans = self._bans.get(peer, 0)
        self._bans[peer] = bans + 1
        seconds = min(BAN_SECONDS << bans, MAX_BAN_SECONDS)
        self.until_ns[peer] = now_ns + seconds * _S
        return True

    def is_banned(self, peer: Peer, now_ns: int) -> bool:
        """Whether nothing is taken from the peer now."""
        if peer not in self.until_ns:
            return False
        if now_ns < self.until_ns[peer]:
            return True
        del self.until_ns[peer]
        return False

    def banned(self, now_ns: int) -> list[Peer]:
        """The peers that are banned now."""
        return [peer for peer, until_ns in self.until_ns.items() if now_ns < until_ns]
