"""Where the checkers are called, and the registry of what was released.

Decides when something counts as told: at the moment when it leaves a node (feed, confirmation,
watermark, replay), before it is performed. `checkers` decides what must hold then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interlock.primary.core import PrimaryCore
from interlock.shared.commands import Yielded
from interlock.shared.effects import (
    Answer,
    Append,
    Become,
    Effect,
    Publish,
    Reply,
    SendLink,
    StreamLink,
)
from interlock.shared.epochs import Mode, decode_epoch_opened
from interlock.shared.messages import (
    Codec,
    Confirmed,
    Head,
    LinkAck,
    LinkBeat,
    LinkHello,
    LinkPromised,
    LinkRecords,
    Message,
    ReplayChunk,
)
from interlock.shared.operations import Receipt
from interlock.shared.roles import NodeState
from interlock.shared.wire import MAGIC, Kind, Record, parse_records

if TYPE_CHECKING:
    from .node import SimNode
    from .world import SimWorld

from .checkers import (
    Checker,
    Cuts,
    Gate,
    HonestAcks,
    HonestReceipts,
    NoLoss,
    OneValue,
    Outdated,
    Reigns,
    ReleaseRight,
    Superset,
    Violation,
)

_heads = Codec[Head](Head)


class Registry:
    """Everything that was ever released, as one chain: the hash at the end of each record."""

    def __init__(self) -> None:
        self.ends: list[int] = []
        self.hashes: dict[int, int] = {}
        self.gated_end = 0  # the newest of it that was released by a gated primary

    @property
    def last(self) -> int:
        return self.ends[-1] if self.ends else 0

    def held_up_to(self, node: SimNode) -> int:
        """The last released record that a node's journal holds, as far as it can be read."""
        if node.damaged or node.lost_disk:
            return 0
        for end in reversed(self.ends):
            if node.journal.hash_at(end) == self.hashes[end]:
                return end
        return 0

    def spared(self, node: SimNode, other: SimNode) -> int:
        """How many records a power cut must leave to `node`: what is synced, and what no other
        journal holds of what was released (see `world`)."""
        journal = node.journal
        count = journal.synced
        if self.held_up_to(other) < self.last:
            needed = self.held_up_to(node)
            while count < journal.length and journal.ends[count] <= needed:
                count += 1
        return count


class Checks:
    """All checkers, and the hooks through which the world calls them."""

    def __init__(self, world: SimWorld) -> None:
        self.world = world
        self.one_value = OneValue(world)
        self.reigns = Reigns(world)
        self.all: list[Checker] = [
            self.one_value,
            Gate(world),
            HonestAcks(world),
            self.reigns,
            ReleaseRight(world),
            Superset(world),
            Cuts(world),
            NoLoss(world),
            HonestReceipts(world),
            Outdated(world),
        ]
        self._turners = [each for each in self.all if type(each).turned is not Checker.turned]

    def hello_taken(self, node: SimNode, hello: LinkHello) -> None:
        for each in self.all:
            each.hello_taken(node, hello)

    def on_death(self, node: SimNode) -> None:
        for each in self.all:
            each.died(node)

    def before_effect(self, node: SimNode, effect: Effect) -> None:
        """What is about to leave a node."""
        match effect:
            case Publish(frame):
                if frame[:1] == MAGIC[:1]:
                    for record in parse_records(frame):
                        self.release(node, record.last_seq)
                        self.one_value.told(f"the feed of {node.name}", record)
                else:
                    self.release(node, _heads.decode(frame).released_seq)
            case Reply(_, Confirmed() as confirmed):
                self.world.clients.confirmed(node, confirmed)
            case SendLink(_, message):
                self._before_link(node, message)
            case Answer(_, Yielded(epoch=epoch)):
                for each in self.all:
                    each.promised(node, epoch)
                    each.yielded(node)
            case StreamLink():
                self.release(node, node.released_seq)
            case _:
                pass

    def _before_link(self, node: SimNode, message: Message) -> None:
        match message:
            case LinkAck():
                for each in self.all:
                    each.acked(node, message)
            case LinkHello():
                for each in self.all:
                    each.helloed(node, message)
            case LinkPromised(epoch=epoch):
                for each in self.all:
                    each.promised(node, epoch)
            case LinkRecords(_, seq) | LinkBeat(released_seq=seq):
                if isinstance(node.core, PrimaryCore):
                    self.release(node, seq)
            case _:
                pass

    def after_effect(self, node: SimNode, effect: Effect) -> None:
        if isinstance(effect, Append):
            for record in node.journal.records[-len(effect.records) :]:
                for each in self.all:
                    each.appended(node, record)
                if record.kind is Kind.EPOCH_OPENED:
                    opened = decode_epoch_opened(record)
                    for each in self.all:
                        each.opened(node, record, opened)

    def after_turn(self, node: SimNode) -> None:
        for each in self._turners:
            each.turned(node)

    def on_reseed(self, node: SimNode) -> None:
        for each in self.all:
            each.reseeded(node)

    def on_become(self, node: SimNode, become: Become, before: list[bytes]) -> None:
        cut = parse_records(b"".join(before[node.journal.length :]))
        if become.reseed or become.cut_after is not None:
            self.world.trace.add(node.name, "cuts", (len(cut), "records after", become.cut_after))
        for each in self.all:
            each.became(node, become, cut)
        if become.reseed:
            self.on_reseed(node)

    def replayed(self, node: SimNode, chunk: ReplayChunk) -> None:
        """What a node replays is released, and is what was released."""
        self.release(node, chunk.released_seq)
        for record in parse_records(chunk.records):
            self.one_value.told(f"the replay of {node.name}", record)

    def receipt(self, receipt: Receipt) -> None:
        for each in self.all:
            each.received_receipt(receipt)

    def release(self, node: SimNode, up_to_seq: int) -> None:
        """Takes note that a node has told of a release up to `up_to_seq`."""
        registry = self.world.registry
        if up_to_seq <= registry.last:
            return
        core = node.core
        if not isinstance(core, PrimaryCore):
            raise Violation(
                OneValue.name,
                f"{node.name} is a standby and tells seq {up_to_seq} as released; released is "
                f"{registry.last}",
            )
        newest = node.journal.state.history.last
        assert newest is not None
        journal = node.journal
        if registry.last and journal.hash_at(registry.last) != registry.hashes[registry.last]:
            raise Violation(
                OneValue.name,
                f"{node.name} goes on from another record than the released one at seq "
                f"{registry.last}",
            )
        # A reign that ends in this very turn has set its epoch to 0 already.
        ended = core.reign.epoch == 0 and node.state is not NodeState.RESUMING
        epoch = newest.number if ended else core.reign.epoch
        mode = newest.mode
        record: Record | None = None
        while registry.last < up_to_seq:
            record = journal.covering(registry.last + 1)
            if record is None or record.last_seq > up_to_seq:
                raise Violation(
                    Gate.name, f"{node.name} tells seq {up_to_seq}, its journal ends before"
                )
            registry.ends.append(record.last_seq)
            registry.hashes[record.last_seq] = record.hash
        assert record is not None
        if mode is Mode.GATED:
            registry.gated_end = record.last_seq
        for each in self.all:
            each.released(node, record, epoch, mode)
