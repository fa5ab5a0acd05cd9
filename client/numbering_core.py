"""Which numbers a producer's messages have, in the light of what the log says at each welcome.

Decides where numbering starts, when unconfirmed messages get new numbers, and when the log can not
be the one that was confirmed to us. Does not decide when anything is sent.

The danger is one number for two messages: the log takes each number once, so the second would be
taken for a repetition and confirmed with the seq of the first. Three histories:
- A session starts after number 100 and confirms 101. The next welcome ends at 100: a confirmed
  message is gone, and going on would hide it.
- A session starts after 100, of which 91 to 100 were sequenced for an earlier session and never
  released. They die with the old primary; the next welcome ends at 90. Waiting for a log that takes
  101 would wait for ever: nothing was confirmed here, so 101 becomes 91.
- A session sends up to 110 and is cut off. Another one takes the name, reaches 150 and leaves; the
  node restarts and forgets both. The next welcome ends at 150: what 101 to 110 are nobody can tell.
"""

from __future__ import annotations

from ..shared.messages import ProducerWelcome
from .backlog import Backlog
from .errors import ClientError, HistoryError, TakenOverError


class Numbering:
    """The numbers of one producer's backlog."""

    def __init__(self, name: str, backlog: Backlog, resume: bool) -> None:
        """`resume`: start after what is confirmed in the log; else after what is in it."""
        self.sent_high = 0
        self._name = name
        self._backlog = backlog
        self._resume = resume
        self._started = False
        self._start = 0
        self._released = 0

    def agree(self, welcome: ProducerWelcome) -> ClientError | None:
        """Fits the numbers to what the node's log holds, or says why that is impossible."""
        backlog = self._backlog
        accepted = welcome.accepted_producer_seq
        if not self._started:
            self._started = True
            self.sent_high = accepted
            self._released = welcome.confirmed_producer_seq
            self._start = self._released if self._resume else accepted
            backlog.start(self._start)
            return None
        confirmed_here = backlog.confirmed > self._start
        floor = backlog.confirmed if confirmed_here else self._released
        if accepted < floor:
            return HistoryError(
                f"the log of node {welcome.node} in epoch {welcome.epoch} ends at producer_seq "
                f"{accepted} of {self._name}, but {floor} was confirmed: a confirmed message is "
                "gone; an operator gave it up (--accept-loss), or the node came back with an older "
                "copy of the log: see interlock history, and submit what is missing anew"
            )
        if accepted > self.sent_high:
            return self.taken_over(
                f"the log holds its producer_seq {accepted}, this session has sent none above "
                f"{self.sent_high}"
            )
        if accepted < backlog.confirmed:
            backlog.renumber(accepted)
            self._start = self.sent_high = accepted
        return None

    def taken_over(self, text: str) -> TakenOverError:
        """The error of a session that is not the newest of its name."""
        return TakenOverError(
            f"another session took over the producer name {self._name} ({text}); "
            f"{self._backlog.unconfirmed} messages are unconfirmed here and may be in the log"
        )
