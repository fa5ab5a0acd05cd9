"""A simulated node: the production core of `support.nodes`, with turns, a disk and a process.

Decides nothing of the protocol. What it adds: effects are performed one by one and can be
interrupted between any two (killed, or frozen and gone on with later), syncs take time, a power cut
keeps any prefix of what was not synced, a full disk leaves messages in the sockets as the shells
do, and a damaged journal makes the node start as a `FailedCore` (`cli.failed` is that shell).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from interlock.primary.core import PrimaryCore
from interlock.secondary.core import SecondaryCore
from interlock.shared.boot import wake
from interlock.shared.commands import Command, ControlRequest, GetStatus, Status
from interlock.shared.config import Config
from interlock.shared.desk import Desk
from interlock.shared.effects import Append, Become, Effect, Quit, Sync
from interlock.shared.events import FromControl, PeerAnswered, Room, Synced
from interlock.shared.failed import FailedCore
from interlock.shared.handed import Handed
from interlock.shared.log import LogState
from interlock.shared.messages import LinkHello, Refused
from interlock.shared.replay import ReplayServer
from interlock.shared.roles import NodeState, Role, StateHolder
from interlock.shared.telemetry import Counters, JournalStatus, NodeStatus, ProcessStatus
from support.nodes import Killed, Node

from .disk import SimJournal

if TYPE_CHECKING:
    from .world import SimWorld


FAILED_TAKES = ("control", "peer_answer")


class CountingHolder(StateHolder):
    """Counts the states and transitions that a run reaches."""

    def __init__(self, world: SimWorld, node: str, now_ns: int) -> None:
        super().__init__(now_ns)
        self._world, self._node = world, node

    def enter(self, state: NodeState, why: str, now_ns: int) -> bool:
        before = self.state
        moved = super().enter(state, why, now_ns)
        if moved:
            self._world.seen.transitions[before.value, state.value] += 1
            self._world.trace.add(self._node, "state", (before.value, "->", state.value, why))
        return moved


class SimNode(Node):
    """A node with a process that can be killed, frozen and started, and a disk that can fail."""

    def __init__(self, world: SimWorld, config: Config, name: str, role: Role) -> None:
        super().__init__(world, config, name, role)
        self.world = world
        self.journal: SimJournal = SimJournal()
        self.life = 0  # counts the processes; what an earlier one asked for is void
        self.effects: deque[Effect] = deque()
        self.frozen = False
        self.sync_fails = False
        self.sync_ns = world.sync_ns  # how long a sync in the background takes
        self.trap: tuple[int, str] | None = None  # effects from now, and what happens then
        self.failed: FailedCore | None = None  # what runs instead of a core: its journal is damaged
        self.damaged = False  # it finds damage at its start, and is FAILED
        self.lost_disk = False  # it cannot be started before it has a new one
        self.disks = 1  # how many it has had
        self.asleep_until = 0  # nobody starts it before
        self.doomed: tuple[int, str] | None = None  # its trap when it starts the next time
        self.held = ""  # the token of an operation for which it was attested to stay stopped
        # What an attestation speaks about: when it heard on the link, was in solo, was promoted.
        self.heard_ns = self.solo_ns = self.promoted_ns = -1
        self._turn_at = 0
        self._waiting = 0  # messages that a full disk keeps in the sockets

    # The process ------------------------------------------------------------------------------

    def start(self) -> None:
        world = self.world
        self.life += 1
        self.frozen = False
        self.trap = None
        self.effects.clear()
        self.inbox.clear()
        self.desk = Desk(self.config, self.name, self._draw)
        if self.damaged:
            self._start_failed(self.desk)
            return
        self.journal.reopen()
        self.memory = wake(self.memory, self.config.pair.ack_level, self.boot, self.journal.state)
        holder = CountingHolder(world, self.name, world.now)
        world.trace.add(
            self.name, "starts", (self.memory.role.value, "log ends at", self.journal.last_seq)
        )
        self._make(self.memory.role, Handed(holder, self.desk, Counters()))
        self._is_up()

    def _is_up(self) -> None:
        self.world.network.process_started(self)
        self._turn_at = 0
        self.wake(0)

    def _start_failed(self, desk: Desk) -> None:
        """What can be told of a log that cannot be read: that it went at least so far."""
        world = self.world
        reached_seq = world.rng.randint(0, self.journal.last_seq)
        why = "journal damaged: bad-hash in 1.log"
        self.failed = FailedCore(
            self.config, self.name, self.memory, why, reached_seq, desk, world.now
        )
        world.seen.transitions[NodeState.STARTING.value, NodeState.FAILED.value] += 1
        world.trace.add(self.name, "starts", (self.memory.role.value, "is FAILED", reached_seq))
        self._is_up()

    @property
    def runs(self) -> bool:
        """Whether there is a process, be it one that is FAILED."""
        return self.core is not None or self.failed is not None

    def kill(self, *, power_cut: bool = False) -> None:
        self.effects.clear()
        self.frozen = False
        self.trap = None
        if self.runs:
            if self.core is not None and self.state is NodeState.SOLO:
                self.solo_ns = self.world.now
            self.world.trace.add(self.name, "dies", "power cut" if power_cut else "killed")
        self.failed = None
        super().kill()
        self.world.network.process_ended(self)
        if power_cut:
            self.boot = f"boot-{int(self.boot[5:]) + 1}"
            self.world.lose_unsynced(self)
        self.world.checks.on_death(self)

    def freeze(self) -> None:
        if self.runs:
            self.frozen = True
            self.world.trace.add(self.name, "frozen")

    def thaw(self) -> None:
        if self.frozen and not self.held:
            self.frozen = False
            self.world.trace.add(self.name, "goes on")
            self.wake(0)

    # Turns ------------------------------------------------------------------------------------

    def wake(self, delay: int) -> None:
        """A turn `delay` ns from now, unless there is one before."""
        now = self.world.now
        when = now + delay
        if self._turn_at <= now or when < self._turn_at:
            self._turn_at = when
            self.world.engine.at(when, self._turn_event, when)

    def _turn_event(self, when: int) -> None:
        if when != self._turn_at or not self.runs or self.frozen:
            return
        self._turn_at = 0
        if self.failed is not None:
            self._failed_turn(self.failed)
            self.wake(self.world.poll_ns)
            return
        self.turn()
        if self.core is not None and not self.frozen and not self._turn_at:
            core = self.core
            at_once = (len(self.inbox) > self._waiting) or (
                isinstance(core, PrimaryCore) and core.wants_turn()
            )
            self.wake(50_000 if at_once else self.world.poll_ns)

    def receive(self, kind: str, *item: Any) -> None:
        """A message has arrived in a socket of this node; None of a process that does not run."""
        if self.core is not None or (self.failed is not None and kind in FAILED_TAKES):
            self.inbox.append((kind, item))
            self.wake(self.world.turn_delay_ns())

    def turn(self) -> None:
        try:
            if not self.effects:
                self._begin_turn()
            self._go_on()
        except Killed:
            self.kill()

    def _begin_turn(self) -> None:
        self._take(Synced(self.journal.synced_seq))
        self._take(Room(self.room))
        self._waiting = 0
        left = self.world.turn_size()
        waits: deque[tuple[str, Any]] = deque()
        while self.inbox and left:
            left -= 1
            kind, item = self.inbox.popleft()
            core = self.core
            full = core is not None and core.turn_is_full()
            if (
                full
                and kind in ("dial_side", "intake")
                and (kind == "dial_side" or isinstance(core, PrimaryCore))
            ):
                waits.append((kind, item))
                continue
            self.world.trace.add(self.name, "<-" + kind, item)
            if kind == "hello_side" and isinstance(item[1], LinkHello):
                self.world.checks.hello_taken(self, item[1])
            if kind in ("hello_side", "dial_side") and not isinstance(item[-1], Refused):
                self.heard_ns = self.world.now
            getattr(self, f"_on_{kind}")(*item)
        self.inbox.extendleft(reversed(waits))
        self._waiting = len(waits)
        core = self.core
        assert core is not None
        self.effects.extend(core.end_turn(self.net.now, self.wall))

    def _go_on(self) -> None:
        """Performs what is left of the turn's effects."""
        core = self.core
        while self.effects:
            self._spring_trap()
            if self.frozen:
                return
            effect = self.effects.popleft()
            self.world.checks.before_effect(self, effect)
            self._perform(effect)
            if self.core is None:
                return
            self.world.checks.after_effect(self, effect)
            if self.core is not core:
                self.effects.clear()
                return
        if self.core is not None and self.state is NodeState.SOLO:
            self.solo_ns = self.world.now
        self.world.checks.after_turn(self)

    def _spring_trap(self) -> None:
        if self.trap is None:
            return
        left, what = self.trap
        if left:
            self.trap = (left - 1, what)
            return
        self.trap = None
        self.world.seen.faults[f"{what} at an effect"] += 1
        if what == "freeze":
            self.freeze()
            self.world.engine.after(self.world.pause_ns(), self.thaw)
        else:
            self.kill(power_cut=what == "power cut")
            raise Killed

    def _perform(self, effect: Effect) -> None:
        durable = isinstance(effect, Append) and effect.durable
        if self.sync_fails and (durable or isinstance(effect, Sync)):
            self.world.seen.faults["a sync failed"] += 1
            self.notes.append("a sync failed: this is final")
            if isinstance(effect, Append):
                self.journal.append(effect.records)
            raise Killed
        if isinstance(effect, Sync) and not effect.wait:
            self.world.engine.after(
                self.sync_ns, self._synced, self.life, self.journal.length, self.journal.cuts
            )
        elif isinstance(effect, Become):
            before = [bytes(record.raw) for record in self.journal.records]
            super()._perform(effect)
            if effect.role is Role.PRIMARY:
                self.promoted_ns = self.world.now
            self.world.checks.on_become(self, effect, before)
            self.wake(0)
        elif isinstance(effect, Quit):
            self.world.trace.add(self.name, "quits", effect.text)
            super()._perform(effect)
        else:
            super()._perform(effect)

    def _synced(self, life: int, length: int, cuts: int) -> None:
        """A sync in the background has ended."""
        if life == self.life and self.core is not None and cuts == self.journal.cuts:
            if self.sync_fails:
                self.world.seen.faults["a sync failed"] += 1
                self.kill()
                return
            self.journal.sync_up_to(length)
            self.wake(self.world.turn_delay_ns())

    # A node that is FAILED -----------------------------------------------------------------------

    def _failed_turn(self, core: FailedCore) -> None:
        """One turn of the shell in `cli.failed`."""
        now, wall = self.net.now, self.wall
        while self.inbox:
            kind, item = self.inbox.popleft()
            self.world.trace.add(self.name, "<-" + kind, item)
            if kind == "peer_answer":
                core.handle(PeerAnswered(*item), now, wall)
            else:
                self._failed_control(core, *item)
        for effect in core.end_turn(now, wall):
            if isinstance(effect, Become):
                self._reseed_failed(core)
                return
            if isinstance(effect, Quit):
                self.kill()
                return
            super()._perform(effect)

    def _failed_control(self, core: FailedCore, sender: bytes, request: ControlRequest) -> None:
        if isinstance(request, Command):
            core.handle(FromControl(sender, request), self.net.now, self.wall)
        elif isinstance(request, GetStatus):
            self.net.answered(self, sender, Status(self.status()))
        else:
            refusal = core.refusal()
            self.net.answered(self, sender, Refused(refusal.reason, refusal.text))

    def _reseed_failed(self, core: FailedCore) -> None:
        """The journal is set aside, unread, and the node goes on as an empty standby."""
        world = self.world
        memory = wake(core.memory, self.config.pair.ack_level, self.boot, LogState())
        doubt = "re-seeded, and has not caught up"
        self.memory = msgspec.structs.replace(memory, role=Role.SECONDARY, target=None, doubt=doubt)
        self.replace_journal()
        world.checks.on_reseed(self)
        self.failed = None
        holder = CountingHolder(world, self.name, world.now)
        self._make(
            Role.SECONDARY,
            Handed(holder, core.desk, Counters(), reinstated=True, entry="whole"),
        )
        world.trace.add(self.name, "reseeds")
        world.network.process_started(self)
        self.wake(0)

    def replace_journal(self) -> None:
        """What was there is gone, damaged for good."""
        self.damaged = False
        self.journal.keep(0)
        self.journal.reopen()

    @property
    def state(self) -> NodeState:
        return NodeState.FAILED if self.failed is not None else super().state

    @property
    def why(self) -> str:
        return self.failed.holder.why if self.failed is not None else super().why

    def status(self) -> NodeStatus:
        if self.failed is None:
            return super().status()
        process = ProcessStatus(
            0, 0, "test", JournalStatus(), Counters(), self.notes[-5:], "production", 1
        )
        return self.failed.status(process, self.net.now, self.wall)

    @property
    def leads(self) -> bool:
        return isinstance(self.core, PrimaryCore) and self.core.reign.epoch > 0

    @property
    def follows(self) -> bool:
        return isinstance(self.core, SecondaryCore) and self.core.link_up

    def replay_server(self) -> ReplayServer:
        """The production replay logic over this node's journal, without its socket."""
        server = object.__new__(ReplayServer)
        server._cluster = self.config.cluster
        server._node = self.name
        server.journal = self.journal  # type: ignore[assignment]
        return server
