"""A producer's side of the intake: one session, kept over connections, nodes and refusals.

Decides when a record is sent, what a refusal means and what is sent again. Does not decide which
messages share a record (`backlog`), their numbers (`numbering_core`), when a connection is given up
(`connection_core`) or how long to hold back (`holding_core`), and touches no socket and no clock:
frames and times come in; `outbox`, `connection.dial`, `progressed` and `error` are what a shell
performs.

Why sending again is always safe: a message keeps its producer_seq, and the log takes each number
once. So after any doubt the answer is the same: go back to the first unconfirmed number. `attempt`
is raised whenever the core goes back, so that refusals of what it sent before can be told from
refusals of what it sends now; without it a burst of 16 refused records would cause 16 returns.

When a record goes out: at once while nothing is under way (a lone message waits for nobody); a full
one while fewer than `records_in_flight` are under way; a partial one when a confirmation leaves
fewer than two. So records grow with the load by themselves: what is submitted during one round trip
travels together.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final, assert_never

import msgspec

from ..shared.config import Limits
from ..shared.errors import Reason, RemoteError
from ..shared.limits import MAX_PRODUCER_RECORDS
from ..shared.messages import (
    PROTOCOL_VERSION,
    Codec,
    Confirmed,
    IntakeReply,
    ProducerBye,
    ProducerHello,
    ProducerPing,
    ProducerPong,
    ProducerWelcome,
    Refused,
    Submit,
    encode,
)
from ..shared.wire import pack_name
from .backlog import Backlog, Batch, check_bound
from .connection_core import Connection, Due, Phase
from .errors import ClientError, ClosedError, MessageTooLarge, RefusedError
from .holding_core import Hold
from .missing_core import Missing
from .numbering_core import Numbering

_PARTIAL_IN_FLIGHT: Final = 2
_NEVER: Final = sys.maxsize

_codec: Final = Codec[IntakeReply](IntakeReply)


class ProducerStats(msgspec.Struct):
    """Counts since the producer was made."""

    records: int = 0  # sent, each repetition included
    messages: int = 0  # confirmed
    resubmitted: int = 0  # records sent again
    reconnects: int = 0  # times that the session was resumed on a new connection
    refused: dict[str, int] = {}  # refusals that counted, by reason


class ProducerCore:
    """One producer. Call `tick` at `deadline_ns` or later, `received` for each frame that comes.

    After each call: if `connection.dial` is not None, set it to None, drop the present connection
    and make one to that endpoint before anything else; send `outbox` in order; clear `progressed`,
    the batches of which more is confirmed; an `error` is final.
    """

    def __init__(
        self,
        name: str,
        cluster: str,
        session: int,
        endpoints: list[str],
        now_ns: int,
        *,
        window: int,
        record_messages: int,
        record_bytes: int,
        records_in_flight: int,
        resume: bool,
    ) -> None:
        """`session` is a random number.

        Raises RefusedError for a bad name, ValueError for a number out of its bounds.
        """
        try:
            pack_name(name)
        except RemoteError as error:
            raise RefusedError(error.reason, error.text) from None
        check_bound("records_in_flight", records_in_flight, MAX_PRODUCER_RECORDS)
        self.name = name
        self.outbox: list[bytes] = []
        self.progressed: list[Batch] = []
        self.error: ClientError | None = None
        self.deadline_ns = now_ns
        self.stats = ProducerStats()
        self.backlog = Backlog(window, record_messages, record_bytes)
        self.connection = Connection(endpoints, now_ns)
        self.welcomed = False
        self.max_message_bytes = Limits().max_message_bytes
        self._cluster = cluster
        self._session = session
        self._numbering = Numbering(name, self.backlog, resume)
        self._records_in_flight = records_in_flight
        self._why = "no answer yet"
        self.denied = ""  # why a node let us not in, until one does
        self._node_state = ""
        self._attempt = 1
        self._epoch = 0
        self._hold = Hold()
        self._missing = Missing()

    # What the application does --------------------------------------------------------------

    def submit(self, body: bytes, now_ns: int) -> Batch | None:
        """Takes a message; it is the last of the batch that is returned. None: the window is full.

        Raises MessageTooLarge, TypeError, or the error that ended this producer.
        """
        if self.error is not None:
            raise self.error.with_traceback(None)
        if type(body) is not bytes:
            body = _to_bytes(body)
        if len(body) > self.max_message_bytes:
            raise MessageTooLarge(
                f"a message of {len(body)} bytes; the nodes take up to {self.max_message_bytes} "
                "(limits.max_message_bytes)"
            )
        backlog = self.backlog
        batch = backlog.add(body, now_ns)
        if not backlog.sent or backlog.open is not batch:
            self._send_more(now_ns)
        return batch

    def flush(self, now_ns: int) -> None:
        """What was collected waits for nothing but its turn."""
        self.backlog.seal()
        self._send_more(now_ns)

    def close(self) -> None:
        """Ends the session; a goodbye is in the outbox if somebody can hear it."""
        if self.error is None and self.connection.phase is Phase.OPEN:
            self.outbox.append(encode(ProducerBye(self._session)))
        self.abort(
            ClosedError(
                f"the producer {self.name} is closed; what was not confirmed before is unknown: it "
                "may be in the log"
            )
        )

    def abort(self, error: ClientError) -> None:
        """Ends this producer for good with `error`, unless it has ended already."""
        if self.error is None:
            self.error = error
        self.deadline_ns = _NEVER

    def waiting_for(self) -> str:
        """Why nothing is confirmed at the moment, for an error's text."""
        if self.connection.phase is not Phase.OPEN:
            why = self.denied or self._why
            return f"no primary has answered at {self.connection.known} ({why})"
        if self._hold.until_ns:
            return f"the primary takes nothing now ({self._why})"
        if self._node_state == "STALLED":
            return "the primary is STALLED: its standby does not acknowledge"
        return f"the primary is {self._node_state}" if self._node_state else "the primary is silent"

    # What the network does ------------------------------------------------------------------

    def received(self, frame: bytes, now_ns: int) -> None:
        """A frame came on the present connection."""
        if self.error is not None or self.connection.phase is Phase.PAUSED:
            return
        try:
            message = _codec.decode(frame)
        except RemoteError as error:
            self._leave(f"{self.connection.endpoint} speaks otherwise: {error}", now_ns)
            return
        self.connection.heard(now_ns)
        if message.session != self._session and not (
            isinstance(message, Refused) and not message.session
        ):
            return
        match message:
            case Confirmed():
                self.on_confirmed(message, now_ns)
            case ProducerPong():
                self._on_pong(message.state, now_ns)
            case ProducerWelcome():
                self.on_welcome(message, now_ns)
            case Refused():
                self.on_refused(message, now_ns)
            case _:
                assert_never(message)

    def on_confirmed(self, confirmed: Confirmed, now_ns: int) -> None:
        """Numbers are released.

        A hole is not an error: what was released while the connection was broken is confirmed only
        when it is submitted again, and newer numbers may be confirmed before that. The run is left
        aside, for its numbers are under way again too; if the hole stays, the core goes back.
        """
        if self.connection.phase is not Phase.OPEN:
            return
        for run in confirmed.runs:
            before = self.backlog.confirmed
            touched = self.backlog.confirm(run)
            if touched is None:
                self._missing.hole(run.producer_seq + run.count - 1, now_ns)
                self.deadline_ns = min(self.deadline_ns, self._missing.hole_ends_ns())
            elif touched:
                self.progressed += touched
                self.stats.messages += self.backlog.confirmed - before
                self._hold.progressed()
                self._missing.progressed(self.backlog.confirmed, now_ns)
        self._send_more(now_ns)

    def on_welcome(self, welcome: ProducerWelcome, now_ns: int) -> None:
        """A node takes the session; where the log stands decides what is sent again."""
        if self.connection.phase is Phase.OPEN:
            return  # the answer to a hello that was repeated too early
        if self._cluster and welcome.cluster != self._cluster:
            text = f"{self.connection.endpoint} is of cluster {welcome.cluster}"
            text += f", expected {self._cluster}"
            self.abort(RefusedError(Reason.WRONG_CLUSTER, text))
            return
        if welcome.epoch < self._epoch:  # an old primary that has not noticed yet
            older = f"{self.connection.endpoint} leads epoch {welcome.epoch}"
            self._leave(f"{older}, but epoch {self._epoch} was begun", now_ns)
            return
        self._cluster, self._epoch = welcome.cluster, welcome.epoch
        error = self._numbering.agree(welcome)
        if error is not None:
            self.abort(error)
            return
        self.stats.reconnects += self.welcomed
        self.welcomed = True
        self.max_message_bytes = welcome.max_message_bytes
        self.connection.welcomed(welcome.heartbeat_ms, now_ns)
        self._hold.clear()
        self._go_back(0, now_ns)
        self._send_more(now_ns)
        self._plan(now_ns)

    def on_refused(self, refused: Refused, now_ns: int) -> None:
        """The table of what each refusal means to a producer."""
        reason = refused.reason
        if refused.attempt and refused.attempt != self._attempt:
            return
        self.stats.refused[reason.value] = self.stats.refused.get(reason.value, 0) + 1
        self._why = f"{reason.value}: {refused.text}"
        is_open = self.connection.phase is Phase.OPEN
        match reason:
            case Reason.BUSY | Reason.DISK_FULL | Reason.TOO_MANY:
                if is_open:
                    self._hold.refused(now_ns)
                    self._go_back(refused.expected, now_ns)
                else:
                    self.connection.busy(now_ns)
            case Reason.GAP:
                if is_open:
                    self._on_gap(refused.expected, now_ns)
            case Reason.NO_SESSION:
                if is_open:
                    self._lost(self._why)
                    self.connection.again(now_ns)
            case Reason.NOT_PRIMARY:
                self._leave(self._why, now_ns, refused.leader)
            case Reason.TAKEN_OVER:
                self.abort(self._numbering.taken_over(refused.text))
            case _:
                self.abort(RefusedError(reason, refused.text))
        self._plan(now_ns)

    def unreachable(self, why: str, now_ns: int) -> None:
        """The endpoint that was asked for cannot be connected to at all."""
        self._leave(why, now_ns)

    def blocked(self, blocked: bool, now_ns: int) -> None:
        """The outbox finds nobody who takes it, or does again. In a session: it was cut off."""
        if self.error is not None:
            return
        if blocked and self.connection.phase is Phase.OPEN:
            self.unreachable(f"the connection to {self.connection.endpoint} is lost", now_ns)
        else:
            self.connection.blocked(blocked, now_ns)
            self._plan(now_ns)

    def tick(self, now_ns: int) -> None:
        """Time has passed: hello again, ping, notice silence, end a back-off."""
        if self.error is not None:
            return
        dialled = self.connection.phase is not Phase.PAUSED
        endpoint = self.connection.endpoint
        match self.connection.tick(now_ns):
            case Due.HELLO:
                if not self.outbox:
                    self.outbox.append(
                        encode(
                            ProducerHello(
                                PROTOCOL_VERSION,
                                self._cluster,
                                self.name,
                                self._session,
                                self.welcomed,
                            )
                        )
                    )
            case Due.PING:
                self.outbox.append(encode(ProducerPing(self._session)))
            case Due.LOST:
                self._lost(f"{endpoint} does not answer" if dialled else self._why)
            case Due.NOTHING:
                pass
        if self._hold.over(now_ns):
            self._send_more(now_ns)
        if 0 < self._missing.hole_ends_ns() <= now_ns:
            self._go_back(0, now_ns)
            self._send_more(now_ns)
        self._plan(now_ns)

    # Inside -----------------------------------------------------------------------------------

    def _on_pong(self, state: str, now_ns: int) -> None:
        before, self._node_state = self._node_state, state
        if self.backlog.sent and self._missing.heard_state(state, before, now_ns):
            self._go_back(0, now_ns)
            self._send_more(now_ns)

    def _on_gap(self, expected: int, now_ns: int) -> None:
        if self.backlog.confirmed < expected <= self._numbering.sent_high + 1:
            self._go_back(expected, now_ns)
            self._send_more(now_ns)
        else:  # the node's log is not what its welcome said: let a new welcome decide
            self._lost(self._why)
            self.connection.again(now_ns)

    def _go_back(self, expected: int, now_ns: int) -> None:
        self._attempt += 1
        self._missing.went_back(now_ns)
        self.backlog.go_back(expected)

    def _send_more(self, now_ns: int) -> None:
        """Puts every record that may go now into the outbox."""
        if self.connection.phase is not Phase.OPEN or now_ns < self._hold.until_ns:
            return
        backlog, numbering = self.backlog, self._numbering
        while backlog.sent < self._records_in_flight:
            if backlog.sent == len(backlog.sealed):
                if backlog.open is None or backlog.sent >= _PARTIAL_IN_FLIGHT:
                    return
                backlog.seal()
            batch = backlog.sealed[backlog.sent]
            if not backlog.sent:
                self._missing.sent_first(now_ns)
            backlog.sent += 1
            self.outbox.append(
                encode(
                    Submit(self._session, self._attempt, batch.first, batch.count, batch.encoded())
                )
            )
            self.stats.records += 1
            self.stats.resubmitted += batch.was_sent
            batch.was_sent = True
            numbering.sent_high = max(numbering.sent_high, batch.last)
            self.connection.sent(now_ns)

    def _lost(self, why: str) -> None:
        """The connection is of no more use; what was to go out on it is sent on the next one."""
        self._why = why
        self._node_state = ""
        self.outbox.clear()

    def _leave(self, why: str, now_ns: int, leaders: Sequence[str] = ()) -> None:
        self._lost(why)
        self.connection.elsewhere(now_ns, leaders)
        self._plan(now_ns)

    def _plan(self, now_ns: int) -> None:
        """Sets the time of the next tick."""
        if self.error is None:
            due = self.connection.deadline_ns()
            for end_ns in (self._hold.until_ns, self._missing.hole_ends_ns()):
                due = min(due, end_ns or due)
            self.deadline_ns = max(due, now_ns)


def _to_bytes(body: object) -> bytes:
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    raise TypeError(f"a message is bytes, not {type(body).__name__}; encode it first")
