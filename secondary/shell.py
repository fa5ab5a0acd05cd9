"""The standby's I/O: polls, decodes, calls the core, performs its effects in order. Dull."""

from __future__ import annotations

import zmq

from ..shared.clock import now_ns, wall_ns
from ..shared.credentials import Watch
from ..shared.effects import (
    Append,
    Become,
    Dial,
    Effect,
    HangUp,
    MarkQuarantine,
    SendLink,
    SendTail,
)
from ..shared.errors import Reason, RemoteError, UserError
from ..shared.events import Room, Synced
from ..shared.handed import Handed
from ..shared.limits import INTAKE_PER_TURN
from ..shared.messages import (
    Codec,
    LinkFetch,
    LinkFromPrimary,
    LinkFromSecondary,
    LinkTail,
    Refused,
    encode,
)
from ..shared.nodeio import NodeIO
from ..shared.policy import check_peer
from ..shared.roles import Role
from ..shared.sockets import Socket, make_socket, receive_all, send_frame
from ..shared.state import NodeMemory
from ..shared.telemetry import NodeStatus
from .core import SecondaryCore
from .events import Event, FromPrimary, LinkDenied
from .status import secondary_status

# A refusal is the last word on a session: closing the socket must not swallow it.
REFUSAL_LINGER_MS = 500
WATCH_EVERY_NS = 50_000_000

_NOBLOCK = int(zmq.NOBLOCK)
_from_primary: Codec[LinkFromPrimary] = Codec(LinkFromPrimary)
_from_secondary: Codec[LinkFromSecondary] = Codec(LinkFromSecondary)


class SecondaryShell:
    """Runs a `SecondaryCore` on real sockets and a real journal."""

    def __init__(self, io: NodeIO, memory: NodeMemory, handed: Handed) -> None:
        self._io = io
        self._become: Become | None = None  # the core's last effect
        self._primary_link = io.config.node(io.config.peer_of(io.name)).link
        self._link: Socket | None = None
        self._watch: Watch | None = None
        self._watched_ns = 0
        self._expected_key = ""  # the primary's, on that socket
        self._now_ns, self._wall_ns = now_ns(), wall_ns()  # of the turn, read once
        self._core = SecondaryCore(
            io.config, io.name, memory, io.journal.state, handed, self._now_ns
        )

    def run(self) -> Become | None:
        """Follows until a signal, or until the node changes its role.

        Raises LocalError or UserError if the node cannot go on.
        """
        io, core = self._io, self._core
        panel, perform = io.panel, self._perform
        self._take_journal()
        self._take(io.quarantined())
        at_once = True
        while not panel.stopping:
            ready = panel.poll(at_once=at_once)
            at_once = False
            now, wall = self._now_ns, self._wall_ns = now_ns(), wall_ns()
            due = io.is_due(ready, now)
            if io.journal.wakeup_fd in ready:
                self._take_journal()
            if self._link is not None and self._link in ready:
                self._receive_link(self._link)
            if due:
                self._watch_link()
                for event in io.commands(ready, self._status):
                    core.handle(event, now, wall)
            if io.link.socket in ready:
                self._refuse_dialling()
            if io.intake.socket in ready:
                for submitted in io.requests(now):
                    core.handle(submitted, now, wall)
            for effect in core.end_turn(now, wall):
                perform(effect)
            if self._become is not None:
                return self._become
            if due:
                io.serve(ready, core.released_seq, core.released_seq, now, self._status)
        return None

    def hand_over(self) -> Handed:
        """What the core of the next role goes on with."""
        core = self._core
        become = core.become
        leads = become is not None and become.role is Role.PRIMARY
        opening = core.duties.opening
        return Handed(
            core.holder,
            core.desk,
            core.counters,
            core.released_seq,
            core.synced_seq,
            core.session,
            opening=opening,
            handover=leads and opening is None,
        )

    def _status(self) -> NodeStatus:
        return secondary_status(self._core, self._io.process_status(), self._now_ns, self._wall_ns)

    def _take(self, event: Event) -> None:
        self._core.handle(event, self._now_ns, self._wall_ns)

    def _take_journal(self) -> None:
        journal = self._io.journal
        self._take(Synced(journal.poll()))
        self._take(Room(journal.room_bytes))

    def _receive_link(self, link: Socket) -> None:
        if self._core.turn_is_full():
            self._io.waiter.touch(link)  # what waits stays in the socket
            return
        for frames in self._io.waiter.drain(link, INTAKE_PER_TURN, receive_all):
            try:
                message = _from_primary.decode_only(frames)
            except RemoteError as error:
                self._io.counters.refused("link", error.reason)
                continue
            if isinstance(message, LinkFetch):
                journal = self._io.journal
                own_hash = journal.hash_at(message.after.seq)
                self._take(FromPrimary(message, own_hash, journal.first_seq))
            else:
                self._take(FromPrimary(message))
            if self._core.turn_is_full():
                break

    def _watch_link(self) -> None:
        """Looks now and then whether the primary has proven to be the one that was expected, and
        still is: a key of its that is not allowed any more ends the session."""
        if self._watch is None or self._now_ns - self._watched_ns < WATCH_EVERY_NS:
            return
        self._watched_ns = self._now_ns
        credentials, endpoint = self._io.panel.credentials, self._primary_link
        for event, _ in self._watch.failures():
            credentials.failed(endpoint)
            self._take(LinkDenied(credentials.explain(event, endpoint)))
            return
        if not credentials.still_expects(endpoint, self._expected_key):
            self._take(LinkDenied(f"the key of {self._core.peer} is not allowed any more"))

    def _refuse_dialling(self) -> None:
        """The other node takes this one for the primary."""
        io = self._io
        for sender, who, frames in io.link.arrivals(INTAKE_PER_TURN, self._now_ns):
            error = RemoteError(Reason.NOT_PRIMARY, f"node {io.name} is a secondary too")
            try:
                session = _from_secondary.decode_only(frames).session
                check_peer(who, self._core.peer)
            except RemoteError as refused:
                io.refuse(io.link, sender, who, refused)
                continue
            io.counters.refused("link", error.reason)
            io.send(io.link, sender, Refused(error.reason, error.text, session))

    def _perform(self, effect: Effect) -> None:
        io = self._io
        match effect:
            case Append():
                io.perform(effect, self._core.log, self._now_ns)
                self._take(Room(io.journal.room_bytes))
            case SendLink():
                self._send(encode(effect.message))
            case SendTail(session, after_seq, max_bytes):
                tail = io.journal.read(after_seq + 1, max_bytes, self._core.log.last_seq)
                self._send(encode(LinkTail(session, tail)))
            case Dial():
                self._dial()
            case HangUp():
                self._hang_up()
            case MarkQuarantine():
                io.perform(effect, self._core.log, self._now_ns)
                self._take(io.quarantined())
            case Become():
                self._become = effect
            case _:
                io.perform(effect, self._core.log, self._now_ns)

    def _dial(self) -> None:
        """A new session is a new socket: what the old one still holds can never arrive."""
        self._hang_up()
        credentials, endpoint = self._io.panel.credentials, self._primary_link
        link: Socket | None = None
        try:
            link = make_socket(self._io.context, zmq.DEALER, hwm=0)
            watch = Watch(link, keys=credentials.used)
            self._expected_key = credentials.expected(endpoint)
            credentials.connect(link, endpoint)
        except UserError as error:  # no key is allowed for the primary, or no descriptor is left
            self._io.note(f"the primary is not dialled: {error}")
            if link is not None:
                link.close()
            return
        self._io.waiter.add(link, often=True)
        self._link, self._watch = link, watch

    def _send(self, frame: bytes) -> None:
        if self._link is None:
            return
        try:
            send_frame(self._link, frame, _NOBLOCK)
        except zmq.Again:
            # What came broke ZMTP, so libzmq has given the connection up for good. The core will
            # hear nothing more on this socket, and dials on a new one.
            self._io.counters.count("link-sends-dropped")
        self._io.waiter.touch(self._link)

    def _hang_up(self) -> None:
        if self._link is not None:
            assert self._watch is not None
            self._io.waiter.remove(self._link)
            self._watch.close()
            self._link.close(linger=REFUSAL_LINGER_MS)
            self._link = self._watch = None

    def close(self) -> None:
        """Closes the sockets of this role."""
        self._hang_up()
