"""What a primary does at the operations desk: switchover, demote, solo, gate, pause, shutdown.

Decides the steps of each operation once its guards have passed. The way down is always the same:
take nothing new, wait until everything is released, write the epoch's closing record, wait until
the standby has acknowledged that too, and only then surrender. A crash or a lost link between any
two steps leaves one leader or none, never two, and says so:

- before the closing record is written, nothing has happened: the primary goes on;
- once it is written, this reign can only end. The standby may hold it or not. If it does and it was
  handed over, it takes the lead; if it does not, it is streamed to when it is back. A primary that
  is restarted in between resumes by asking its peer for a promise, which the one that took over
  does not give.
"""

from __future__ import annotations

from ..shared.commands import PeerYield, Yielded
from ..shared.desk import LAST_PATIENCE_NS, PATIENCE_NS
from ..shared.effects import Answer, MarkQuarantine, Quit
from ..shared.epochs import EpochClosed, Mode
from ..shared.errors import Reason, RemoteError
from ..shared.events import PeerAnswered
from ..shared.handed import Handed, Opening
from ..shared.keyaudit import keep
from ..shared.limits import CHUNK_BYTES
from ..shared.log import LogState
from ..shared.messages import PROTOCOL_VERSION, Refused
from ..shared.operations import Check, Operation, Receipt, Request, Result
from ..shared.post import Assessment, Order, PeerView
from ..shared.roles import NodeState
from ..shared.telemetry import Watermarks
from . import guards
from .peering import Peering
from .reign import Draining, Reign, Solo
from .succession import give_way

MS = 1_000_000


class Duties:
    """The `Post` of a primary."""

    def __init__(self, reign: Reign, peering: Peering, handed: Handed, now_ns: int) -> None:
        self._reign = reign
        self._peering = peering
        self._opening = handed.opening
        self._quits = False
        reign.desk.attach(self, now_ns)

    # The post ---------------------------------------------------------------------------------

    @property
    def log(self) -> LogState:
        return self._reign.log

    def assess(self, request: Request, peer: PeerView) -> Assessment:
        return guards.assess(self._reign, request, peer)

    def describe(self) -> str:
        reign = self._reign
        return (
            f"{reign.node} is {reign.holder.state.value} as primary in epoch "
            f"{reign.log.history.number}, promised {reign.memory.promised_epoch}"
        )

    def watermarks(self) -> Watermarks:
        reign = self._reign
        acked_seq = reign.standby.acked.seq if reign.standby else 0
        return Watermarks(
            reign.log.last_seq,
            reign.written_seq,
            reign.synced_seq,
            acked_seq,
            reign.gate.released_seq,
        )

    def begin(self, order: Order, peer: PeerView, now_ns: int, wall_ns: int) -> None:
        reign, request = self._reign, order.request
        match request.operation:
            case Operation.SWITCHOVER:
                self._drain(order, now_ns, handover=True)
            case Operation.DEMOTE if reign.holder.state is NodeState.GATED:
                self._drain(order, now_ns, handover=False)
            case Operation.DEMOTE:
                reign.enter(NodeState.ORPHANED, f"demoted by {order.operator}", now_ns)
                reign.leave(target=reign.log.position, doubt="")
                self._done("stopped leading; nobody leads", now_ns, wall_ns)
            case Operation.SOLO:
                self._ask_before_solo(order, peer, now_ns)
            case Operation.GATE:
                reign.solo = None
                reign.enter(NodeState.STALLED, f"the gate was closed by {order.operator}", now_ns)
                self._done("nothing more is released without the standby", now_ns, wall_ns)
            case Operation.PAUSE:
                self._done("the intake is paused", now_ns, wall_ns)
            case Operation.RESUME:
                self._done("the intake takes submissions", now_ns, wall_ns)
            case Operation.SHUTDOWN if reign.holder.state is NodeState.GATED:
                self._quits = True
                self._drain(order, now_ns, handover=False)
            case Operation.SHUTDOWN:
                self._done("ends without draining", now_ns, wall_ns)
                reign.desk.effects.append(Quit(f"shut down by {order.operator}"))
            case Operation.REINSTATE:
                order.step = "giving up the claim to lead"
                give_way(reign, reign.memory.promised_epoch, "diverged: to be reinstated", now_ns)
            case Operation.DISCARD | Operation.RESUBMIT:
                self._mark(request, now_ns, wall_ns)
            case _:
                raise RemoteError(Reason.GUARD, f"a primary does not {request.operation.value}")

    def yield_to(self, sender: bytes, request: PeerYield, now_ns: int) -> None:
        """The peer takes a number alone. One that leads surrenders only if it is told to."""
        reign = self._reign
        highest = max(reign.log.history.number, reign.memory.promised_epoch)
        if request.epoch <= highest:
            raise RemoteError(
                Reason.WRONG_EPOCH, f"node {reign.node} knows epoch {highest} already"
            )
        if request.surrender:
            why = f"gave way to epoch {request.epoch} of {reign.peer}: {request.why}"
            reign.enter(NodeState.ORPHANED, why, now_ns)
            reign.leave(promised_epoch=request.epoch, target=None, doubt=why)
            if reign.desk.order is not None:
                reign.desk.order.step = why
        elif reign.epoch:
            raise RemoteError(
                Reason.NOT_PRIMARY, f"node {reign.node} leads epoch {reign.epoch}: demote it first"
            )
        else:
            reign.save(promised_epoch=request.epoch)
        answer = Yielded(request.epoch, reign.log.position)
        reign.desk.effects.append(Answer(sender, answer))

    def keep_receipt(self, receipt: Receipt, now_ns: int, wall_ns: int) -> None:
        """Into the log at once if this node leads and may write; otherwise kept for later."""
        reign = self._reign
        if self._may_log():
            if receipt.id not in reign.log.operations:
                record = reign.sequencer.operation(receipt, now_ns, wall_ns)
                reign.append_control(record, now_ns)
        else:
            reign.save(receipts=keep(reign.memory.receipts, receipt))

    def _may_log(self) -> bool:
        reign = self._reign
        leads = reign.epoch and reign.draining is None and reign.become is None
        return bool(leads) and reign.log.closed is None and reign.room_bytes >= CHUNK_BYTES

    def _done(self, text: str, now_ns: int, wall_ns: int) -> None:
        self._reign.desk.finish(Result.DONE, text, now_ns, wall_ns)

    def _mark(self, request: Request, now_ns: int, wall_ns: int) -> None:
        state = "discarded" if request.operation is Operation.DISCARD else "resubmitted"
        self._reign.effects.append(MarkQuarantine(request.entry, state))
        self._done(f"{request.entry} is {state}; {request.detail}".rstrip("; "), now_ns, wall_ns)

    # The way down -----------------------------------------------------------------------------

    def _drain(self, order: Order, now_ns: int, *, handover: bool) -> None:
        reign = self._reign
        closing = EpochClosed(
            reign.epoch, reign.node, reign.peer, handover, order.operator, order.reason, order.id
        )
        reign.draining = Draining(closing, now_ns)
        order.pause_from_ns = now_ns if handover else 0
        order.step = "draining"
        order.drains = True
        what = order.request.operation.value
        reign.enter(NodeState.DRAINING, f"{what} by {order.operator}: {order.reason}", now_ns)

    def step(self, now_ns: int, wall_ns: int) -> None:
        """Once a turn, after its records are written: what is due of an operation, or of what an
        operator decided earlier."""
        reign = self._reign
        if self._opening is not None:
            self._open_promoted(self._opening, now_ns, wall_ns)
        if reign.solo and reign.solo.until_ns and now_ns >= reign.solo.until_ns:
            reign.solo = None
            reign.enter(NodeState.STALLED, "the time that was given to solo is over", now_ns)
        if reign.draining is not None:
            self._step_drain(reign.draining, now_ns, wall_ns)
        if reign.desk.order is not None:
            self._end_overtaken(reign.desk.order, now_ns, wall_ns)
        if (self._peering.receipts or reign.memory.receipts) and self._may_log():
            kept, theirs = reign.memory.receipts, self._peering.receipts
            self._peering.receipts = []
            for receipt in (*kept, *theirs):
                self.keep_receipt(receipt, now_ns, wall_ns)
            reign.save(receipts=[])

    def _end_overtaken(self, order: Order, now_ns: int, wall_ns: int) -> None:
        """Ends an operation that something else has overtaken: the epoch that was to be closed was
        opened anew, or the node came to lead again before what it did as a standby had ended."""
        reign = self._reign
        if reign.become is not None or self._opening is not None:
            return
        if order.post is not self:
            text = f"{reign.node} is {reign.holder.state.value} by now: {reign.holder.why}"
            reign.desk.finish(Result.UNKNOWN, text, now_ns, wall_ns)
        elif order.drains and reign.draining is None:
            text = f"epoch {reign.log.history.number} was opened meanwhile; the primary goes on"
            reign.desk.finish(Result.REFUSED, text, now_ns, wall_ns)

    def _step_drain(self, draining: Draining, now_ns: int, wall_ns: int) -> None:
        reign = self._reign
        if draining.closed is not None:
            overdue = now_ns - draining.since_ns > reign.timing.drain_timeout_ms * MS
            if overdue and reign.desk.order is not None:
                reign.desk.finish(
                    Result.UNKNOWN,
                    f"the closing record at seq {draining.closed.seq} is not acknowledged; whether "
                    f"{reign.peer} holds it is not known; the pair settles by itself once the "
                    "nodes meet again: interlock status",
                    now_ns,
                    wall_ns,
                )
            return
        if reign.holder.state is not NodeState.DRAINING:
            self._abort_drain(reign.holder.why, now_ns, wall_ns)
        elif now_ns - draining.since_ns > reign.timing.drain_timeout_ms * MS:
            standby = reign.standby
            state = NodeState.GATED if standby and standby.welcomed else NodeState.STALLED
            why = f"{reign.peer} did not acknowledge all within {reign.timing.drain_timeout_ms} ms"
            reign.enter(state, why, now_ns)
            self._abort_drain(why, now_ns, wall_ns)
        elif reign.gate.released_seq == reign.log.last_seq and reign.room_bytes >= CHUNK_BYTES:
            record = reign.sequencer.close_epoch(draining.closing, now_ns, wall_ns)
            draining.closed = record.last
            reign.append_control(record, now_ns)
            reign.note(f"closed epoch {draining.closing.number} at seq {record.last.seq}")
            if reign.desk.order is not None:
                reign.desk.order.step = f"waiting for {reign.peer} to acknowledge the closing"

    def _abort_drain(self, why: str, now_ns: int, wall_ns: int) -> None:
        reign = self._reign
        reign.draining = None
        self._quits = False
        if reign.desk.order is not None:
            text = f"nothing was changed, the primary goes on: {why}"
            reign.desk.finish(Result.REFUSED, text, now_ns, wall_ns)

    def after_release(self, draining: Draining, now_ns: int, wall_ns: int) -> None:
        """Once a turn, after the gate: surrenders when the closing record is released, that is when
        the standby holds the whole epoch."""
        reign = self._reign
        if draining.closed is None or reign.become is not None:
            return
        if reign.gate.released_seq < draining.closed.seq:
            return
        if self._quits:
            reign.draining = None
            if reign.desk.order is not None:
                self._done(f"closed epoch {draining.closing.number}, ends", now_ns, wall_ns)
            reign.desk.effects.append(Quit("shut down by an operator"))
            reign.epoch = 0
            return
        order = reign.desk.order
        why = f"{'handed over to' if draining.closing.handover else 'closed its epoch for'} "
        reign.enter(NodeState.ORPHANED, why + reign.peer, now_ns)
        reign.leave(target=draining.closed, doubt="")
        if order is not None:
            at = f"epoch {draining.closing.number} is closed at seq {draining.closed.seq}"
            order.checks = [
                Check("fenced", True, f"{reign.node} stopped releasing: {at}"),
                Check(
                    "released is held by the successor",
                    reign.gate.released_seq == draining.closed.seq,
                    f"{reign.peer} acknowledged seq {draining.closed.seq}, which is the last",
                ),
            ]
            order.step = f"waiting for {reign.peer} to lead"
            if not draining.closing.handover:
                self._done(f"{at}; nobody leads", now_ns, wall_ns)

    # Leading alone ----------------------------------------------------------------------------

    def _ask_before_solo(self, order: Order, peer: PeerView, now_ns: int) -> None:
        """Rule 4: a standby that answers is outdated first, durably, so that nobody can promote it
        over what is released without it."""
        reign, status = self._reign, peer.status
        highest = max(reign.log.history.number, reign.memory.promised_epoch)
        if status is not None:
            highest = max(highest, status.promised_epoch, status.epoch)
        number = highest + 1
        order.step = f"asking {reign.peer} to give way to epoch {number}"
        reign.save(promised_epoch=number)

        def go_on(answer: PeerAnswered | None, now_ns: int, wall_ns: int) -> None:
            if reign.desk.order is order:
                self._go_solo(order, number, answer, now_ns, wall_ns)

        why = f"solo of {reign.node} by {order.operator}"
        question = PeerYield(PROTOCOL_VERSION, reign.cluster, reign.node, number, False, why)
        patience_ns = PATIENCE_NS if peer.answers else LAST_PATIENCE_NS
        reign.desk.talk.ask(question, patience_ns, go_on, now_ns)

    def _go_solo(
        self, order: Order, number: int, answer: PeerAnswered | None, now_ns: int, wall_ns: int
    ) -> None:
        reign, finish = self._reign, self._reign.desk.finish
        fits = guards.FITTING[Operation.SOLO][0]
        if reign.holder.state not in fits or reign.become or number <= reign.log.history.number:
            text = f"{reign.node} is {reign.holder.state.value} by now: {reign.holder.why}"
            finish(Result.REFUSED, text, now_ns, wall_ns)
        elif answer is not None and isinstance(answer.answer, Refused):
            text = f"{reign.peer} does not give way: {answer.answer.text}"
            finish(Result.REFUSED, text, now_ns, wall_ns)
        elif answer is None and not order.attestation:
            text = f"{reign.peer} answered at the preflight and not now; run the preflight again"
            finish(Result.REFUSED, text, now_ns, wall_ns)
        elif isinstance(answer and answer.answer, Yielded) and self._is_behind(answer):
            text = f"{reign.peer} holds more than {reign.node}: mend the link, it is then fetched"
            finish(Result.REFUSED, text, now_ns, wall_ns)
        elif reign.room_bytes < CHUNK_BYTES:
            text = f"node {reign.node} has no disk space to lead"
            finish(Result.REFUSED, text, now_ns, wall_ns)
        else:
            loss = order.request.accept_loss and (bool(reign.memory.doubt) or answer is None)
            until_ns = now_ns + order.request.for_ms * MS if order.request.for_ms else 0
            reign.standby = None
            self._open_alone(
                Opening(number, Mode.SOLO, order.operator, order.reason, order.id, loss),
                until_ns,
                now_ns,
                wall_ns,
            )

    def _is_behind(self, answered: PeerAnswered | None) -> bool:
        answer = answered.answer if answered else None
        return isinstance(answer, Yielded) and answer.last.seq > self._reign.log.last_seq

    def _open_promoted(self, opening: Opening, now_ns: int, wall_ns: int) -> None:
        """What the promotion of this node has decided: its epoch, opened alone."""
        if self._reign.room_bytes < CHUNK_BYTES:
            return  # the journal prepares its next segment; it has had room for the guard
        self._opening = None
        self._open_alone(opening, 0, now_ns, wall_ns)

    def _open_alone(self, opening: Opening, until_ns: int, now_ns: int, wall_ns: int) -> None:
        reign = self._reign
        before = reign.log.position
        at = reign.open_epoch(opening, now_ns, wall_ns)
        by = f"{opening.operator}: {opening.reason}"
        if opening.mode is Mode.SOLO:
            reign.solo = Solo(now_ns, at.seq, until_ns)
            reign.enter(NodeState.SOLO, f"UNPROTECTED by {by}", now_ns)
        else:
            reign.enter(
                NodeState.STALLED, f"waiting for the standby {reign.peer} to follow", now_ns
            )
        order = reign.desk.order
        if order is not None and order.id == opening.operation:
            order.checks = [
                *order.checks,
                Check("no gap", at.seq == before.seq + 1, f"opened at seq {at.seq}"),
                Check(
                    "superset of the released",
                    before.seq >= reign.gate.released_seq or opening.accepted_loss,
                    f"holds seq {before.seq}; known as released: {reign.gate.released_seq}",
                ),
            ]
            mode = "solo: UNPROTECTED" if opening.mode is Mode.SOLO else "gated"
            self._done(f"{reign.node} leads epoch {opening.number} ({mode})", now_ns, wall_ns)
