"""The primary's side of the link: sessions of the standby, and how an epoch is opened.

Decides who is let in, what is fetched back after a restart, and when this node may lead: never
before the peer has promised the new epoch's number (rule 1), and never over a peer that has seen a
higher one. Judging the two logs is `handshake`; what an ack is worth is `acks`.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from ..shared.effects import Halt, SaveMemory, SendLink
from ..shared.epochs import Mode
from ..shared.errors import Reason, RemoteError
from ..shared.limits import CHUNK_BYTES
from ..shared.messages import (
    LinkAck,
    LinkBeat,
    LinkFetch,
    LinkHello,
    LinkPromise,
    LinkPromised,
    LinkTail,
    LinkWelcome,
    Refused,
)
from ..shared.roles import NodeState
from ..shared.wire import parse_records
from .acks import take_ack
from .events import FromStandby
from .handshake import Verdict, check_identity, judge
from .reign import Reign
from .replicate import Standby


class Peering:
    """Handles what arrives on the link."""

    def __init__(self, reign: Reign) -> None:
        self._reign = reign
        self._asked_epoch = 0  # the number that the standby is asked to promise
        self._fetching = 0  # the session that was asked for our missing tail

    def handle(self, event: FromStandby, now_ns: int, wall_ns: int) -> None:
        reign = self._reign
        message, sender = event.message, event.sender
        try:
            if isinstance(message, LinkHello):
                self._on_hello(event, message, now_ns)
                return
            standby = reign.standby
            if not standby or standby.sender != sender or standby.session != message.session:
                raise RemoteError(Reason.NO_SESSION, "this node does not know the session: dial")
            standby.heard_ns = now_ns
            match message:
                case LinkAck():
                    take_ack(standby, message, reign.epoch)
                case LinkBeat():
                    standby.state = message.state
                case LinkPromised(_, epoch):
                    self._on_promised(standby, epoch, now_ns, wall_ns)
                case LinkTail(_, records):
                    self._on_tail(standby, records, now_ns)
                case Refused(reason, text):
                    self._on_refused(reason, text, now_ns)
                case _:
                    assert_never(message)
        except RemoteError as error:
            reign.counters.refused("link", error.reason)
            refused = Refused(error.reason, error.text, message.session)
            reign.effects.append(SendLink(sender, refused))
            if reign.standby and reign.standby.sender == sender:
                reign.lose_standby(f"the standby broke the protocol: {error}", now_ns)

    def _on_hello(self, event: FromStandby, hello: LinkHello, now_ns: int) -> None:
        reign = self._reign
        check_identity(hello, reign.cluster, reign.peer, reign.level.value)
        if reign.holder.state in (NodeState.FENCED, NodeState.DIVERGED, NodeState.FAILED):
            raise RemoteError(
                Reason.NOT_PRIMARY,
                f"node {reign.node} is {reign.holder.state.value}: {reign.holder.why}",
            )
        verdict = judge(
            hello, reign.log, reign.node, bool(reign.epoch), event.own_hash, event.first_seq
        )
        match verdict:
            case Verdict.JOIN | Verdict.FETCH:
                standby = reign.standby = Standby(event.sender, hello, now_ns)
                reign.counters.count("hellos")
                if reign.epoch:
                    self._welcome(standby, now_ns)
                elif verdict is Verdict.FETCH:
                    self._fetching = hello.session
                    reign.link(standby, LinkFetch(hello.session, reign.log.position))
                else:
                    self._ask_promise(standby)
            case Verdict.FENCE:
                newest = hello.epochs[-1].number if hello.epochs else 0
                why = (
                    f"node {hello.node} has promised epoch {max(newest, hello.promised_epoch)}, "
                    f"this node led epoch {reign.log.history.number}"
                )
                self._give_way(NodeState.FENCED, Reason.WRONG_EPOCH, why, now_ns)
            case Verdict.WIPED:
                why = (
                    f"the journal of node {reign.node} is empty and node {hello.node} holds "
                    f"{hello.last.seq} messages: an empty node cannot lead; start it as the "
                    f"secondary once {hello.node} leads, or restore its data directory"
                )
                self._give_way(NodeState.FENCED, Reason.NOT_PRIMARY, why, now_ns)
            case Verdict.DIVERGE:
                why = (
                    f"the logs differ: node {reign.node} ends at seq {reign.log.last_seq} in epoch "
                    f"{reign.log.history.number}, node {hello.node} at seq {hello.last.seq}, and "
                    "neither is a prefix of the other"
                )
                self._give_way(NodeState.DIVERGED, Reason.DIFFERENT_HISTORY, why, now_ns)
            case _:
                assert_never(verdict)

    def _ask_promise(self, standby: Standby) -> None:
        """Rule 1: the peer promises the number before it is used, so a number names one leader."""
        reign = self._reign
        highest = max(reign.log.history.number, standby.promised_epoch, reign.memory.promised_epoch)
        self._asked_epoch = highest + 1
        reign.link(standby, LinkPromise(standby.session, self._asked_epoch))

    def _on_promised(self, standby: Standby, epoch: int, now_ns: int, wall_ns: int) -> None:
        reign = self._reign
        if reign.epoch or epoch != self._asked_epoch:
            raise RemoteError(Reason.WRONG_EPOCH, f"a promise of epoch {epoch} was not asked for")
        if reign.room_bytes < CHUNK_BYTES:
            raise RemoteError(Reason.DISK_FULL, f"node {reign.node} has no disk space to lead")
        reign.memory = msgspec.structs.replace(reign.memory, promised_epoch=epoch, target=None)
        reign.effects.append(SaveMemory(reign.memory))
        reason = "first start" if reign.log.last_seq == 0 else "restart of the primary"
        record = reign.sequencer.open_epoch(epoch, Mode.GATED, "", reason, now_ns, wall_ns)
        reign.gate.hold(record)
        reign.append([record.raw], len(record.raw), durable=True)
        reign.record_ns = now_ns
        reign.epoch = epoch
        reign.note(f"opened epoch {epoch} at seq {record.last.seq} ({reason})")
        self._welcome(standby, now_ns)

    def _welcome(self, standby: Standby, now_ns: int) -> None:
        """Opens the stream. The target is our newest record: not before the standby holds it does
        it hold all that was ever released (rule 2)."""
        reign = self._reign
        standby.welcomed = True
        reign.link(
            standby,
            LinkWelcome(
                standby.session,
                reign.node,
                reign.memory.incarnation,
                reign.epoch,
                standby.acked,
                reign.log.position,
                reign.level.value,
            ),
        )
        reign.enter(NodeState.GATED, f"the standby {reign.peer} follows", now_ns)

    def _on_tail(self, standby: Standby, records: bytes, now_ns: int) -> None:
        """Takes back what the standby holds of our earlier reign and we lost."""
        reign = self._reign
        if reign.epoch or self._fetching != standby.session:
            raise RemoteError(Reason.MALFORMED, "a tail that was not asked for")
        if not records:
            self._fetching = 0
            self._ask_promise(standby)
            return
        if len(records) > reign.room_bytes:
            raise RemoteError(Reason.DISK_FULL, f"node {reign.node} has no disk space for the tail")
        taken: list[bytes | memoryview] = []
        try:
            for record in parse_records(records):
                reign.log.apply(record)
                taken.append(record.raw)
        finally:  # what the log state took in must be in the journal, whatever follows it
            if taken:
                reign.append(taken, sum(map(len, taken)), durable=True)
        standby.sent = standby.acked = reign.log.position
        reign.note(f"fetched back up to seq {reign.log.last_seq} from {reign.peer}")
        reign.link(standby, LinkFetch(standby.session, reign.log.position))

    def _on_refused(self, reason: Reason, text: str, now_ns: int) -> None:
        reign = self._reign
        if reason is Reason.DIFFERENT_HISTORY:
            self._give_way(NodeState.DIVERGED, reason, text, now_ns)
        reign.lose_standby(f"the standby refused: {text}", now_ns)

    def _give_way(self, state: NodeState, reason: Reason, why: str, now_ns: int) -> None:
        """Stops leading for good; only an operator changes that. Raises what the peer is told."""
        reign = self._reign
        reign.epoch = 0
        reign.standby = None
        reign.enter(state, why, now_ns)
        raise RemoteError(reason, why)

    def on_peer_seen(self, role: str, epoch: int, now_ns: int) -> None:
        reign = self._reign
        if reign.holder.state is not NodeState.RESUMING or role != "primary":
            return
        if epoch > reign.log.history.number:
            why = f"node {reign.peer} leads epoch {epoch}; this node led {reign.log.history.number}"
            reign.enter(NodeState.FENCED, why, now_ns)
        elif epoch == 0 and reign.log.last_seq == 0:
            reign.effects.append(
                Halt(
                    f"nodes {reign.node} and {reign.peer} were both first started as primary; stop "
                    f"one, empty its data directory, and start it with: interlock secondary"
                )
            )
