"""The primary's I/O: polls sockets, decodes, calls the core, performs its effects in order. Dull.

The link is drained before the intake: an ack releases what others wait for, a submission only adds.
"""

from __future__ import annotations

import zmq

from ..shared.clock import now_ns, wall_ns
from ..shared.effects import Append, Become, Effect, MarkQuarantine, Publish, SendLink, StreamLink
from ..shared.errors import RemoteError
from ..shared.events import Room, Synced
from ..shared.handed import Handed
from ..shared.limits import INTAKE_PER_TURN
from ..shared.messages import Codec, LinkFromSecondary, LinkHello, LinkRecords
from ..shared.nodeio import NodeIO
from ..shared.panel import one_frame
from ..shared.policy import check_peer
from ..shared.state import NodeMemory
from ..shared.telemetry import NodeStatus
from ..shared.wire import last_position
from .core import PrimaryCore
from .events import Event, FromStandby, Streamed
from .status import primary_status

_from_secondary: Codec[LinkFromSecondary] = Codec(LinkFromSecondary)


class PrimaryShell:
    """Runs a `PrimaryCore` on real sockets and a real journal."""

    def __init__(self, io: NodeIO, memory: NodeMemory, handed: Handed) -> None:
        self._io = io
        # The time of the turn, read once: after the poll, so that it is that of what arrived.
        self._now_ns, self._wall_ns = now_ns(), wall_ns()
        self._core = PrimaryCore(io.config, io.name, memory, io.journal.state, handed, self._now_ns)

    def run(self) -> Become | None:
        """Serves until a signal, or until the node changes its role.

        Raises LocalError or UserError if the node cannot go on.
        """
        io, core = self._io, self._core
        self._take_journal()
        self._take(io.quarantined())
        at_once = True
        while not io.stopping:
            ready = io.poll(at_once=at_once)
            self._now_ns, self._wall_ns = now_ns(), wall_ns()
            if io.journal.wakeup_fd in ready:
                self._take_journal()
            if io.link.socket in ready:
                self._receive_link()
            if io.intake.socket in ready:
                for submitted in io.requests(self._now_ns):
                    self._take(submitted)
                    if core.turn_is_full():
                        break
            for event in io.commands(ready, self._status):
                self._take(event)
            stages, turn = core.stages, core.reign.turn
            if turn and stages.is_due(self._now_ns):
                stages.begin(turn[-1].last.seq, self._now_ns, now_ns())
            for effect in core.end_turn(self._now_ns, self._wall_ns):
                if isinstance(effect, Become):
                    return effect
                self._perform(effect)
            released_seq = core.reign.gate.released_seq
            if stages.seq:
                stages.performed(released_seq, self._now_ns, now_ns())
            io.serve(ready, released_seq, core.prunable_seq, self._now_ns, self._status)
            at_once = core.wants_turn()
        return None

    def hand_over(self) -> Handed:
        """What the core of the next role goes on with."""
        core = self._core
        reign = core.reign
        return Handed(
            reign.holder,
            reign.desk,
            reign.counters,
            reign.gate.released_seq,
            reign.synced_seq,
            core.session,
            core.sessions,
        )

    def _status(self) -> NodeStatus:
        return primary_status(self._core, self._io.process_status(), self._now_ns, self._wall_ns)

    def _take(self, event: Event) -> None:
        self._core.handle(event, self._now_ns, self._wall_ns)

    def _take_journal(self) -> None:
        journal = self._io.journal
        self._take(Synced(journal.poll()))
        self._take(Room(journal.room_bytes))

    def _receive_link(self) -> None:
        io = self._io
        for sender, who, frames in io.link.arrivals(INTAKE_PER_TURN, self._now_ns):
            try:
                message = _from_secondary.decode(one_frame(frames))
                check_peer(who, io.config.peer_of(io.name))
            except RemoteError as error:
                io.refuse(io.link, sender, who, error)
                continue
            if isinstance(message, LinkHello):
                own_hash = io.journal.hash_at(message.last.seq)
                self._take(FromStandby(sender, message, own_hash, io.journal.first_seq))
            else:
                self._take(FromStandby(sender, message))

    def _perform(self, effect: Effect) -> None:
        io = self._io
        match effect:
            case SendLink(to, message):
                io.send(io.link, to, message)
            case Publish(frame):
                io.feed.socket.send(frame, zmq.NOBLOCK)
            case StreamLink(to, session, after_seq, max_bytes):
                self._stream(to, session, after_seq, max_bytes)
            case MarkQuarantine():
                io.perform(effect, self._core.reign.log, self._now_ns)
                self._take(io.quarantined())
            case Append():
                io.perform(effect, self._core.reign.log, self._now_ns)
                self._take(Room(io.journal.room_bytes))
            case _:
                io.perform(effect, self._core.reign.log, self._now_ns)

    def _stream(self, to: bytes, session: int, after_seq: int, max_bytes: int) -> None:
        reign = self._core.reign
        records = self._io.journal.read(after_seq + 1, max_bytes, reign.written_seq)
        if records:
            message = LinkRecords(session, reign.gate.released_seq, memoryview(records))
            self._io.send(self._io.link, to, message)
            self._take(Streamed(session, last_position(records), len(records)))

    def close(self) -> None:
        """Nothing is this role's own: the sockets are the node's."""
