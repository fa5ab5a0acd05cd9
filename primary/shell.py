"""The primary's I/O: polls sockets, decodes, calls the core, performs its effects in order. Dull.

The link is drained before the intake: an ack releases what others wait for, a submission only adds.
"""

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
from ..shared.limits import FEED_HWM_FRAMES, INTAKE_PER_TURN, MAX_SUBSCRIPTION_BYTES
from ..shared.messages import Codec, LinkFromSecondary, LinkHello, LinkRecords
from ..shared.nodeio import NodeIO, one_frame
from ..shared.roles import NodeState
from ..shared.sockets import bind, make_socket
from ..shared.state import NodeMemory
from ..shared.telemetry import NodeStatus
from ..shared.wire import last_position
from .core import PrimaryCore
from .events import Event, FromStandby, PeerSeen, Streamed
from .probe import PeerProbe
from .status import primary_status

_from_secondary: Codec[LinkFromSecondary] = Codec(LinkFromSecondary)


class PrimaryShell:
    """Runs a `PrimaryCore` on real sockets and a real journal."""

    def __init__(self, io: NodeIO, memory: NodeMemory) -> None:
        """Binds link and feed. Raises UserError for a bad endpoint."""
        self._io = io
        node = io.config.node(io.name)
        # The link's queue is bounded in bytes by the core's window; a bound in frames as well would
        # make a ROUTER drop records silently under a load of small ones.
        self._link = io.bound(zmq.ROUTER, "link", node.link, hwm=0)
        self._feed = make_socket(
            io.context, zmq.PUB, max_bytes=MAX_SUBSCRIPTION_BYTES, hwm=FEED_HWM_FRAMES
        )
        bind(self._feed, f"nodes.{io.name}.feed", node.feed)
        # The time of the turn, read once: after the poll, so that it is that of what arrived.
        self._now_ns, self._wall_ns = now_ns(), wall_ns()
        self._core = PrimaryCore(io.config, io.name, memory, io.journal.state, self._now_ns)
        self._probe = PeerProbe(io)

    def run(self) -> None:
        """Serves until a signal. Raises LocalError or UserError if the node cannot go on."""
        io, core = self._io, self._core
        self._take_journal()
        while not io.stopping:
            ready = io.poll(at_once=core.wants_turn())
            self._now_ns, self._wall_ns = now_ns(), wall_ns()
            if io.journal.wakeup_fd in ready:
                self._take_journal()
            if self._link in ready:
                self._receive_link()
            if io.intake in ready:
                for sender, request in io.requests():
                    self._take(FromProducer(sender, request))
                    if core.turn_is_full():
                        break
            if core.reign.holder.state is NodeState.RESUMING:
                peer = self._probe.ask(self._now_ns)
                if peer is not None:
                    self._take(PeerSeen(peer.role, peer.epoch))
            for effect in core.end_turn(self._now_ns, self._wall_ns):
                self._perform(effect)
            released_seq = core.reign.gate.released_seq
            io.serve(ready, released_seq, core.prunable_seq, self._now_ns, self._status)

    def _status(self) -> NodeStatus:
        return primary_status(self._core, self._io.process_status(), self._now_ns, self._wall_ns)

    def _take(self, event: Event) -> None:
        self._core.handle(event, self._now_ns, self._wall_ns)

    def _take_journal(self) -> None:
        journal = self._io.journal
        self._take(Synced(journal.poll()))
        self._take(Room(journal.room_bytes))

    def _receive_link(self) -> None:
        journal = self._io.journal
        for sender, *frames in self._io.waiter.drain(self._link, INTAKE_PER_TURN):
            try:
                message = _from_secondary.decode(one_frame(frames))
            except RemoteError as error:
                self._io.refuse("link", self._link, sender, error)
                continue
            if isinstance(message, LinkHello):
                own_hash = journal.hash_at(message.last.seq)
                self._take(FromStandby(sender, message, own_hash, journal.first_seq))
            else:
                self._take(FromStandby(sender, message))

    def _perform(self, effect: Effect) -> None:
        io = self._io
        match effect:
            case SendLink(to, message):
                io.send(self._link, to, message)
            case Append(records, last_seq, durable):
                io.journal.append(records, last_seq)
                if durable:
                    io.journal.sync()
                self._take(Room(io.journal.room_bytes))
                if io.journal.checkpoint_due:
                    io.journal.checkpoint(self._core.reign.log)
            case Reply(to, message):
                io.send(io.intake, to, message)
            case Publish(frame):
                self._feed.send(frame, zmq.NOBLOCK)
            case StreamLink(to, session, after_seq, max_bytes):
                self._stream(to, session, after_seq, max_bytes)
            case Sync(wait):
                io.journal.sync() if wait else io.journal.request_sync()
            case SaveMemory(memory):
                io.data.save(memory)
            case Note(text):
                io.note(text)
            case Halt(text):
                raise UserError(text)
            case Dial() | HangUp() | SendTail():
                raise LocalError(f"a primary does not perform {effect}")
            case _:
                assert_never(effect)

    def _stream(self, to: bytes, session: int, after_seq: int, max_bytes: int) -> None:
        reign = self._core.reign
        records = self._io.journal.read(after_seq + 1, max_bytes, reign.written_seq)
        if records:
            message = LinkRecords(session, reign.gate.released_seq, memoryview(records))
            self._io.send(self._link, to, message)
            self._take(Streamed(session, last_position(records), len(records)))

    def close(self) -> None:
        """Closes the sockets of this role."""
        self._io.waiter.remove(self._link)
        self._link.close()
        self._feed.close()
        self._probe.close()
