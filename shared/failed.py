"""A node whose journal cannot be opened, without I/O: it says so, and can be re-seeded from afar.

Decides what such a node still does: it tells its status, gives way to its peer, ends when it is
told to, and, on an operator's order, gives up its journal and begins again as an empty standby.
Nothing else: it leads nothing, follows nobody, serves no record, and compares no log, for it cannot
tell what is in its own.

Why it may promise without reading its log: a promise binds the future. `promised_epoch` of the
memory is at least every number that this node has used, as the memory is saved before anything is
released; so a number above it is above all that this node did. What it cannot say is how far its
log goes, or whether it was in solo. So it refuses to compare, the peer counts it as silent, and a
promotion needs the operator's attestation as for a node that is gone.

Stories behind the rules:
- A is damaged and FAILED, B is to be promoted. If A refused to give way, B could not be promoted
  before somebody has stopped A, which releases nothing. If A gave way in words only, and was
  repaired and started again, it would resume as the primary that it remembers to be. So it gives
  way on the disk: a secondary, without a target, bound to the new number.
- A answers B's comparison, whole, holding what B lacks; it dies, comes back FAILED, and gives way.
  "Its log ends at seq 0" must not be taken for "there is nothing to fetch": the asker refuses to
  lead over what it saw before (`secondary.duties`).
- B is damaged, and A has lost its disk: empty, it takes itself for the primary. To re-seed B from A
  would lose the log; so the leader must hold as much as B has been told, or loss is accepted.
- B was promoted and has released alone; it is damaged, and A, the old primary, still says that it
  leads, in a lower epoch. The same.
"""

from __future__ import annotations

from typing import Any, assert_never

import msgspec

from .commands import PeerYield, Yielded
from .config import Config
from .desk import Desk, under_way
from .effects import Answer, Become, Effect, Quit, SaveMemory
from .errors import Reason, RemoteError
from .events import FromControl, KeysChanged, PeerAnswered
from .keyaudit import keep
from .log import LogState
from .operations import Guard, Operation, Receipt, Request, Result, Risk
from .post import Assessment, Order, PeerView
from .roles import NodeState, Role, StateHolder
from .state import NodeMemory
from .telemetry import LinkStatus, NodeStatus, PendingStatus, ProcessStatus, Watermarks
from .wire import GENESIS

S = NodeState
LEADS = frozenset(
    state.value for state in (S.RESUMING, S.GATED, S.STALLED, S.SOLO, S.DRAINING)
)  # of a primary that may take a standby on, now or soon


class FailedCore:
    """The `Post` of a node in state FAILED, and all that there is of its protocol."""

    def __init__(
        self,
        config: Config,
        node: str,
        memory: NodeMemory,
        why: str,
        reached_seq: int,
        desk: Desk,
        now_ns: int,
    ) -> None:
        """`why`: what is damaged, for people. `reached_seq`: this node's log went at least so far,
        by all that can still be told."""
        self.node = node
        self.peer = config.peer_of(node)
        self.memory = memory
        self.desk = desk
        self.holder = StateHolder(now_ns)
        self.holder.enter(S.FAILED, why, now_ns)
        self.become: Become | None = None  # the last effect of this core
        self._config = config
        self._reached_seq = max(reached_seq, memory.target.seq if memory.target else 0)
        self._log = LogState()
        self._effects: list[Effect] = []
        desk.attach(self, now_ns)

    # Events -----------------------------------------------------------------------------------

    def handle(
        self, event: FromControl | PeerAnswered | KeysChanged, now_ns: int, wall_ns: int
    ) -> None:
        """Takes one event in. What follows from it is in the effects of `end_turn`."""
        match event:
            case FromControl():
                self.desk.on_control(event, now_ns, wall_ns)
            case PeerAnswered():
                self.desk.talk.on_answered(event, now_ns, wall_ns)
            case KeysChanged():
                self.desk.on_keys_changed(event, now_ns, wall_ns)
                self._save(keys=event.digest)
            case _:
                assert_never(event)

    def end_turn(self, now_ns: int, wall_ns: int) -> list[Effect]:
        """The effects since the last call, to be performed in order."""
        self.desk.talk.expire(now_ns, wall_ns)
        effects, self._effects = self._effects, []
        effects += self.desk.take_effects()
        if self.become is not None:
            effects.append(self.become)
        return effects

    def on_not_reseeded(self, why: str, now_ns: int, wall_ns: int) -> None:
        """The journal could not be set aside, or no new one be made: failed as before, or worse."""
        self.become = None
        self.holder.enter(S.FAILED, why, now_ns)
        if self.desk.order is not None:
            text = f"{self.node} stays FAILED: {why}; mend that, and reinstate it again"
            self.desk.finish(Result.UNKNOWN, text, now_ns, wall_ns)

    def refusal(self) -> RemoteError:
        """Why this node answers no question about its log."""
        return RemoteError(Reason.GUARD, f"node {self.node} is FAILED: {self.holder.why}")

    @property
    def _remedy(self) -> str:
        return (
            f"interlock reinstate {self.node} --reseed; or stop it, and with the node stopped: "
            f"interlock log repair {self.node}"
        )

    # The post ---------------------------------------------------------------------------------

    @property
    def log(self) -> LogState:
        """Nothing: what is in the journal cannot be told."""
        return self._log

    def assess(self, request: Request, peer: PeerView) -> Assessment:
        match request.operation:
            case Operation.REINSTATE:
                return self._assess_reseed(request, peer)
            case Operation.SHUTDOWN:
                guard = Guard("state fits", True, self._observed(), "any")
                return Assessment([guard], consequences=[f"ends {self.node}; it serves nothing"])
            case _:
                return Assessment([self._can_go_on(False)])

    def _observed(self) -> str:
        return f"{self.node} is FAILED: {self.holder.why}"

    def _can_go_on(self, passed: bool) -> Guard:
        needed = "a journal that can be opened, or one that is given up"
        remedy = "" if passed else self._remedy
        return Guard("the node can go on", passed, self._observed(), needed, remedy)

    def _assess_reseed(self, request: Request, peer: PeerView) -> Assessment:
        compared = peer.compared
        leads = (
            compared is not None
            and compared.status.role == Role.PRIMARY.value
            and compared.status.state in LEADS
        )
        found = Assessment(
            [
                self._can_go_on(request.reseed),
                Guard(
                    "the other node leads",
                    leads,
                    str(peer),
                    f"{peer.name} is the primary, and can take a standby on",
                    "" if leads else f"start {peer.name}, or first: interlock promote {peer.name}",
                ),
            ]
        )
        if compared is None or not leads:
            return found
        loss = self._why_loss(peer)
        accepted = not loss or request.accept_loss
        found.guards.append(
            Guard(
                "the leader holds all that was released",
                accepted,
                loss
                or f"{peer.name} holds seq {compared.last.seq} in epoch {compared.status.epoch}",
                "a log that lacks nothing that this node may have released, or seen released",
                "" if accepted else "repair instead: interlock log repair; or --accept-loss",
            )
        )
        missing = self._reached_seq - compared.last.seq
        if missing > 0:
            found.risks = [Risk("lost", compared.last.seq + 1, self._reached_seq, missing)]
        streams = f"streams {compared.last.seq} messages from {peer.name}"
        found.consequences = [
            "sets the whole journal aside, unread; all its files stay in quarantine",
            f"{self.node} begins again as an empty standby and {streams}",
        ]
        return found

    def _why_loss(self, peer: PeerView) -> str:
        """Why the leader may lack something that was released; empty if nothing speaks for it."""
        compared, promised = peer.compared, self.memory.promised_epoch
        assert compared is not None
        status = compared.status
        if compared.last.seq < self._reached_seq:
            return (
                f"{peer.name} ends at seq {compared.last.seq}, and this node's log went to seq "
                f"{self._reached_seq} at least"
            )
        if self.memory.role is Role.PRIMARY and status.epoch < promised:
            return f"{peer.name} knows epoch {status.epoch}, this node has used or asked {promised}"
        if status.state == S.RESUMING.value and status.doubt:
            return f"{peer.name} may have lost records itself: {status.doubt}"
        for epoch in compared.epochs:
            if epoch.accepted_loss and epoch.number >= promised:
                return f"epoch {epoch.number} of {epoch.leader} was opened accepting loss"
        return ""

    def describe(self) -> str:
        memory = self.memory
        return f"{self.node} is FAILED as {memory.role.value}, promised {memory.promised_epoch}"

    def watermarks(self) -> Watermarks:
        return Watermarks()

    def begin(self, order: Order, peer: PeerView, now_ns: int, wall_ns: int) -> None:
        match order.request.operation:
            case Operation.REINSTATE:
                order.step = "setting the journal aside"
                why = f"re-seeded by {order.operator}: {order.reason}; it was {self.holder.why}"
                self.become = Become(Role.SECONDARY, reseed=True, why=why)
            case Operation.SHUTDOWN:
                self.desk.finish(Result.DONE, "ends", now_ns, wall_ns)
                self.desk.effects.append(Quit(f"shut down by {order.operator}"))
            case _:
                raise self.refusal()

    def yield_to(self, sender: bytes, request: PeerYield, now_ns: int) -> None:
        """Gives way, durably. It says that its log ends at the beginning, as it holds nothing that
        anybody could fetch."""
        promised = self.memory.promised_epoch
        if request.epoch <= promised:
            raise RemoteError(
                Reason.WRONG_EPOCH,
                f"node {self.node} knows epoch {promised} already, and is FAILED; stop it first: "
                f"interlock shutdown {self.node}",
            )
        why = f"gave way to epoch {request.epoch} of {self.peer}: {request.why}"
        role = Role.SECONDARY if request.surrender else self.memory.role
        self._save(role=role, promised_epoch=request.epoch, target=None, doubt=why)
        self.desk.effects.append(Answer(sender, Yielded(request.epoch, GENESIS)))

    def keep_receipt(self, receipt: Receipt, now_ns: int, wall_ns: int) -> None:
        """Kept until the node follows a leader again."""
        self._save(receipts=keep(self.memory.receipts, receipt))

    def _save(self, **changes: Any) -> None:
        self.memory = msgspec.structs.replace(self.memory, **changes)
        self._effects.append(SaveMemory(self.memory))

    # What it says of itself -------------------------------------------------------------------

    def status(self, process: ProcessStatus, now_ns: int, wall_ns: int) -> NodeStatus:
        """The status as of now."""
        memory, counters = self.memory, process.counters
        return NodeStatus(
            cluster=self._config.cluster,
            node=self.node,
            role=memory.role.value,
            state=self.holder.state.value,
            why=self.holder.why,
            state_since_ns=wall_ns - (now_ns - self.holder.since_ns),
            time_ns=wall_ns,
            started_ns=process.started_ns,
            incarnation=memory.incarnation,
            pid=process.pid,
            version=process.version,
            epoch=0,
            mode="",
            leader="",
            promised_epoch=memory.promised_epoch,
            ack_level=self._config.pair.ack_level.value,
            watermarks=self.watermarks(),
            pending=PendingStatus(),
            link=LinkStatus(peer=self.peer),
            journal=process.journal,
            producers=[],
            producers_known=0,
            counters=dict(counters.counts),
            refused=dict(counters.refused_by_reason),
            events=process.events,
            doubt=memory.doubt,
            fenced=memory.fenced,
            operation=under_way(self.desk),
            environment=process.environment,
            approvals=process.approvals,
            memory_bytes=process.memory_bytes,
            security=process.security,
        )
