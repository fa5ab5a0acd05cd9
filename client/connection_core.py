"""A producer's connection: which node, when to greet it, whether it still lives.

Decides the endpoint to dial, when a hello or a ping is due and when a connection is given up for
silence. Does not know what is sent otherwise, nor what answers mean: `producer_core` tells it that
something was heard, sent, welcomed or lost.

How a lost leader is left: a node that is dead, frozen or cut off takes no hello off our hands
(`blocked`), which is told within a short look (`dialing_core.Looks`). Only a node that has taken
one and does not answer is waited for, up to a second: it may be the new leader, which holds hellos
until its epoch is open. A session whose frames are not taken any more is over at once. Rounds over
all endpoints begin at least 5 ms apart, and up to 100 ms apart while they are in vain: so two nodes
that send us to each other while the lead changes hands cost a few milliseconds, and no busy loop.

Silence counts from the first thing that was sent and not answered, not from the last thing heard: a
process that was suspended for a minute has heard nothing for a minute, and its node is well.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final, assert_never

from ..shared.config import Timing
from .dialing_core import Dialing, Looks

_MS: Final = 1_000_000
_HELLO_INTERVAL_NS: Final = 250 * _MS
_HELLO_BUSY_NS: Final = 5 * _MS  # after "busy", doubled each time up to the interval
_DIAL_TIMEOUT_NS: Final = 1_000 * _MS  # without a welcome: the next endpoint
_ROUND_NS: Final = 5 * _MS  # from one round of all endpoints to the next, doubled each time
_ROUND_MAX_NS: Final = 100 * _MS
_SILENCE_NS: Final = 1_000 * _MS  # or five heartbeats, if that is more


class Phase(Enum):
    """Where a connection is."""

    PAUSED = "paused"  # every endpoint was tried in vain; left when the next round is due
    DIALING = "dialing"  # nobody has welcomed us here; left by a welcome, or for the next endpoint
    OPEN = "open"  # a node takes our records; left by silence or a refusal


class Due(Enum):
    """What a tick found to be due."""

    NOTHING = "nothing"
    HELLO = "hello"
    PING = "ping"
    LOST = "lost"  # the connection was given up; another one is wanted or paused for


class Connection:
    """One connection at a time. `dial` names an endpoint while another one is wanted, else None."""

    def __init__(self, endpoints: Sequence[str], now_ns: int) -> None:
        self.dial: str | None = None
        self.phase = Phase.DIALING
        self._dialing = Dialing(endpoints)
        self._looks = Looks()
        self._heartbeat_ns = Timing().heartbeat_ms * _MS
        self._round_ns = _ROUND_NS
        self._round_began_ns = self._resume_ns = now_ns
        self._dialed_ns = self._hello_ns = self._give_up_ns = now_ns
        self._heard_ns = self._sent_ns = self._pinged_ns = now_ns
        self._busy_ns = _HELLO_BUSY_NS
        self._unanswered_ns = 0
        self._connect(self._dialing.again(), now_ns)

    @property
    def endpoint(self) -> str:
        """The endpoint that is dialled or connected."""
        return self._dialing.current

    @property
    def known(self) -> str:
        """All endpoints, for an error's text."""
        return self._dialing.all

    def again(self, now_ns: int) -> None:
        """A new connection to the same node."""
        self._round_began_ns = now_ns
        self._connect(self._dialing.again(), now_ns)

    def elsewhere(self, now_ns: int, leaders: Sequence[str] = ()) -> None:
        """A connection to the next node, `leaders` first; a pause if all were tried lately."""
        if self.phase is Phase.OPEN:
            self._dialing.again()
            self._round_began_ns = now_ns
        endpoint = self._dialing.next(leaders)
        if endpoint is not None:
            self._connect(endpoint, now_ns)
            return
        self.phase = Phase.PAUSED
        self._resume_ns = self._round_began_ns + self._round_ns
        self._round_ns = min(2 * self._round_ns, _ROUND_MAX_NS)
        if now_ns >= self._resume_ns:
            self._new_round(now_ns)

    def blocked(self, blocked: bool, now_ns: int) -> None:
        """Whether what is to be sent finds nobody who takes it. Told when that changes."""
        if self.phase is Phase.DIALING:
            self._give_up_ns = (
                self._dialed_ns + self._looks.duration_ns(self.endpoint)
                if blocked
                else now_ns + _DIAL_TIMEOUT_NS
            )

    def busy(self, now_ns: int) -> None:
        """The node cannot take the session yet: it is greeted again soon."""
        self._hello_ns = now_ns + self._busy_ns
        self._busy_ns = min(2 * self._busy_ns, _HELLO_INTERVAL_NS)

    def welcomed(self, heartbeat_ms: int, now_ns: int) -> None:
        """The node took the session."""
        self.phase = Phase.OPEN
        self._round_ns = _ROUND_NS
        self._heartbeat_ns = max(1, heartbeat_ms) * _MS
        self._pinged_ns = self._sent_ns = now_ns

    def heard(self, now_ns: int) -> None:
        """Something came from the node."""
        if self.phase is Phase.DIALING:
            self._looks.answered(self.endpoint, now_ns - self._dialed_ns)
        self._heard_ns = now_ns
        self._unanswered_ns = 0

    def sent(self, now_ns: int) -> None:
        """Something is sent that has to be answered."""
        self._sent_ns = now_ns
        self._unanswered_ns = self._unanswered_ns or now_ns

    def tick(self, now_ns: int) -> Due:
        """Time has passed."""
        match self.phase:
            case Phase.PAUSED:
                if now_ns < self._resume_ns:
                    return Due.NOTHING
                self._new_round(now_ns)
                return Due.LOST
            case Phase.DIALING:
                if now_ns >= self._give_up_ns:
                    self._looks.failed(self.endpoint)
                    self.elsewhere(now_ns)
                    return Due.LOST
                if now_ns < self._hello_ns:
                    return Due.NOTHING
                self._hello_ns = now_ns + _HELLO_INTERVAL_NS
                return Due.HELLO
            case Phase.OPEN:
                if self._unanswered_ns and now_ns >= self._unanswered_ns + self._silence_ns():
                    self.elsewhere(now_ns)
                    return Due.LOST
                if now_ns < self._ping_due_ns():
                    return Due.NOTHING
                self._pinged_ns = now_ns
                self._unanswered_ns = self._unanswered_ns or now_ns
                return Due.PING
            case _:
                assert_never(self.phase)

    def deadline_ns(self) -> int:
        """When to tick next."""
        match self.phase:
            case Phase.PAUSED:
                return self._resume_ns
            case Phase.DIALING:
                return min(self._hello_ns, self._give_up_ns)
            case Phase.OPEN:
                due = self._ping_due_ns()
                if self._unanswered_ns:
                    due = min(due, self._unanswered_ns + self._silence_ns())
                return due
            case _:
                assert_never(self.phase)

    def _new_round(self, now_ns: int) -> None:
        self._round_began_ns = now_ns
        self._connect(self._dialing.new_round(), now_ns)

    def _connect(self, endpoint: str, now_ns: int) -> None:
        self.phase = Phase.DIALING
        self.dial = endpoint
        self._dialed_ns = self._hello_ns = now_ns
        self._give_up_ns = now_ns + _DIAL_TIMEOUT_NS
        self._busy_ns = _HELLO_BUSY_NS
        self._unanswered_ns = 0

    def _silence_ns(self) -> int:
        return max(_SILENCE_NS, 5 * self._heartbeat_ns)

    def _ping_due_ns(self) -> int:
        """A heartbeat after the last ping, or after the direction that is quiet fell quiet."""
        return max(self._pinged_ns, min(self._sent_ns, self._heard_ns)) + self._heartbeat_ns
