"""One node of a pair in memory: a production core, and what survives its process.

Decides nothing of the protocol. It performs effects one by one through a `Net` that the test
controls; journals, memory and quarantine survive a kill, what was not synced does not survive a
power cut.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol
from uuid import UUID

import msgspec

from interlock.primary.core import PrimaryCore
from interlock.primary.events import FromStandby, Streamed
from interlock.primary.status import primary_status
from interlock.secondary.core import SecondaryCore
from interlock.secondary.events import FromPrimary
from interlock.secondary.status import secondary_status
from interlock.shared.answering import Answering
from interlock.shared.boot import wake
from interlock.shared.commands import Command, ControlReply, ControlRequest, PeerQuestion
from interlock.shared.config import AckLevel, Config, Limits, NodeConfig, PairConfig, Timing
from interlock.shared.desk import Desk
from interlock.shared.effects import (
    Answer,
    Append,
    AskPeer,
    Become,
    Dial,
    Effect,
    Halt,
    HangUp,
    MarkQuarantine,
    Note,
    Publish,
    Quit,
    Reply,
    SaveMemory,
    SendLink,
    SendTail,
    StreamLink,
    Sync,
)
from interlock.shared.errors import Reason, RemoteError
from interlock.shared.events import FromControl, FromProducer, PeerAnswered, Room, Synced
from interlock.shared.handed import Handed
from interlock.shared.journal import summarize
from interlock.shared.log import LogState
from interlock.shared.messages import (
    IntakeRequest,
    LinkFetch,
    LinkHello,
    LinkRecords,
    LinkTail,
    Message,
    Refused,
)
from interlock.shared.roles import NodeState, Role, StateHolder
from interlock.shared.state import NodeMemory
from interlock.shared.telemetry import Counters, JournalStatus, NodeStatus, ProcessStatus
from interlock.shared.wire import Position, Record, last_position, parse_records

MS = 1_000_000
ROOMY = 1 << 40


class Killed(Exception):
    """The test killed the node that was performing an effect."""


def pair_config(level: AckLevel = AckLevel.WRITTEN, approvals: int = 1, **limits: int) -> Config:
    def node(name: str, port: int) -> NodeConfig:
        return NodeConfig(name, *(f"tcp://127.0.0.1:{port + i}" for i in range(6)))

    return Config(
        PairConfig(UUID(int=7), "a", level, approvals),
        {"a": node("a", 1), "b": node("b", 11)},
        Timing(),
        msgspec.structs.replace(Limits(), **limits),
        path="pair.toml",
    )


class MemoryJournal:
    """The records of one node; what is beyond `synced` is lost in a power cut."""

    first_seq = 1

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.synced = 0  # records, not seqs
        self.state = LogState()
        self._ends: dict[int, int] = {}  # last seq -> index

    @property
    def last_seq(self) -> int:
        return self.records[-1].last_seq if self.records else 0

    @property
    def synced_seq(self) -> int:
        return self.records[self.synced - 1].last_seq if self.synced else 0

    def append(self, raws: list[bytes | memoryview]) -> None:
        for raw in raws:
            for record in parse_records(bytes(raw)):
                self._ends[record.last_seq] = len(self.records)
                self.records.append(record)

    def sync(self) -> None:
        self.synced = len(self.records)

    def hash_at(self, seq: int) -> int | None:
        if seq == 0:
            return 0
        index = self._ends.get(seq)
        return None if index is None else self.records[index].hash

    def read(self, from_seq: int, max_bytes: int, up_to_seq: int) -> bytes:
        """As `Journal.read`."""
        chunk: list[bytes] = []
        size = 0
        start = self._ends.get(from_seq - 1, -1) + 1 if from_seq > 1 else 0
        for record in self.records[start:]:
            if record.last_seq < from_seq:
                continue
            if record.last_seq > up_to_seq or (chunk and size + len(record.raw) > max_bytes):
                break
            chunk.append(bytes(record.raw))
            size += len(record.raw)
        return b"".join(chunk)

    def keep(self, count: int) -> list[Record]:
        """Keeps the first `count` records; returns the others."""
        cut = self.records[count:]
        del self.records[count:]
        self._ends = {record.last_seq: index for index, record in enumerate(self.records)}
        self.synced = min(self.synced, count)
        return cut

    def reopen(self) -> None:
        """Reads the state of the log again, as a start does; what is there is synced."""
        self.sync()
        self.state = LogState()
        for record in self.records:
            self.state.apply(record)

    def bytes(self) -> bytes:
        return b"".join(record.raw for record in self.records)


class Net(Protocol):
    """Where a node's messages go. The test decides what arrives, and when."""

    now: int
    wall: int

    def link_to_primary(self, node: Node, message: Message) -> None: ...
    def link_to_dialler(self, node: Node, to: bytes, message: Message) -> None: ...
    def dialled(self, node: Node) -> None: ...
    def hung_up(self, node: Node) -> None: ...
    def replied(self, node: Node, to: bytes, message: Message) -> None: ...
    def published(self, node: Node, frame: bytes) -> None: ...
    def answered(self, node: Node, to: bytes, message: Message) -> None: ...
    def asks_peer(self, node: Node, number: int, question: PeerQuestion) -> None: ...
    def before_effect(self, node: Node, effect: Effect) -> None: ...


class _NoQuarantine:
    def entries(self) -> list[Any]:
        return []


class Node:
    """One node: what survives its process (journal, memory) and its process, if it runs."""

    def __init__(self, net: Net, config: Config, name: str, role: Role) -> None:
        self.net = net
        self.config = config
        self.name = name
        self.journal = MemoryJournal()
        self.memory = NodeMemory(config.cluster, name, role)
        self.core: PrimaryCore | SecondaryCore | None = None
        self.answering: Answering | None = None
        self.desk: Desk | None = None
        self.boot = "boot-0"
        self.room = ROOMY
        self.slow_disk = False  # a sync in the background does not end
        self.notes: list[str] = []
        self.quarantine: list[bytes] = []  # the bytes of each cut, oldest first
        self.wall_offset = 0
        self.inbox: deque[tuple[str, Any]] = deque()
        self._draws = 0

    # Starting and dying -----------------------------------------------------------------------

    def start(self) -> None:
        self.journal.reopen()
        self.memory = wake(self.memory, self.config.pair.ack_level, self.boot, self.journal.state)
        self.desk = Desk(self.config, self.name, self._draw)
        handed = Handed(StateHolder(self.net.now), self.desk, Counters())
        self.inbox.clear()
        self._make(self.memory.role, handed)

    def _draw(self) -> int:
        self._draws += 1
        return (ord(self.name[0]) << 48) + (self.memory.incarnation << 16) + self._draws

    def _make(self, role: Role, handed: Handed) -> None:
        kind = PrimaryCore if role is Role.PRIMARY else SecondaryCore
        self.answering = Answering(self.config, self.name, self.journal, _NoQuarantine())  # type: ignore[arg-type]
        self.core = kind(
            self.config, self.name, self.memory, self.journal.state, handed, self.net.now
        )

    def kill(self, *, power_cut: bool = False) -> None:
        """SIGKILL: what was written stays. A power cut: what was not synced is gone."""
        self.core = None
        self.inbox.clear()
        self.net.hung_up(self)
        if power_cut:
            self.boot = f"boot-{int(self.boot[5:]) + 1}"
            self.journal.keep(self.journal.synced)

    def stop(self) -> None:
        """Stopped in good order (SIGTERM)."""
        self.journal.sync()
        position = self.journal.state.position
        self.memory = msgspec.structs.replace(self.memory, stopped=position)
        self.kill()

    @property
    def state(self) -> NodeState:
        core = self.core
        assert core is not None, f"{self.name} does not run: {self.notes[-2:]}"
        return core.reign.holder.state if isinstance(core, PrimaryCore) else core.holder.state

    @property
    def why(self) -> str:
        core = self.core
        assert core is not None
        return core.reign.holder.why if isinstance(core, PrimaryCore) else core.holder.why

    @property
    def released_seq(self) -> int:
        core = self.core
        if isinstance(core, PrimaryCore):
            return core.reign.gate.released_seq
        return core.released_seq if core else 0

    @property
    def wall(self) -> int:
        return self.net.wall + self.wall_offset

    def status(self) -> NodeStatus:
        process = ProcessStatus(
            0, 0, "test", JournalStatus(), Counters(), self.notes[-5:], "production", 1
        )
        core = self.core
        if isinstance(core, PrimaryCore):
            return primary_status(core, process, self.net.now, self.wall)
        assert core is not None
        return secondary_status(core, process, self.net.now, self.wall)

    # One turn ---------------------------------------------------------------------------------

    def turn(self) -> None:
        """Takes what is in the inbox, then performs the effects."""
        try:
            if self.core is not None:
                self._take(Room(self.room))
                self._take(Synced(self.journal.synced_seq))
                while self.inbox and self.core is not None:
                    kind, item = self.inbox.popleft()
                    getattr(self, f"_on_{kind}")(*item)
                self._end_turn()
        except Killed:
            self.kill()

    def _take(self, event: Any) -> None:
        if self.core is not None:
            self.core.handle(event, self.net.now, self.wall)

    def _end_turn(self) -> None:
        core = self.core
        if core is None:
            return
        for effect in core.end_turn(self.net.now, self.wall):
            self.net.before_effect(self, effect)
            self._perform(effect)
            if self.core is not core:
                return

    def _on_hello_side(self, sender: bytes, message: Message) -> None:
        """A message from the node that dialled us."""
        if isinstance(self.core, SecondaryCore):
            session: int = getattr(message, "session", 0)
            refused = Refused(Reason.NOT_PRIMARY, f"{self.name} is a secondary too", session)
            self.net.link_to_dialler(self, sender, refused)
        elif isinstance(message, LinkHello):
            own_hash = self.journal.hash_at(message.last.seq)
            self._take(FromStandby(sender, message, own_hash, 1))
        else:
            self._take(FromStandby(sender, message))  # type: ignore[arg-type]

    def _on_dial_side(self, message: Message) -> None:
        """A message from the node that we dialled."""
        if isinstance(self.core, SecondaryCore):
            if isinstance(message, LinkFetch):
                own_hash = self.journal.hash_at(message.after.seq)
                self._take(FromPrimary(message, own_hash, 1))
            else:
                self._take(FromPrimary(message))  # type: ignore[arg-type]

    def _on_intake(self, sender: bytes, request: IntakeRequest) -> None:
        self._take(FromProducer(sender, request))

    def _on_control(self, sender: bytes, request: ControlRequest) -> None:
        assert self.answering is not None
        try:
            reply: ControlReply | Command = self.answering.reply(request, self.status)
        except RemoteError as error:
            reply = Refused(error.reason, error.text)
        if isinstance(reply, Command):
            self._take(FromControl(sender, reply))
        else:
            self.net.answered(self, sender, reply)

    def _on_peer_answer(self, number: int, answer: Any) -> None:
        assert self.answering is not None
        event: PeerAnswered = self.answering.completed(number, answer)
        self._take(event)

    def _perform(self, effect: Effect) -> None:  # noqa: C901 one case per effect
        net = self.net
        match effect:
            case SendLink(to, message):
                if isinstance(self.core, PrimaryCore):
                    net.link_to_dialler(self, to, message)
                else:
                    net.link_to_primary(self, message)
            case Append(records, _, durable):
                self.journal.append(records)
                if durable:
                    self.journal.sync()
            case Sync(wait):
                if wait or not self.slow_disk:
                    self.journal.sync()
            case SaveMemory(memory):
                self.memory = memory
            case StreamLink(to, session, after_seq, max_bytes):
                records = self.journal.read(after_seq + 1, max_bytes, 1 << 62)
                if records:
                    message = LinkRecords(session, self.released_seq, memoryview(records))
                    net.link_to_dialler(self, to, message)
                    self._take(Streamed(session, last_position(records), len(records)))
            case SendTail(session, after_seq, max_bytes):
                tail = self.journal.read(after_seq + 1, max_bytes, 1 << 62)
                net.link_to_primary(self, LinkTail(session, tail))
            case HangUp():
                net.hung_up(self)
            case Dial():
                net.dialled(self)
            case Reply(to, message):
                net.replied(self, to, message)
            case Publish(frame):
                net.published(self, frame)
            case Answer(to, message):
                net.answered(self, to, message)
            case AskPeer(number, question, _):
                net.asks_peer(self, number, question)
            case Become():
                self._become(effect)
            case Note(text):
                self.notes.append(text)
            case MarkQuarantine(entry, state):
                self.notes.append(f"{entry} {state}")
            case Quit():
                self.stop()
            case Halt(text):
                self.notes.append(text)
                raise Killed

    def _become(self, become: Become) -> None:
        core = self.core
        net = self.net
        net.hung_up(self)
        if isinstance(core, PrimaryCore):
            reign = core.reign
            handed = Handed(
                reign.holder,
                reign.desk,
                reign.counters,
                reign.gate.released_seq,
                self.journal.synced_seq,
                core.session,
                core.sessions,
            )
        else:
            assert core is not None
            opening = core.duties.opening
            handed = Handed(
                core.holder,
                core.desk,
                core.counters,
                core.released_seq,
                self.journal.synced_seq,
                core.session,
                opening=opening,
                handover=become.role is Role.PRIMARY and opening is None,
            )
        if become.reseed or become.cut_after is not None:
            self.cut(become.cut_after)
            handed.reinstated = True
            handed.entry = "cut"
            handed.synced_seq = None
            handed.released_seq = min(handed.released_seq, self.journal.last_seq)
        self._make(become.role, handed)

    def cut(self, after: Position | None) -> None:
        """Cuts the journal after a position that it holds; None: everything is set aside."""
        count = 0
        if after is not None:
            assert self.journal.hash_at(after.seq) == after.hash, "cut at a record that is not ours"
            count = sum(record.last_seq <= after.seq for record in self.journal.records)
        cut = self.journal.keep(count)
        if cut:
            self.quarantine.append(b"".join(bytes(record.raw) for record in cut))
        self.journal.reopen()


__all__ = ["MS", "ROOMY", "Killed", "MemoryJournal", "Net", "Node", "pair_config", "summarize"]
