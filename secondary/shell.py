"""The standby's I/O: polls, decodes, calls the core, performs its effects in order. Dull."""

from __future__ import annotations

from typing import assert_never

import zmq

from ..shared.clock import now_ns, wall_ns
from ..shared.effects import (
    Append,
    Dial,
    Effect,
    Halt,
    HangUp,
    Note,
    Publish,
    Reply,
    SaveMemory,
    SendLink,
    SendTail,
    StreamLink,
    Sync,
)
from ..shared.errors import LocalError, RemoteError, UserError
from ..shared.events import FromProducer, Room, Synced
from ..shared.limits import INTAKE_PER_TURN
from ..shared.messages import Codec, LinkFetch, LinkFromPrimary, LinkTail, encode
from ..shared.nodeio import NodeIO, one_frame
from ..shared.sockets import Socket, make_socket, receive_dealt
from ..shared.state import NodeMemory
from ..shared.telemetry import NodeStatus
from .core import SecondaryCore
from .events import Event, FromPrimary
from .status import secondary_status

# A refusal is the last word on a session: closing the socket must not swallow it.
REFUSAL_LINGER_MS = 500

_from_primary: Codec[LinkFromPrimary] = Codec(LinkFromPrimary)


class SecondaryShell:
    """Runs a `SecondaryCore` on real sockets and a real journal."""

    def __init__(self, io: NodeIO, memory: NodeMemory) -> None:
        self._io = io
        self._primary_link = io.config.node(io.config.peer_of(io.name)).link
        self._link: Socket | None = None
        self._now_ns = now_ns()  # of the turn, read once
        self._core = SecondaryCore(io.config, io.name, memory, io.journal.state, self._now_ns)

    def run(self) -> None:
        """Follows until a signal. Raises LocalError or UserError if the node cannot go on."""
        io, core = self._io, self._core
        self._take_journal()
        while not io.stopping:
            ready = io.poll(at_once=False)
            self._now_ns = now_ns()
            if io.journal.wakeup_fd in ready:
                self._take_journal()
            if self._link is not None and self._link in ready:
                self._receive_link(self._link)
            if io.intake in ready:
                for sender, request in io.requests():
                    self._take(FromProducer(sender, request))
            for effect in core.end_turn(self._now_ns):
                self._perform(effect)
            io.serve(ready, core.released_seq, core.released_seq, self._now_ns, self._status)

    def _status(self) -> NodeStatus:
        return secondary_status(self._core, self._io.process_status(), self._now_ns, wall_ns())

    def _take(self, event: Event) -> None:
        self._core.handle(event, self._now_ns)

    def _take_journal(self) -> None:
        journal = self._io.journal
        self._take(Synced(journal.poll()))
        self._take(Room(journal.room_bytes))

    def _receive_link(self, link: Socket) -> None:
        if self._core.turn_is_full():
            self._io.waiter.touch(link)  # what waits stays in the socket
            return
        for frames in self._io.waiter.drain(link, INTAKE_PER_TURN, receive_dealt):
            try:
                message = _from_primary.decode(one_frame(frames))
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

    def _perform(self, effect: Effect) -> None:
        io = self._io
        match effect:
            case Append(records, last_seq, durable):
                io.journal.append(records, last_seq)
                if durable:
                    io.journal.sync()
                self._take(Room(io.journal.room_bytes))
                if io.journal.checkpoint_due:
                    io.journal.checkpoint(self._core.log)
            case SendLink(_, message):
                self._send(encode(message))
            case Sync(wait):
                io.journal.sync() if wait else io.journal.request_sync()
            case SendTail(session, after_seq, max_bytes):
                tail = io.journal.read(after_seq + 1, max_bytes, self._core.log.last_seq)
                self._send(encode(LinkTail(session, tail)))
            case SaveMemory(memory):
                io.data.save(memory)
            case Dial():
                self._dial()
            case HangUp():
                self._hang_up()
            case Reply(to, message):
                io.send(io.intake, to, message)
            case Note(text):
                io.note(text)
            case Halt(text):
                raise UserError(text)
            case Publish() | StreamLink():
                raise LocalError(f"a secondary does not perform {effect}")
            case _:
                assert_never(effect)

    def _dial(self) -> None:
        """A new session is a new socket: what the old one still holds can never arrive."""
        self._hang_up()
        link = make_socket(self._io.context, zmq.DEALER, hwm=0)
        link.connect(self._primary_link)
        self._io.waiter.add(link)
        self._link = link

    def _send(self, frame: bytes) -> None:
        if self._link is None:
            return
        try:
            self._link.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            # What came broke ZMTP, so libzmq has given the connection up for good. The core will
            # hear nothing more on this socket, and dials on a new one.
            self._io.counters.count("link-sends-dropped")
        self._io.waiter.touch(self._link)

    def _hang_up(self) -> None:
        if self._link is not None:
            self._io.waiter.remove(self._link)
            self._link.close(linger=REFUSAL_LINGER_MS)
            self._link = None

    def close(self) -> None:
        """Closes the sockets of this role."""
        self._hang_up()
