"""What must hold, checked from outside with the whole history: each checker is one invariant.

Decides nothing of the code under test and shares no state with it: the registry of what was
released is built from what left a node (feed, confirmations, watermarks, replay), never from what a
core believes. `checks` calls each checker's hooks; one that finds a breach raises `Violation`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interlock.primary.core import PrimaryCore
from interlock.secondary.core import SecondaryCore
from interlock.shared.config import AckLevel
from interlock.shared.effects import (
    Append,
    Become,
)
from interlock.shared.epochs import EpochOpened, Mode
from interlock.shared.messages import (
    LinkAck,
    LinkHello,
)
from interlock.shared.operations import Operation, Receipt, Result
from interlock.shared.roles import NodeState
from interlock.shared.wire import Record, parse_records

if TYPE_CHECKING:
    from .node import SimNode
    from .world import SimWorld

# States in which nothing is released, whatever comes.
SILENT = (NodeState.STALLED, NodeState.RESUMING, NodeState.FENCED, NodeState.DIVERGED)


class Violation(AssertionError):
    """An invariant does not hold."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name


class Checker:
    """One invariant. Hooks that it does not need do nothing."""

    name = ""

    def __init__(self, world: SimWorld) -> None:
        self.world = world

    def require(self, holds: object, text: str) -> None:
        if not holds:
            raise Violation(self.name, text)

    def appended(self, node: SimNode, record: Record) -> None: ...
    def acked(self, node: SimNode, ack: LinkAck) -> None: ...
    def helloed(self, node: SimNode, hello: LinkHello) -> None: ...
    def released(self, node: SimNode, record: Record, epoch: int, mode: Mode) -> None: ...
    def opened(self, node: SimNode, record: Record, opened: EpochOpened) -> None: ...
    def became(self, node: SimNode, become: Become, cut: list[Record]) -> None: ...
    def hello_taken(self, node: SimNode, hello: LinkHello) -> None: ...
    def promised(self, node: SimNode, epoch: int) -> None: ...
    def yielded(self, node: SimNode) -> None: ...
    def reseeded(self, node: SimNode) -> None: ...
    def turned(self, node: SimNode) -> None: ...
    def died(self, node: SimNode) -> None: ...
    def received_receipt(self, receipt: Receipt) -> None: ...


def leads(node: SimNode, opened: EpochOpened) -> bool:
    """Whether this node opens that epoch now, and does not only take its record in."""
    return isinstance(node.core, PrimaryCore) and node.core.reign.epoch == opened.number


class OneValue(Checker):
    """P3: a seq has one value, wherever and whenever it is told."""

    name = "one value per seq"

    def told(self, where: str, record: Record) -> None:
        known = self.world.registry.hashes.get(record.last_seq)
        self.require(
            known == record.hash,
            f"{where} tells seq {record.seq} with hash {record.hash:016x}"
            + (f", released was {known:016x}" if known is not None else ", which was not released"),
        )


class Gate(Checker):
    """P1: while gated, released means held by both at the ack level; in solo, on the own disk."""

    name = "released <= held at the ack level"

    def __init__(self, world: SimWorld) -> None:
        super().__init__(world)
        self.received: dict[str, dict[int, int]] = {"a": {}, "b": {}}  # acked at level received
        self.lives: dict[tuple[str, int], int] = {}  # by session: the process that dialled
        self.heard: dict[str, int] = {}  # the process that said hello to this node last

    def helloed(self, node: SimNode, hello: LinkHello) -> None:
        self.lives[node.name, hello.session] = node.life

    def hello_taken(self, node: SimNode, hello: LinkHello) -> None:
        # After a lost disk sessions begin anew: an older life with the same number does not count.
        self.heard[node.name] = self.lives[hello.node, hello.session]

    def died(self, node: SimNode) -> None:
        self.received[node.name].clear()
        self.heard.pop(node.name, None)

    def reseeded(self, node: SimNode) -> None:
        """What it acknowledged before its journal was set aside may still be on its way: a copy
        less for a moment, by an operator's decision."""
        self.heard.pop(self.world.other(node).name, None)

    def acked(self, node: SimNode, ack: LinkAck) -> None:
        """At level received the ack leaves before the write: what will be written is held."""
        for effect in node.effects if self.world.level is AckLevel.RECEIVED else ():
            if isinstance(effect, Append):
                for record in parse_records(b"".join(effect.records)):
                    self.received[node.name][record.last_seq] = record.hash

    def released(self, node: SimNode, record: Record, epoch: int, mode: Mode) -> None:
        level = self.world.level
        end = record.last_seq
        own = node.journal
        state = node.state
        self.require(state not in SILENT, f"{node.name} is {state.value} and releases seq {end}")
        self.require(own.hash_at(end) == record.hash, f"{node.name} lacks seq {end} and tells it")
        if mode is Mode.SOLO or level is AckLevel.SYNCED:
            self.require(own.synced_seq >= end, f"seq {end} is not on the disk of {node.name}")
        if mode is Mode.SOLO:
            return
        peer = self.world.other(node)
        journal = peer.journal
        held = journal.ever_synced if level is AckLevel.SYNCED else journal.ever_written
        ever = record.hash in held.get(end, ())
        if level is AckLevel.RECEIVED and self.received[peer.name].get(end) == record.hash:
            return
        what = f"seq {end} released in epoch {epoch} by {node.name}, and {peer.name}"
        self.require(ever or level is AckLevel.RECEIVED, f"{what} never held it at {level.value}")
        if self.heard.get(node.name) == peer.life and peer.core is not None:
            # It may have lost since what it acked; but not if that very process is known here.
            self.require(journal.hash_at(end) == record.hash, f"{what} does not hold it")


class HonestAcks(Checker):
    """What a standby acknowledges, or names as its end, it holds at the ack level; and it
    acknowledges no epoch below one that it has promised."""

    name = "acks tell the truth"

    def __init__(self, world: SimWorld) -> None:
        super().__init__(world)
        self.given: dict[tuple[str, int], int] = {}  # by node and disk: the highest promise told

    def promised(self, node: SimNode, epoch: int) -> None:
        key = (node.name, node.disks)
        self.given[key] = max(epoch, self.given.get(key, 0))

    def acked(self, node: SimNode, ack: LinkAck) -> None:
        promised = max(node.memory.promised_epoch, self.given.get((node.name, node.disks), 0))
        self.require(
            ack.epoch >= promised,
            f"{node.name} acks epoch {ack.epoch} after it promised {promised}",
        )
        self._held(node, ack.last.seq, ack.last.hash, "acks")

    def helloed(self, node: SimNode, hello: LinkHello) -> None:
        self._held(node, hello.last.seq, hello.last.hash, "dials with")

    def _held(self, node: SimNode, seq: int, own_hash: int, what: str) -> None:
        level = self.world.level
        if level is AckLevel.RECEIVED or not seq:
            return
        journal = node.journal
        self.require(journal.hash_at(seq) == own_hash, f"{node.name} {what} seq {seq} unwritten")
        if level is AckLevel.SYNCED:
            self.require(journal.synced_seq >= seq, f"{node.name} {what} seq {seq} unsynced")


class Reigns(Checker):
    """Rules 1 and 5, P5: an epoch number names one leader and one place for ever; its opening is on
    the disk before anything else is done in it; and solo, or a new leader, needs an operation that
    an operator has executed."""

    name = "epochs"

    def __init__(self, world: SimWorld) -> None:
        super().__init__(world)
        self.openings: dict[int, tuple[str, int, int]] = {}  # number: leader, seq, hash
        self.newest = 0

    def opened(self, node: SimNode, record: Record, opened: EpochOpened) -> None:
        place = (opened.leader, record.seq, record.hash)
        known = self.openings.setdefault(opened.number, place)
        self.require(known == place, f"epoch {opened.number} was opened twice: {known} and {place}")
        self.newest = max(self.newest, opened.number)
        if not leads(node, opened):
            return  # a standby takes it in
        self.require(
            node.journal.synced_seq >= record.seq,
            f"{node.name} opens epoch {opened.number} and its record is not on the disk",
        )
        epochs = [each for each in node.journal.state.history.epochs if each.number < opened.number]
        same = not epochs or epochs[-1].leader == opened.leader
        if opened.mode is Mode.SOLO or not same:
            self.require(
                opened.operation in self.world.executed,
                f"{node.name} opens epoch {opened.number} ({opened.mode.value}) by itself: "
                f"{opened.reason!r}",
            )

    def released(self, node: SimNode, record: Record, epoch: int, mode: Mode) -> None:
        opening = self.openings.get(epoch)
        self.require(
            opening is not None and opening[0] == node.name,
            f"{node.name} releases in epoch {epoch}, opened by {opening}",
        )


class ReleaseRight(Checker):
    """One holder of the release right: once an epoch is open, a lower one releases nothing but
    what the newer leader's log holds."""

    name = "one holder of the release right"

    def released(self, node: SimNode, record: Record, epoch: int, mode: Mode) -> None:
        reigns = self.world.checks.reigns
        if epoch >= reigns.newest:
            return
        for number, (leader, seq, _) in reigns.openings.items():
            if number <= epoch or leader == node.name:
                continue
            journal = self.world.node(leader).journal
            self.require(
                record.last_seq < seq and journal.hash_at(record.last_seq) == record.hash,
                f"{node.name} releases seq {record.last_seq} in epoch {epoch}, after {leader} "
                f"opened epoch {number} at seq {seq} without it",
            )


class Superset(Checker):
    """P2: who opens an epoch holds everything that was ever released; so does a promotable standby,
    but for what was released in solo."""

    name = "the leader's log is a superset of the released"

    def opened(self, node: SimNode, record: Record, opened: EpochOpened) -> None:
        if not leads(node, opened) or opened.accepted_loss:
            return
        registry = self.world.registry
        held = registry.held_up_to(node)
        self.require(
            held == registry.last,
            f"{node.name} opens epoch {opened.number} at seq {record.seq} and holds the released "
            f"up to {held} of {registry.last}",
        )

    def turned(self, node: SimNode) -> None:
        core = node.core
        if not isinstance(core, SecondaryCore) or not core.is_promotable:
            return
        end = self.world.registry.gated_end
        held = core.log.last_seq >= end
        if held and end and self.world.level is not AckLevel.RECEIVED:
            held = node.journal.hash_at(end) == self.world.registry.hashes[end]
        self.require(held, f"{node.name} is promotable and lacks seq {end}, which was released")


class Cuts(Checker):
    """Truncation never crosses the released, and quarantine holds every byte that was cut."""

    name = "cuts"

    def became(self, node: SimNode, become: Become, cut: list[Record]) -> None:
        hashes = self.world.registry.hashes
        kept = b"".join(bytes(record.raw) for record in cut)
        self.require(
            not cut or (node.quarantine and node.quarantine[-1] == kept),
            f"{node.name} cut {len(cut)} records and quarantined others",
        )
        if become.reseed:
            return
        for record in cut:
            self.require(
                hashes.get(record.last_seq) != record.hash,
                f"{node.name} cuts seq {record.seq}, which was released",
            )

    def reseeded(self, node: SimNode) -> None:
        leader, registry = self.world.other(node), self.world.registry
        self.require(
            registry.held_up_to(leader) == registry.last,
            f"{node.name} is reseeded from {leader.name}, which lacks released records",
        )


class NoLoss(Checker):
    """P2 at every death: what was released is still in the journal of one of the two nodes."""

    name = "nothing released is lost"

    def died(self, node: SimNode) -> None:
        registry = self.world.registry
        if self.world.level is AckLevel.RECEIVED:
            return  # the standby may hold it in memory alone; the world cuts no more than that
        held = max(registry.held_up_to(each) for each in self.world.nodes)
        self.require(held == registry.last, f"seq {registry.last} is lost, held up to {held}")


class HonestReceipts(Checker):
    """P6: what was REFUSED did not happen, and a promotion or solo that is DONE did."""

    name = "receipts tell the truth"

    def __init__(self, world: SimWorld) -> None:
        super().__init__(world)
        self.opened_by: set[str] = set()
        self.refused: set[str] = set()

    def opened(self, node: SimNode, record: Record, opened: EpochOpened) -> None:
        self.opened_by.add(opened.operation)
        self.require(
            not opened.operation or opened.operation not in self.refused,
            f"operation {opened.operation} was REFUSED and opens epoch {opened.number}",
        )

    def received_receipt(self, receipt: Receipt) -> None:
        opens = receipt.request.operation in (Operation.PROMOTE, Operation.SOLO)
        happened = receipt.id in self.opened_by
        if receipt.result is Result.REFUSED:
            self.refused.add(receipt.id)
            self.require(not happened, f"REFUSED, but it happened: {receipt.text}")
        elif receipt.result is Result.DONE and opens:
            self.require(happened, f"DONE, but it did not happen: {receipt.text}")


class Outdated(Checker):
    """Rules 2 and 4: who has given way, or follows a primary in solo, is not promotable."""

    name = "who may lack something is no candidate"

    def yielded(self, node: SimNode) -> None:
        core = node.core
        if isinstance(core, SecondaryCore):
            self.require(not core.is_promotable, f"{node.name} gave way and is still promotable")

    def turned(self, node: SimNode) -> None:
        core, leader = node.core, self.world.other(node).core
        if not isinstance(core, SecondaryCore) or not isinstance(leader, PrimaryCore):
            return
        solo = leader.reign.solo is not None and leader.reign.epoch == core.epoch
        self.require(
            not (solo and core.is_promotable), f"{node.name} follows a solo and is promotable"
        )
