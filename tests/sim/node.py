"""A simulated node: the production core of `support.nodes`, with turns, a disk and a process.

Decides nothing of the protocol. What it adds: effects are performed one by one and can be
interrupted between any two (killed, or frozen and gone on with later), syncs take time, a power cut
keeps any prefix of what was not synced, and a full disk leaves messages in the sockets as the
shells do.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from interlock.primary.core import PrimaryCore
from interlock.secondary.core import SecondaryCore
from interlock.shared.boot import wake
from interlock.shared.config import Config
from interlock.shared.desk import Desk
from interlock.shared.effects import Append, Become, Effect, Quit, Sync
from interlock.shared.events import Room, Synced
from interlock.shared.handed import Handed
from interlock.shared.messages import LinkHello
from interlock.shared.replay import ReplayServer
from interlock.shared.roles import NodeState, Role, StateHolder
from interlock.shared.telemetry import Counters
from support.nodes import Killed, Node

from .disk import SimJournal

if TYPE_CHECKING:
    from .world import SimWorld


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
        self.damaged = False  # it finds damage at its start, and does not start
        self.held = ""  # the token of an operation for which it was attested to stay stopped
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
        self.journal.reopen()
        self.memory = wake(self.memory, self.config.pair.ack_level, self.boot, self.journal.state)
        self.desk = Desk(self.config, self.name, self._draw)
        holder = CountingHolder(world, self.name, world.now)
        world.trace.add(
            self.name, "starts", (self.memory.role.value, "log ends at", self.journal.last_seq)
        )
        self._make(self.memory.role, Handed(holder, self.desk, Counters()))
        world.network.process_started(self)
        self._turn_at = 0
        self.wake(0)

    def kill(self, *, power_cut: bool = False) -> None:
        self.effects.clear()
        self.frozen = False
        self.trap = None
        if self.core is not None:
            self.world.trace.add(self.name, "dies", "power cut" if power_cut else "killed")
        super().kill()
        self.world.network.process_ended(self)
        if power_cut:
            self.boot = f"boot-{int(self.boot[5:]) + 1}"
            self.world.lose_unsynced(self)
        self.world.checks.on_death(self)

    def freeze(self) -> None:
        if self.core is not None:
            self.frozen = True
            self.world.trace.add(self.name, "frozen")

    def thaw(self) -> None:
        if self.frozen:
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
        if when != self._turn_at or self.core is None or self.frozen:
            return
        self._turn_at = 0
        self.turn()
        if self.core is not None and not self.frozen and not self._turn_at:
            core = self.core
            at_once = (len(self.inbox) > self._waiting) or (
                isinstance(core, PrimaryCore) and core.wants_turn()
            )
            self.wake(50_000 if at_once else self.world.poll_ns)

    def receive(self, kind: str, *item: Any) -> None:
        """A message has arrived in a socket of this node; None of a process that does not run."""
        if self.core is not None:
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
