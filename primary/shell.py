"""The primary's I/O: polls sockets, decodes, calls the core, performs its effects in order. Dull.

The link is drained before the intake: an ack releases what others wait for, a submission only adds.
"""

from __future__ import annotations

import zmq

from ..shared.clock import now_ns, wall_ns
from ..shared.effects import (
    Append,
    Become,
    Effect,
    MarkQuarantine,
    Publish,
    Reply,
    SendLink,
    StreamLink,
)
from ..shared.errors import RemoteError
from ..shared.events import Room, Synced
from ..shared.handed import Handed
from ..shared.limits import INTAKE_PER_TURN
from ..shared.messages import Codec, LinkFromSecondary, LinkHello, LinkRecords
from ..shared.nodeio import NodeIO
from ..shared.policy import check_peer
from ..shared.sockets import send_frame
from ..shared.state import NodeMemory
from ..shared.telemetry import NodeStatus
from ..shared.wire import last_position
from .core import PrimaryCore
from .events import Event, FromStandby, Streamed
from .status import primary_status

_NOBLOCK = int(zmq.NOBLOCK)
_from_secondary: Codec[LinkFromSecondary] = Codec(LinkFromSecondary)


class PrimaryShell:
    """Runs a `PrimaryCore` on real sockets and a real journal."""

    def __init__(self, io: NodeIO, memory: NodeMemory, handed: Handed) -> None:
        self._io = io
        self._become: Become | None = None  # the core's last effect
        # The time of the turn, read once: after the poll, so that it is that of what arrived.
        self._now_ns, self._wall_ns = now_ns(), wall_ns()
        self._core = PrimaryCore(io.config, io.name, memory, io.journal.state, handed, self._now_ns)

    def run(self) -> Become | None:
        """Serves until a signal, or until the node changes its role.

        Raises LocalError or UserError if the node cannot go on.
        """
        io, core = self._io, self._core
        panel, reign, stages, perform = io.panel, core.reign, core.stages, self._perform
        self._take_journal()
        self._take(io.quarantined())
        at_once = True
        while not panel.stopping:
            ready = panel.poll(at_once=at_once)
            now, wall = self._now_ns, self._wall_ns = now_ns(), wall_ns()
            due = io.is_due(ready, now)
            if io.journal.wakeup_fd in ready:
                self._take_journal()
            if io.link.socket in ready:
                self._receive_link()
            if io.intake.socket in ready:
                for submitted in io.requests(now):
                    core.handle(submitted, now, wall)
                    if core.turn_is_full():
                        break
            if due:
                for event in io.commands(ready, self._status):
                    core.handle(event, now, wall)
            if reign.turn and stages.is_due(now):
                stages.begin(reign.turn[-1].last.seq, now, now_ns())
            for effect in core.end_turn(now, wall):
                perform(effect)
            if self._become is not None:
                return self._become
            if stages.seq:
                stages.performed(reign.gate.released_seq, now, now_ns())
            if due:
                io.serve(ready, reign.gate.released_seq, core.prunable_seq, now, self._status)
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
        io, peer = self._io, self._core.reign.peer
        for sender, who, frames in io.link.arrivals(INTAKE_PER_TURN, self._now_ns):
            try:
                message = _from_secondary.decode_only(frames)
                check_peer(who, peer)
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
            case SendLink():
                io.send(io.link, effect.to, effect.message)
            case Append():
                io.perform(effect, self._core.reign.log, self._now_ns)
                self._take(Room(io.journal.room_bytes))
            case Reply():
                io.send(io.intake, effect.to, effect.message)
            case Publish():
                send_frame(io.feed.socket, effect.frame, _NOBLOCK)
            case StreamLink(to, session, after_seq, max_bytes):
                self._stream(to, session, after_seq, max_bytes)
            case MarkQuarantine():
                io.perform(effect, self._core.reign.log, self._now_ns)
                self._take(io.quarantined())
            case Become():
                self._become = effect
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
