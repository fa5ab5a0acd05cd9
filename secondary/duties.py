"""What a standby does at the operations desk: promote, reinstate, give way, shutdown.

Decides the steps once the guards have passed. A promotion asks first and takes the lead last: the
peer that answers surrenders durably; what it holds and we lack is fetched; and only then this node
goes on as a primary that opens its own epoch. That opening, synced, is the one moment at which the
promotion happens: killed before it, this node is the standby it was; after it, it is the primary
(`shared.boot`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..shared.commands import PeerFetch, PeerTail, PeerYield, Yielded
from ..shared.desk import LAST_PATIENCE_NS, PATIENCE_NS
from ..shared.effects import Answer, Become, MarkQuarantine, Quit
from ..shared.epochs import Mode
from ..shared.errors import Reason, RemoteError
from ..shared.events import PeerAnswered
from ..shared.handed import Handed, Opening
from ..shared.keyaudit import keep
from ..shared.limits import CHUNK_BYTES
from ..shared.log import LogState
from ..shared.messages import PROTOCOL_VERSION, Refused
from ..shared.operations import Check, Guard, Operation, Receipt, Request, Result
from ..shared.post import Assessment, Order, PeerView
from ..shared.rejoin import assess_entry, assess_rejoin
from ..shared.roles import NodeState, Role
from ..shared.telemetry import Watermarks
from ..shared.wire import Position, parse_records
from .promotion import Candidate, assess_promotion

if TYPE_CHECKING:
    from .core import SecondaryCore

MS = 1_000_000
S = NodeState


class Duties:
    """The `Post` of a secondary."""

    def __init__(self, core: SecondaryCore, handed: Handed, now_ns: int) -> None:
        self._core = core
        self._desk = handed.desk
        self._since_ns = now_ns
        self._entry = handed.entry
        self._asked_again = False
        self.opening: Opening | None = None  # what the primary that follows this core is to open
        self._desk.attach(self, now_ns)
        if handed.entry:
            core.note(f"the tail was cut and is kept in quarantine as {handed.entry}")

    # The post ---------------------------------------------------------------------------------

    @property
    def log(self) -> LogState:
        return self._core.log

    def assess(self, request: Request, peer: PeerView) -> Assessment:
        core = self._core
        state = core.holder.state
        match request.operation:
            case Operation.PROMOTE:
                one = Candidate(
                    core.node, core.memory, core.log, state, core.holder.why, request, peer
                )
                return assess_promotion(one, core.room_bytes, CHUNK_BYTES)
            case Operation.REINSTATE:
                found = assess_rejoin(core.log, core.released_seq, request, peer)
                fits = state in (S.FENCED, S.DIVERGED) or request.reseed
                found.guards.insert(0, self._fits(fits, "FENCED or DIVERGED"))
                return found
            case Operation.SHUTDOWN:
                return Assessment(
                    [self._fits(True, "any")],
                    consequences=[f"ends {core.node}; the primary then releases nothing"],
                )
            case Operation.DISCARD | Operation.RESUBMIT:
                return assess_entry(request, self._desk.entries)
            case _:
                guard = Guard(
                    "role is primary",
                    False,
                    f"{core.node} is the secondary ({state.value})",
                    "a primary",
                    f"ask {core.peer}, or first: interlock promote {core.node}",
                )
                return Assessment([guard])

    def _fits(self, fits: bool, needed: str) -> Guard:
        core = self._core
        observed = f"{core.node} is {core.holder.state.value}: {core.holder.why}"
        return Guard("state fits", fits, observed, needed, "" if fits else "interlock status")

    def describe(self) -> str:
        core = self._core
        memory = core.memory
        target = memory.target.seq if memory.target else "none"
        return (
            f"{core.node} is {core.holder.state.value} as secondary in epoch "
            f"{core.log.history.number}, promised {memory.promised_epoch}, target {target}"
        )

    def watermarks(self) -> Watermarks:
        core = self._core
        return Watermarks(
            core.log.last_seq,
            core.written_seq,
            core.synced_seq,
            core.acked_seq,
            core.released_seq,
        )

    def begin(self, order: Order, peer: PeerView, now_ns: int, wall_ns: int) -> None:
        core, request = self._core, order.request
        match request.operation:
            case Operation.PROMOTE:
                self._ask_to_yield(order, peer, now_ns)
            case Operation.REINSTATE:
                self._reinstate(order, peer)
            case Operation.SHUTDOWN:
                self._desk.finish(Result.DONE, "ends", now_ns, wall_ns)
                self._desk.effects.append(Quit(f"shut down by {order.operator}"))
            case Operation.DISCARD | Operation.RESUBMIT:
                discards = request.operation is Operation.DISCARD
                state = "discarded" if discards else "resubmitted"
                core.effects.append(MarkQuarantine(request.entry, state))
                text = f"{request.entry} is {state}; {request.detail}".rstrip("; ")
                self._desk.finish(Result.DONE, text, now_ns, wall_ns)
            case _:
                raise RemoteError(Reason.GUARD, f"a standby does not {request.operation.value}")

    def yield_to(self, sender: bytes, request: PeerYield, now_ns: int) -> None:
        """Outdated: promises the number, and is no candidate any more until a gated primary has
        told it a new target. Acks of a lower epoch end with the session."""
        core = self._core
        highest = max(core.log.history.number, core.memory.promised_epoch)
        if request.epoch <= highest:
            raise RemoteError(Reason.WRONG_EPOCH, f"node {core.node} knows epoch {highest} already")
        why = f"gave way to epoch {request.epoch} of {core.peer}: {request.why}"
        if core.link_up:
            core.hang_up(why, now_ns)
        core.save(promised_epoch=request.epoch, target=None, doubt=why)
        if self._desk.order is not None and self.opening is None:
            self._desk.order.step = why
        self._desk.effects.append(Answer(sender, Yielded(request.epoch, core.log.position)))

    def keep_receipt(self, receipt: Receipt, now_ns: int, wall_ns: int) -> None:
        """Kept until it is seen in the log; the leader is told of it."""
        core = self._core
        core.save(receipts=keep(core.memory.receipts, receipt))
        core.send_receipts()

    # Promotion --------------------------------------------------------------------------------

    def _ask_to_yield(self, order: Order, peer: PeerView, now_ns: int) -> None:
        core, status = self._core, peer.status
        highest = max(core.log.history.number, core.memory.promised_epoch)
        if status is not None:
            highest = max(highest, status.epoch, status.promised_epoch)
        number = highest + 1
        order.pause_from_ns = order.begun_ns
        order.step = f"asking {core.peer} to give way to epoch {number}"

        def go_on(answer: PeerAnswered | None, now_ns: int, wall_ns: int) -> None:
            if self._desk.order is order:
                self._on_yielded(order, number, peer, answer, now_ns, wall_ns)

        why = f"promotion of {core.node} by {order.operator}"
        question = PeerYield(PROTOCOL_VERSION, core.cluster, core.node, number, True, why)
        patience_ns = PATIENCE_NS if peer.answers else LAST_PATIENCE_NS
        self._desk.talk.ask(question, patience_ns, go_on, now_ns)

    def _on_yielded(
        self,
        order: Order,
        number: int,
        peer: PeerView,
        answered: PeerAnswered | None,
        now_ns: int,
        wall_ns: int,
    ) -> None:
        core = self._core
        answer = answered.answer if answered else None
        if isinstance(answer, Refused):
            text = f"{core.peer} does not give way: {answer.text}"
            self._desk.finish(Result.REFUSED, text, now_ns, wall_ns)
            return
        if number <= max(core.log.history.number, core.memory.promised_epoch):
            text = f"{core.node} has promised epoch {core.memory.promised_epoch} meanwhile"
            self._desk.finish(Result.REFUSED, text, now_ns, wall_ns)
            return
        if core.link_up:
            text = f"{core.node} follows {core.peer} again: it is {core.holder.state.value}"
            self._desk.finish(Result.REFUSED, text, now_ns, wall_ns)
            return
        if isinstance(answer, Yielded):
            order.checks = [Check("fenced", True, f"{core.peer} gave way to epoch {number}")]
            one = self._candidate(order, peer)
            if one.can_fetch and core.log.last_seq < answer.last.seq:
                # Even if this node is promotable: the peer may have been in solo, and what it has
                # not released keeps its seq, instead of a place in quarantine.
                self._fetch(order, number, answer.last, now_ns)
                return
            if self._has_shrunk(answer.last, order, peer):
                text = (
                    f"{core.peer} gave way to epoch {number}, but what it held before cannot be "
                    f"fetched any more: its log ends at seq {answer.last.seq} now; nobody leads; "
                    "preflight again"
                )
                self._desk.finish(Result.UNKNOWN, text, now_ns, wall_ns)
                return
        elif not order.attestation:
            text = (
                f"{core.peer} answered before and did not answer now whether it gave way; "
                f"{core.node} did not take the lead: interlock status"
            )
            self._desk.finish(Result.UNKNOWN, text, now_ns, wall_ns)
            return
        else:
            text = f"{core.peer} is silent; attested: {order.attestation}"
            order.checks = [Check("fenced", True, text)]
        certain = isinstance(answer, Yielded) and self._candidate(order, peer).is_certain
        loss = order.request.accept_loss and not certain
        self._take_the_lead(order, number, accepted_loss=loss)

    def _has_shrunk(self, end: Position, order: Order, peer: PeerView) -> bool:
        """Whether this promotion counted on records of the peer that the peer has lost since: it
        was started again, with damage, between its two answers (`shared.failed`)."""
        if peer.compared is None or end.seq >= peer.compared.last.seq:
            return False
        return not (order.request.accept_loss or self._candidate(order, peer).is_certain)

    def _candidate(self, order: Order, peer: PeerView) -> Candidate:
        core = self._core
        state, why = core.holder.state, core.holder.why
        return Candidate(core.node, core.memory, core.log, state, why, order.request, peer)

    def _fetch(self, order: Order, number: int, end: Position, now_ns: int) -> None:
        """Asks for what the peer holds beyond our log, chunk by chunk."""
        core = self._core
        order.step = f"fetching from {core.peer}: {core.log.last_seq} of {end.seq}"

        def go_on(answered: PeerAnswered | None, now_ns: int, wall_ns: int) -> None:
            if self._desk.order is not order:
                return
            answer = answered.answer if answered else None
            fetched = isinstance(answer, PeerTail) and answer.after == core.log.position
            if fetched and isinstance(answer, PeerTail) and answer.records:
                try:
                    self._take_records(answer.records)
                except RemoteError as error:
                    self._desk.finish(Result.REFUSED, error.text, now_ns, wall_ns)
                    return
                if core.log.last_seq < end.seq:
                    self._fetch(order, number, end, now_ns)
                    return
            if core.log.position == end:
                self._take_the_lead(order, number)
                return
            text = (
                f"{core.peer} gave way to epoch {number}, but its log could not be fetched beyond "
                f"seq {core.log.last_seq} of {end.seq}; nobody leads; preflight again"
            )
            self._desk.finish(Result.UNKNOWN, text, now_ns, wall_ns)

        position = core.log.position
        question = PeerFetch(PROTOCOL_VERSION, core.cluster, core.node, position)
        self._desk.talk.ask(question, PATIENCE_NS, go_on, now_ns)

    def _take_records(self, records: bytes) -> None:
        """They are written at the end of the turn, and synced with the opening that follows."""
        core = self._core
        if core.turn_bytes + len(records) > core.room_bytes:
            raise RemoteError(Reason.DISK_FULL, f"node {core.node} has no disk space for the tail")
        for record in parse_records(records):
            core.log.apply(record)
            core.turn.append(record.raw)
            core.turn_bytes += len(record.raw)

    def _take_the_lead(self, order: Order, number: int, *, accepted_loss: bool = False) -> None:
        core, request = self._core, order.request
        mode = Mode.SOLO if request.solo else Mode.GATED
        self.opening = Opening(number, mode, order.operator, order.reason, order.id, accepted_loss)
        order.step = f"opening epoch {number}"
        core.become = Become(Role.PRIMARY)

    # Reinstating ------------------------------------------------------------------------------

    def _reinstate(self, order: Order, peer: PeerView) -> None:
        core = self._core
        compared = peer.compared
        assert compared is not None  # a guard
        order.step = "cutting and quarantining the tail"
        reseed = order.request.reseed
        why = f"reinstated by {order.operator}: {order.reason}"
        # Killed half-way, its log may be a shorter one that looks whole: it is no candidate, and
        # follows nobody, before the cut is done.
        text = "its journal was being cut: reinstate it again"
        core.save(fenced=core.memory.fenced or text, target=None, doubt=text)
        core.become = Become(Role.SECONDARY, None if reseed else compared.common, reseed, why)

    def _reinstate_now(self, answered: PeerAnswered | None, now_ns: int, wall_ns: int) -> None:
        order, peer = self._desk.order, self._desk.view(answered)
        if order is None or order.request.operation is not Operation.REINSTATE:
            return
        failing = [guard for guard in self.assess(order.request, peer).guards if not guard.passed]
        if failing:
            text = f"gave up its claim to lead; then {failing[0].name}: {failing[0].observed}"
            self._desk.finish(Result.REFUSED, text, now_ns, wall_ns)
        else:
            self._reinstate(order, peer)

    def resume_order(self, now_ns: int, wall_ns: int) -> None:
        """Once a turn: whether an operation that began before this core has come to its end."""
        order = self._desk.order
        if order is None or self._core.become is not None or order.post is self:
            return
        match order.request.operation:
            case Operation.SWITCHOVER:
                self._end_switchover(order, now_ns, wall_ns)
            case Operation.REINSTATE:
                self._end_reinstate(order, now_ns, wall_ns)
            case _:
                # A solo is one record, which was not written; a closing may have been.
                never = order.request.operation is Operation.SOLO
                result = Result.REFUSED if never else Result.UNKNOWN
                text = f"{self._core.node} gave up its role meanwhile: {self._core.holder.why}"
                self._desk.finish(result, text, now_ns, wall_ns)

    def _end_switchover(self, order: Order, now_ns: int, wall_ns: int) -> None:
        core = self._core
        newest = core.log.history.last
        if core.holder.state is S.IN_SYNC and newest is not None and newest.leader == core.peer:
            if core.released_seq < newest.first_seq:
                return  # not released yet: the pause goes on
            order.checks = [
                *order.checks,
                Check("one leader", True, f"{core.peer} leads epoch {newest.number}"),
                Check("no gap", True, f"epoch {newest.number} opens at seq {newest.first_seq}"),
            ]
            text = f"{core.peer} leads epoch {newest.number}, {core.node} is its standby, in sync"
            self._desk.finish(Result.DONE, text, now_ns, wall_ns)
        elif now_ns - self._since_ns > core.timing.drain_timeout_ms * MS:
            text = (
                f"{core.node} surrendered; whether {core.peer} leads is not known: "
                f"{core.holder.why}"
            )
            self._desk.finish(Result.UNKNOWN, text, now_ns, wall_ns)

    def _end_reinstate(self, order: Order, now_ns: int, wall_ns: int) -> None:
        core = self._core
        if core.memory.fenced:  # the diverged primary that it was has only given up its claim
            if not self._asked_again:
                self._asked_again = True
                self._desk.talk.ask(
                    self._desk.compare_question(), PATIENCE_NS, self._reinstate_now, now_ns
                )
            return
        target = core.memory.target
        end = target.seq if target else 0
        # A leader in solo names no target; its gate engages by itself when this node has caught up.
        order.step = f"catching up: seq {core.log.last_seq}{f' of {end}' if end else ''}"
        if core.link_up and core.holder.state is S.IN_SYNC:
            cut = f"; the tail is in quarantine as {self._entry}" if self._entry else ""
            order.checks = [Check("follows", True, f"{core.node} follows {core.peer}")]
            text = f"{core.node} follows {core.peer} and has caught up{cut}"
            self._desk.finish(Result.DONE, text, now_ns, wall_ns)
        elif core.holder.state in (S.FENCED, S.DIVERGED):
            self._desk.finish(Result.REFUSED, core.holder.why, now_ns, wall_ns)
        elif not core.link_up and now_ns - self._since_ns > 10 * core.timing.link_timeout_ms * MS:
            text = f"the tail is cut, but {core.peer} does not let it follow: {core.holder.why}"
            self._desk.finish(Result.UNKNOWN, text, now_ns, wall_ns)
