"""The primary's side of the link: sessions of the standby, and how a gated epoch is opened.

Decides who is let in, what is fetched back after a restart, and when this node may lead: never
before the peer has promised the new epoch's number (rule 1), and never over a peer that has seen a
higher one. Judging the two logs is `handshake`; what an ack is worth is `acks`; giving way to the
peer, and epochs that an operator opens alone, are `succession` and `duties`.

A gated epoch is opened in three cases that are one: by a primary that resumes; by one in solo whose
standby has caught up (the gate engages by itself: safer, so without asking); and by one whose
standby has promised it a number that was never opened: a solo that was asked for on control and
given up leaves that behind, and the standby would refuse the present, lower epoch for ever.
"""

from __future__ import annotations

from typing import assert_never

from ..shared.effects import SendLink
from ..shared.epochs import Mode
from ..shared.errors import Reason, RemoteError
from ..shared.handed import Opening
from ..shared.limits import CHUNK_BYTES
from ..shared.messages import (
    LinkAck,
    LinkBeat,
    LinkEngage,
    LinkFetch,
    LinkHello,
    LinkPromise,
    LinkPromised,
    LinkReceipts,
    LinkTail,
    LinkWelcome,
    Refused,
)
from ..shared.operations import Receipt
from ..shared.roles import NodeState
from ..shared.wire import parse_records
from .acks import take_ack
from .events import FromStandby
from .handshake import Verdict, check_identity, judge
from .reign import Reign
from .replicate import Standby
from .succession import diverge, give_way

MS = 1_000_000


class Peering:
    """Handles what arrives on the link."""

    def __init__(self, reign: Reign) -> None:
        self._reign = reign
        self._asked_epoch = 0  # the number that the standby is asked to promise
        self._asked_ns = 0
        self._fetching = 0  # the session that was asked for our missing tail
        self.receipts: list[Receipt] = []  # of the standby, for the log

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
                    if take_ack(standby, message, reign.epoch):
                        reign.peer_acked_seq = max(reign.peer_acked_seq, standby.acked.seq)
                case LinkBeat():
                    standby.state = message.state
                case LinkPromised(_, epoch):
                    self._on_promised(standby, epoch, now_ns, wall_ns)
                case LinkTail(_, records):
                    self._on_tail(standby, records, now_ns)
                case LinkReceipts(_, receipts):
                    self.receipts += receipts
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

    # Hello ------------------------------------------------------------------------------------

    def _on_hello(self, event: FromStandby, hello: LinkHello, now_ns: int) -> None:
        reign = self._reign
        check_identity(hello, reign.cluster, reign.peer, reign.level.value)
        if reign.become is not None:
            raise RemoteError(Reason.NOT_PRIMARY, f"node {reign.node} has just given way")
        # A number that this node asked for is promised to it: only a higher one is somebody else's.
        asked = max(reign.log.history.number, reign.memory.promised_epoch)
        verdict = judge(
            hello, reign.log, reign.node, bool(reign.epoch), asked, event.own_hash, event.first_seq
        )
        match verdict:
            case Verdict.JOIN | Verdict.FETCH:
                self._let_in(event.sender, hello, verdict, now_ns)
            case Verdict.FENCE:
                newest = hello.epochs[-1].number if hello.epochs else 0
                why = (
                    f"node {hello.node} has promised epoch {max(newest, hello.promised_epoch)}, "
                    f"this node led epoch {reign.log.history.number}"
                )
                give_way(reign, max(newest, hello.promised_epoch), why, now_ns)
                raise RemoteError(Reason.WRONG_EPOCH, why)
            case Verdict.WIPED:
                why = (
                    f"the journal of node {reign.node} is empty and node {hello.node} holds "
                    f"{hello.last.seq} messages: an empty node cannot lead; once {hello.node} "
                    f"leads: interlock reinstate {reign.node} --reseed"
                )
                give_way(reign, hello.promised_epoch, why, now_ns)
                raise RemoteError(Reason.NOT_PRIMARY, why)
            case Verdict.TAIL:
                raise RemoteError(
                    Reason.UNREPLICATED_TAIL,
                    f"the log of node {hello.node} ends at seq {hello.last.seq} in an earlier "
                    f"epoch than {reign.log.history.number} and holds records that this log does "
                    f"not: interlock reinstate {hello.node}",
                )
            case Verdict.DIVERGE:
                why = (
                    f"the logs differ: node {reign.node} ends at seq {reign.log.last_seq} in epoch "
                    f"{reign.log.history.number}, node {hello.node} at seq {hello.last.seq}, and "
                    "neither is a prefix of the other"
                )
                diverge(reign, hello.epochs, hello.last.seq, why, now_ns)
                raise RemoteError(Reason.DIFFERENT_HISTORY, why)
            case _:
                assert_never(verdict)

    def _let_in(self, sender: bytes, hello: LinkHello, verdict: Verdict, now_ns: int) -> None:
        reign = self._reign
        if reign.holder.state is NodeState.DIVERGED:
            reign.divergence = None
            reign.enter(NodeState.RESUMING, f"node {reign.peer} was reinstated", now_ns)
        standby = reign.standby = Standby(sender, hello, now_ns)
        self._asked_epoch = 0
        reign.counters.count("hellos")
        if hello.last.seq < reign.peer_acked_seq:
            reign.note(
                f"ALARM: node {reign.peer} came back with seq {hello.last.seq}, after it had "
                f"acknowledged {reign.peer_acked_seq}: its disk lost records, or is an old copy"
            )
            reign.counters.count("standby-came-back-shorter")
        if reign.epoch and standby.promised_epoch <= reign.epoch:
            self._welcome(standby, now_ns)
        elif verdict is Verdict.FETCH:
            self._fetching = hello.session
            reign.link(standby, LinkFetch(hello.session, reign.log.position))
        else:
            self._ask_promise(standby, now_ns)

    def _welcome(self, standby: Standby, now_ns: int) -> None:
        """Opens the stream. The target is our newest record: not before the standby holds it does
        it hold all that was ever released (rule 2). In solo there is none: what is released next is
        released without it."""
        reign = self._reign
        standby.welcomed = True
        standby.caught_up_at = reign.log.last_seq
        gated = reign.mode is Mode.GATED
        reign.link(
            standby,
            LinkWelcome(
                standby.session,
                reign.node,
                reign.memory.incarnation,
                reign.epoch,
                standby.acked,
                reign.log.position if gated else None,
                reign.level.value,
            ),
        )
        if gated and reign.holder.state is not NodeState.DRAINING:
            reign.enter(NodeState.GATED, f"the standby {reign.peer} follows", now_ns)

    # Opening a gated epoch --------------------------------------------------------------------

    def on_time(self, now_ns: int) -> None:
        """In a solo epoch, asks for the gate once the standby has caught up; asks again for what
        was asked and not answered."""
        reign = self._reign
        standby = reign.standby
        if standby is None or not standby.welcomed or reign.mode is Mode.GATED or not reign.epoch:
            return
        caught_up = standby.acked.seq >= standby.caught_up_at and standby.has_all(reign.written_seq)
        overdue = now_ns - self._asked_ns >= reign.timing.link_timeout_ms * MS
        if caught_up and (not self._asked_epoch or overdue):
            self._ask_promise(standby, now_ns)

    def _ask_promise(self, standby: Standby, now_ns: int) -> None:
        """Rule 1: the peer promises the number before it is used, so a number names one leader."""
        reign = self._reign
        highest = max(reign.log.history.number, standby.promised_epoch, reign.memory.promised_epoch)
        self._asked_epoch = self._asked_epoch or highest + 1
        self._asked_ns = now_ns
        reign.save(promised_epoch=self._asked_epoch)
        reign.link(standby, LinkPromise(standby.session, self._asked_epoch))

    def _on_promised(self, standby: Standby, epoch: int, now_ns: int, wall_ns: int) -> None:
        reign = self._reign
        if epoch != self._asked_epoch:
            raise RemoteError(Reason.WRONG_EPOCH, f"a promise of epoch {epoch} was not asked for")
        if reign.room_bytes < CHUNK_BYTES:
            raise RemoteError(Reason.DISK_FULL, f"node {reign.node} has no disk space to lead")
        self._asked_epoch = 0
        engages = reign.epoch > 0
        reason = "first start" if reign.log.last_seq == 0 else "restart of the primary"
        closed = reign.log.closed
        operator = operation = ""
        if closed is not None and closed.handover and closed.successor == reign.node:
            reason, operator, operation = closed.reason, closed.operator, closed.operation
        if engages and reign.mode is Mode.SOLO:
            reason = f"the standby {reign.peer} has caught up: the gate engages"
        elif engages:
            reason = f"{reign.peer} had promised a number that was never opened"
        opening = Opening(epoch, Mode.GATED, operator, reason, operation, False)
        target = reign.open_epoch(opening, now_ns, wall_ns)
        reign.solo = None
        if standby.welcomed:
            reign.link(standby, LinkEngage(standby.session, epoch, target))
            reign.enter(NodeState.GATED, f"the standby {reign.peer} follows", now_ns)
        else:
            self._welcome(standby, now_ns)

    # Fetching our tail back -------------------------------------------------------------------

    def _on_tail(self, standby: Standby, records: bytes, now_ns: int) -> None:
        """Takes back what the standby holds of our earlier reign and we lost."""
        reign = self._reign
        if reign.epoch or self._fetching != standby.session:
            raise RemoteError(Reason.MALFORMED, "a tail that was not asked for")
        if not records:
            self._fetching = 0
            self._ask_promise(standby, now_ns)
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
                reign.append(taken, sum(map(len, taken)), reign.log.last_seq, durable=True)
        standby.sent = standby.acked = reign.log.position
        reign.note(f"fetched back up to seq {reign.log.last_seq} from {reign.peer}")
        reign.link(standby, LinkFetch(standby.session, reign.log.position))

    def _on_refused(self, reason: Reason, text: str, now_ns: int) -> None:
        reign = self._reign
        if reason is Reason.DIFFERENT_HISTORY:
            diverge(reign, [], 0, text, now_ns)
            raise RemoteError(reason, text)
        reign.lose_standby(f"the standby refused: {text}", now_ns)
