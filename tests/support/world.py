"""A pair in memory: both production cores, with a link, journals and clocks that tests control.

Nothing here decides protocol. The world performs effects one by one, so a test can kill a node
between any two of them, cut the link and lose what was not synced. Whatever is published or
confirmed is checked at that moment against both journals.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from uuid import UUID

import msgspec

from interlock.primary.core import PrimaryCore
from interlock.primary.events import FromStandby, PeerSeen, Streamed
from interlock.secondary.core import SecondaryCore
from interlock.secondary.events import FromPrimary
from interlock.shared.config import AckLevel, Config, Limits, NodeConfig, PairConfig, Timing
from interlock.shared.effects import (
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
from interlock.shared.events import FromProducer, Room, Synced
from interlock.shared.log import LogState
from interlock.shared.messages import (
    Confirmed,
    IntakeReply,
    IntakeRequest,
    LinkFetch,
    LinkHello,
    LinkRecords,
    LinkTail,
    Message,
    ProducerHello,
    Submit,
)
from interlock.shared.roles import NodeState, Role
from interlock.shared.state import NodeMemory
from interlock.shared.wire import (
    MAGIC,
    Record,
    decode_messages,
    encode_messages,
    last_position,
    parse_records,
)

MS = 1_000_000
ROOMY = 1 << 40


class Killed(Exception):
    """The test killed the node that was performing an effect."""


def pair_config(level: AckLevel = AckLevel.WRITTEN, **limits: int) -> Config:
    def node(name: str, port: int) -> NodeConfig:
        return NodeConfig(name, *(f"tcp://127.0.0.1:{port + i}" for i in range(6)))

    return Config(
        PairConfig(UUID(int=7), "a", level),
        {"a": node("a", 1), "b": node("b", 11)},
        Timing(),
        msgspec.structs.replace(Limits(), **limits),
        "pair.toml",
    )


class MemoryJournal:
    """The records of one node; what is beyond `synced` is lost in a power cut."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.synced = 0  # records, not seqs

    @property
    def last_seq(self) -> int:
        return self.records[-1].last_seq if self.records else 0

    @property
    def synced_seq(self) -> int:
        return self.records[self.synced - 1].last_seq if self.synced else 0

    def append(self, raws: list[bytes | memoryview]) -> None:
        for raw in raws:
            self.records += parse_records(bytes(raw))

    def sync(self) -> None:
        self.synced = len(self.records)

    def hash_at(self, seq: int) -> int | None:
        if seq == 0:
            return 0
        return next((r.hash for r in self.records if r.last_seq == seq), None)

    def read(self, after_seq: int, max_bytes: int) -> bytes:
        chunk = b""
        for record in self.records:
            if record.seq > after_seq:
                if chunk and len(chunk) + len(record.raw) > max_bytes:
                    break
                chunk += record.raw
        return chunk

    def state(self) -> LogState:
        state = LogState()
        for record in self.records:
            state.apply(record)
        return state

    def bytes(self) -> bytes:
        return b"".join(record.raw for record in self.records)


class Node:
    """One node: what survives its process (journal, memory) and its process, if it runs."""

    def __init__(self, world: World, name: str, role: Role) -> None:
        self.world = world
        self.name = name
        self.journal = MemoryJournal()
        self.memory = NodeMemory(world.config.cluster, name, role)
        self.core: PrimaryCore | SecondaryCore | None = None
        self.room = ROOMY
        self.slow_disk = False  # a sync in the background does not end
        self.notes: list[str] = []

    def start(self) -> None:
        self.memory = msgspec.structs.replace(self.memory, incarnation=self.memory.incarnation + 1)
        self.journal.sync()  # a journal is synced when it is opened
        kind = PrimaryCore if self.memory.role is Role.PRIMARY else SecondaryCore
        self.core = kind(
            self.world.config, self.name, self.memory, self.journal.state(), self.world.now
        )

    def kill(self, *, power_cut: bool = False) -> None:
        """SIGKILL: what was written stays. A power cut: what was not synced is gone."""
        self.core = None
        self.world.drop_link()
        if power_cut:
            del self.journal.records[self.journal.synced :]

    @property
    def state(self) -> NodeState:
        assert self.core is not None
        holder = self.core.reign.holder if isinstance(self.core, PrimaryCore) else self.core.holder
        return holder.state


class World:
    """Two nodes "a" (primary) and "b" (secondary), a link, producers' replies and a feed."""

    def __init__(self, level: AckLevel = AckLevel.WRITTEN, **limits: int) -> None:
        self.config = pair_config(level, **limits)
        self.level = level
        self.now = 1_000_000 * MS
        self.wall_offset = 1_400_000_000_000_000_000
        self.a = Node(self, "a", Role.PRIMARY)
        self.b = Node(self, "b", Role.SECONDARY)
        self.to_a: deque[tuple[bytes, Message]] = deque()  # with the routing id it came from
        self.to_b: deque[tuple[bytes, Message]] = deque()
        self.dials = 0
        self.link_up = True
        self.replies: list[tuple[bytes, IntakeReply]] = []
        self.feed: list[Record] = []
        self.confirmed: dict[tuple[str, int], int] = {}
        self.names: dict[int, str] = {}
        self.before_effect: Callable[[Node, Effect], None] = lambda node, effect: None

    # Running ----------------------------------------------------------------------------------

    @property
    def wall(self) -> int:
        return self.now + self.wall_offset

    @property
    def primary(self) -> PrimaryCore:
        assert isinstance(self.a.core, PrimaryCore)
        return self.a.core

    @property
    def secondary(self) -> SecondaryCore:
        assert isinstance(self.b.core, SecondaryCore)
        return self.b.core

    @property
    def released_seq(self) -> int:
        return self.primary.reign.gate.released_seq

    def start(self) -> World:
        self.a.start()
        self.b.start()
        self.settle()
        return self

    def settle(self, ms: int = 3_000) -> None:
        """Lets time pass, long enough for time-outs and dialling, and everything be delivered."""
        for _ in range(max(1, ms // 50)):
            self.now += 50 * MS
            for _ in range(10):
                self.turn(self.a)
                self.turn(self.b)
                if not self.to_a and not self.to_b:
                    break

    def turn(self, node: Node) -> None:
        """One turn of a node: takes what has arrived for it, then performs the effects."""
        core = node.core
        try:
            if isinstance(core, PrimaryCore):
                self._turn_primary(node, core)
            elif isinstance(core, SecondaryCore):
                self._turn_secondary(node, core)
        except Killed:
            node.kill()

    def _turn_primary(self, node: Node, core: PrimaryCore) -> None:
        core.handle(Room(node.room), self.now, self.wall)
        core.handle(Synced(node.journal.synced_seq), self.now, self.wall)
        while self.to_a:
            sender, message = self.to_a.popleft()
            own = node.journal.hash_at(message.last.seq) if isinstance(message, LinkHello) else None
            core.handle(FromStandby(sender, message, own), self.now, self.wall)
        self._perform(node, core.end_turn(self.now, self.wall))

    def _turn_secondary(self, node: Node, core: SecondaryCore) -> None:
        core.handle(Room(node.room), self.now)
        core.handle(Synced(node.journal.synced_seq), self.now)
        while self.to_b:
            _, message = self.to_b.popleft()
            own = (
                node.journal.hash_at(message.after.seq) if isinstance(message, LinkFetch) else None
            )
            core.handle(FromPrimary(message, own), self.now)
        self._perform(node, core.end_turn(self.now))

    def _perform(self, node: Node, effects: list[Effect]) -> None:
        for effect in effects:
            self.before_effect(node, effect)
            self._effect(node, effect)

    def _effect(self, node: Node, effect: Effect) -> None:  # noqa: C901 one case per effect
        match effect:
            case SendLink(to, message):
                self._link(node, to, message)
            case Append(records, _, durable):
                node.journal.append(records)
                if durable:
                    node.journal.sync()
            case Sync(wait):
                if wait or not node.slow_disk:
                    node.journal.sync()
            case SaveMemory(memory):
                node.memory = memory
            case StreamLink(to, session, after_seq, max_bytes):
                records = node.journal.read(after_seq, max_bytes)
                if records:
                    self._link(node, to, LinkRecords(session, 0, memoryview(records)))
                    streamed = Streamed(session, last_position(records), len(records))
                    self.primary.handle(streamed, self.now, self.wall)
            case SendTail(session, after_seq, max_bytes):
                self._link(node, b"", LinkTail(session, node.journal.read(after_seq, max_bytes)))
            case HangUp():
                self.to_b.clear()
            case Dial():
                self.dials += 1
                self.drop_link()
            case Reply(to, message):
                self._reply(to, message)
            case Publish(frame):
                for record in parse_records(frame) if frame.startswith(MAGIC) else []:
                    self._check_released(record)
                    self.feed.append(record)
            case Note(text):
                node.notes.append(text)
            case Halt(text):
                node.notes.append(text)
                raise Killed

    def _link(self, node: Node, to: bytes, message: Message) -> None:
        socket = b"dial-%d" % self.dials
        if not self.link_up:
            return
        if node is self.b and self.a.core:
            self.to_a.append((socket, message))
        elif node is self.a and self.b.core and to == socket:
            self.to_b.append((socket, message))

    def drop_link(self) -> None:
        """Everything on its way is lost, as when a connection breaks."""
        self.to_a.clear()
        self.to_b.clear()

    def cut(self) -> None:
        self.link_up = False
        self.drop_link()

    # Producers --------------------------------------------------------------------------------

    def hello(self, name: str, session: int, *, resume: bool = False) -> IntakeReply:
        self.names[session] = name
        return self.ask(session, ProducerHello(1, "", name, session, resume))

    def submit(self, session: int, producer_seq: int, *bodies: bytes) -> None:
        """Submits without waiting. The sender's routing id is its session number."""
        payload = msgspec.Raw(encode_messages(list(bodies)))
        submit = Submit(session, 0, producer_seq, len(bodies), payload)
        self.primary.handle(FromProducer(b"%d" % session, submit), self.now, self.wall)

    def ask(self, session: int, request: IntakeRequest) -> IntakeReply:
        """The answer that comes back in the same turn."""
        before = len(self.replies)
        self.primary.handle(FromProducer(b"%d" % session, request), self.now, self.wall)
        self.turn(self.a)
        return self.replies[before][1]

    def ask_secondary(self, session: int, request: IntakeRequest) -> IntakeReply:
        before = len(self.replies)
        self.secondary.handle(FromProducer(b"%d" % session, request), self.now)
        self.turn(self.b)
        return self.replies[before][1]

    def see_peer(self, role: str, epoch: int) -> None:
        self.primary.handle(PeerSeen(role, epoch), self.now, self.wall)
        self.turn(self.a)

    def _reply(self, to: bytes, message: Message) -> None:
        self.replies.append((to, message))  # type: ignore[arg-type]
        if isinstance(message, Confirmed):
            name = self.names[message.session]
            for run in message.runs:
                for index in range(run.count if run.seq else 0):
                    self._check_confirmed(run.seq + index)
                    key = (name, run.producer_seq + index)
                    assert self.confirmed.setdefault(key, run.seq + index) == run.seq + index, (
                        f"{key} was confirmed at two seqs"
                    )

    # What must hold ---------------------------------------------------------------------------

    def _check_released(self, record: Record) -> None:
        """P1 at the moment of release, and P3: in order, without gaps unless they are replayed."""
        last = self.feed[-1].last_seq if self.feed else 0
        assert record.seq > last, f"seq {record.seq} published after seq {last}"
        for node in (self.a, self.b):
            held = node.journal.hash_at(record.last_seq)
            if self.level is AckLevel.RECEIVED and node is self.b and held is None:
                continue  # still in the standby's memory
            assert held == record.hash, f"seq {record.seq} released and not with {node.name}"
            if self.level is AckLevel.SYNCED:
                assert record.last_seq <= node.journal.synced_seq, f"not synced on {node.name}"

    def _check_confirmed(self, seq: int) -> None:
        for node in (self.a, self.b):
            held = node.journal.last_seq >= seq
            assert held or self.level is AckLevel.RECEIVED, f"{seq} confirmed, not on {node.name}"

    def assert_identical(self) -> None:
        """Both journals are equal byte by byte, and everything in them is released."""
        assert self.a.journal.bytes() == self.b.journal.bytes()
        assert self.released_seq == self.a.journal.last_seq

    def data(self) -> list[tuple[str, int, bytes]]:
        """(producer, producer_seq, body) of every data message in a's journal, in log order."""
        found = []
        for record in self.a.journal.records:
            if record.producer_seq:
                for index, body in enumerate(decode_messages(record.payload)):
                    found.append((record.producer, record.producer_seq + index, body))
        return found
