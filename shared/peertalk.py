"""Questions to the peer's control socket, and how long each of them waits. No I/O.

Decides when a question counts as unanswered. The handler is called once: with the answer, or with
None when the patience is over. What silence means is for the asker; it is never proof of death.
"""

from __future__ import annotations

from collections.abc import Callable

from .commands import PeerQuestion
from .effects import AskPeer, Effect
from .events import PeerAnswered

Handler = Callable[[PeerAnswered | None, int, int], None]


class PeerTalk:
    """The questions that are open. Their effects are collected in `effects`."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self._open: dict[int, tuple[int, Handler]] = {}
        self._next = 1

    def ask(self, question: PeerQuestion, patience_ns: int, handler: Handler, now_ns: int) -> None:
        """Asks, and has `handler(answer or None, now_ns, wall_ns)` called."""
        number, self._next = self._next, self._next + 1
        self._open[number] = (now_ns + patience_ns, handler)
        self.effects.append(AskPeer(number, question, patience_ns))

    def on_answered(self, event: PeerAnswered, now_ns: int, wall_ns: int) -> None:
        _, handler = self._open.pop(event.number, (0, None))
        if handler is not None:
            handler(event, now_ns, wall_ns)

    def expire(self, now_ns: int, wall_ns: int) -> None:
        """Ends the questions whose patience is over."""
        over = [number for number, (end_ns, _) in self._open.items() if now_ns >= end_ns]
        for number in over:
            _, handler = self._open.pop(number)
            handler(None, now_ns, wall_ns)

    def forget(self) -> None:
        """The node changes its role: who asked is gone."""
        self._open.clear()
