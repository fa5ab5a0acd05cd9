"""Operators: a careful one who follows the runbook, and hasty ones who do whatever passes.

Both only send control messages and read answers. Both attest only what is true at that moment, and
keep it true: the node that is attested to be stopped stays so until the outcome is known or the
executing process has died (with it the operation is gone). Neither accepts loss.
"""

from __future__ import annotations

from collections.abc import Generator
from random import Random
from typing import TYPE_CHECKING, Any

from interlock.shared.commands import (
    Approve,
    Execute,
    GetOperation,
    GetPreflight,
    GetStatus,
    Outcome,
    PreflightReport,
    Status,
    UnderWay,
)
from interlock.shared.messages import PROTOCOL_VERSION, Message, Refused
from interlock.shared.operations import Operation, Preflight, Request
from interlock.shared.roles import NodeState
from interlock.shared.telemetry import NodeStatus

from .engine import MS, Process

if TYPE_CHECKING:
    from .node import SimNode
    from .world import SimWorld

Steps = Generator[int, Any, Any]
POLL_NS = 20 * MS
O = Operation  # noqa: E741 short, for the tables below

# What a hasty operator may like to do, and how often.
ODDS = {
    O.SWITCHOVER: 4,
    O.DEMOTE: 4,
    O.PROMOTE: 8,
    O.SOLO: 8,
    O.GATE: 4,
    O.REINSTATE: 4,
    O.PAUSE: 1,
    O.RESUME: 1,
    O.SHUTDOWN: 2,
}


def attested_truly(own: SimNode, peer: SimNode, text: str) -> bool:
    """Whether what the text says of the peer's past is true, besides that it is stopped.

    The link broke when the node that is to lead heard the last of it. A hello that the other one
    has heard since proves nothing: its answer may never have arrived."""
    in_solo = peer.core is not None and peer.state is NodeState.SOLO
    if "not in solo" in text and (in_solo or peer.solo_ns >= own.heard_ns):
        return False
    return "not promoted" not in text or peer.promoted_ns < own.heard_ns


class Operators:
    """All operators of a run, and what they are told."""

    def __init__(self, world: SimWorld) -> None:
        self.world = world
        self.rng: Random = world.rng
        self._answers: dict[bytes, Message] = {}
        self._asked = 0

    def start(self) -> None:
        plan, engine = self.world.plan, self.world.engine
        engine.spawn(self._careful(), 600 * MS)
        for index in range(plan.hasty):
            engine.spawn(self._hasty(f"hasty{index}"), 700 * MS)

    def answered(self, to: bytes, message: Message) -> None:
        if self.rng.random() > 0.03:  # else: it was lost on its way
            self._answers[to] = message

    # Control messages -------------------------------------------------------------------------

    def ask(self, node: SimNode, message: Message, patience_ms: int = 700) -> Steps:
        """The answer, or None."""
        self._asked += 1
        sender = b"op-%d" % self._asked
        self.world.engine.after(100_000, node.receive, "control", sender, message)
        for _ in range(patience_ms * MS // POLL_NS):
            yield POLL_NS
            if sender in self._answers:
                return self._answers.pop(sender)
            if not node.runs:
                return None
        return None

    def status(self, node: SimNode) -> Steps:
        answer = yield from self.ask(node, GetStatus(PROTOCOL_VERSION))
        return answer.status if isinstance(answer, Status) else None

    def preflight(self, node: SimNode, operation: Operation, **arguments: Any) -> Steps:
        request = Request(operation, node.name, **arguments)
        question = GetPreflight(PROTOCOL_VERSION, self.world.config.cluster, request)
        answer = yield from self.ask(node, question)
        return answer.preflight if isinstance(answer, PreflightReport) else None

    def execute(self, who: str, node: SimNode, preflight: Preflight) -> Steps:
        """Executes what was shown, attesting only the truth; the receipt, or None."""
        world = self.world
        token, operation = preflight.token, preflight.request.operation
        peer, life = world.other(node), node.life
        if node.held:
            return None  # somebody has attested that it stays as it is
        if preflight.attestation:
            if not self._make_true(peer, preflight.attestation):
                world.seen.operations[f"{operation.value} not attested"] += 1
                return None
            peer.held = token
        world.executed.setdefault(token, preflight.request)
        world.trace.add(who, "executes", (operation.value, "on", node.name, token[-4:]))
        reason = f"{operation.value} in a simulation"
        cluster = world.config.cluster
        if world.config.pair.approvals > 1:
            approve = Approve(PROTOCOL_VERSION, cluster, token, f"{who}-second")
            yield from self.ask(node, approve)
        order = Execute(
            PROTOCOL_VERSION, cluster, token, who, reason, node.name, preflight.attestation
        )
        answer = yield from self.ask(node, order, 3_000)
        while answer is None or isinstance(answer, UnderWay):
            if not node.runs or node.life != life:
                break
            yield 200 * MS
            answer = yield from self.ask(node, GetOperation(PROTOCOL_VERSION, token))
        if peer.held == token:
            peer.held = ""
            peer.thaw()
        receipt = answer.receipt if isinstance(answer, Outcome) else None
        self._note(operation, answer)
        world.trace.add(who, "ended", (token[-4:], answer))
        if receipt is not None:
            world.checks.receipt(receipt)
        return receipt

    def _note(self, operation: Operation, answer: Message | None) -> None:
        result = "never answered"
        if isinstance(answer, Outcome):
            result = answer.receipt.result.value
        elif isinstance(answer, Refused):
            result = f"not begun ({answer.reason.value})"
        self.world.seen.operations[f"{operation.value} {result}"] += 1

    def _make_true(self, peer: SimNode, text: str) -> bool:
        """Whether the attestation is true, after the peer was stopped if need be."""
        world = self.world
        if peer.held or not attested_truly(world.other(peer), peer, text):
            return False
        if peer.core is not None:
            if self.rng.random() < 0.3 and not world.healing:
                return False
            world.trace.add("op", "stops", (peer.name, "to attest that it is stopped"))
            if self.rng.random() < 0.3 and self._may_freeze(peer):
                peer.freeze()
            else:
                peer.kill(power_cut=self.rng.random() < 0.3)
        return True

    def _may_freeze(self, peer: SimNode) -> bool:
        """Whether a frozen process is as good as a dead one: it will not go on with an operation
        that was begun, or ordered, before the attestation."""
        ordered = any(kind == "control" for kind, _ in peer.inbox)
        return not ordered and peer.desk is not None and peer.desk.order is None

    def operate(self, who: str, node: SimNode, operation: Operation, **arguments: Any) -> Steps:
        preflight = yield from self.preflight(node, operation, **arguments)
        if preflight is None or not preflight.token:
            if preflight is not None:
                failing = next(guard for guard in preflight.guards if not guard.passed)
                self.world.seen.operations[f"{operation.value} guarded: {failing.name}"] += 1
                self.world.trace.add(
                    who, "guarded", (operation.value, node.name, failing.name, failing.observed)
                )
            return None
        yield int(self.rng.random() * 300 * MS)
        return (yield from self.execute(who, node, preflight))

    # The hasty one ----------------------------------------------------------------------------

    def _hasty(self, who: str) -> Process:
        """Any operation on any node, at any moment; sometimes with a token from a while ago."""
        world, rng = self.world, self.rng
        kept: list[tuple[SimNode, Preflight]] = []
        likes = [O(each) for each in world.plan.likes]
        likes = likes or rng.sample(list(ODDS), rng.randint(2, len(ODDS)))
        while not world.healing:
            yield int(rng.random() * 2 * world.plan.operate_every_ms * MS)
            node = rng.choice(world.nodes)
            if kept and rng.random() < 0.1:
                node, preflight = rng.choice(kept)
                yield from self.execute(who, node, preflight)
                continue
            operation = rng.choices(likes, [ODDS[each] for each in likes])[0]
            arguments: dict[str, Any] = {}
            if operation is O.PROMOTE:
                arguments["solo"] = rng.random() < 0.6
            if operation is O.SOLO and rng.random() < 0.4:
                arguments["for_ms"] = rng.choice((200, 1_000, 3_000))
            if operation is O.REINSTATE:
                arguments["reseed"] = rng.random() < 0.4
            preflight = yield from self.preflight(node, operation, **arguments)
            if preflight is None or not preflight.token:
                continue
            kept = [*kept[-3:], (node, preflight)]
            if rng.random() < 0.8:
                yield int(rng.random() * 500 * MS)
                yield from self.execute(who, node, preflight)

    # The careful one --------------------------------------------------------------------------

    def _careful(self) -> Process:
        """Looks at both nodes, waits a moment, and repairs what does not repair itself."""
        world, rng = self.world, self.rng
        before: list[str] = []
        since = world.now
        while True:
            yield (300 if world.healing else 2 * world.plan.operate_every_ms) * MS
            if not world.plan.careful and not world.healing:
                continue
            statuses = yield from self._statuses()
            found = [f"{s.role} {s.state}" if s else "down" for s in statuses]
            if found != before:
                before, since = found, world.now
            patience = 2_500 if world.healing else rng.choice((500, 2_000, 4_000))
            if "paused" in "".join(s.paused for s in statuses if s):
                leads = next((n for n in world.nodes if n.leads), None)
                if leads is not None:
                    yield from self.operate("careful", leads, O.RESUME)
            if world.now - since >= patience * MS:
                yield from self._repair(statuses)
            elif not world.healing and "primary GATED" in found and rng.random() < 0.2:
                node = world.nodes[found.index("primary GATED")]
                operation = rng.choice((O.SWITCHOVER, O.SWITCHOVER, O.DEMOTE, O.PAUSE))
                yield from self.operate("careful", node, operation)

    def _statuses(self) -> Steps:
        a, b = self.world.nodes
        first = (yield from self.status(a)) if a.runs else None
        second = (yield from self.status(b)) if b.runs else None
        return [first, second]

    def look_and_repair(self) -> Steps:
        """What the careful operator would do now, without waiting first."""
        yield from self._repair((yield from self._statuses()))

    def _repair(self, statuses: list[NodeStatus | None]) -> Steps:
        """The runbook: who leads, who is stuck, and what brings the pair together again."""
        world, rng = self.world, self.rng
        by_role, candidates = self._sorted_out(statuses)
        primary, standby, stuck = (by_role.get(each) for each in ("primary", "standby", "stuck"))
        failed = by_role.get("failed")
        if primary is not None and failed is not None:
            yield from self.operate("careful", failed, O.REINSTATE, reseed=True)
        elif primary is not None and stuck is not None and stuck is not primary:
            done = yield from self.operate("careful", stuck, O.REINSTATE)
            if done is None and world.healing:
                yield from self.operate("careful", stuck, O.REINSTATE, reseed=True)
        elif "GATED" in by_role:
            return
        elif primary is not None and standby is None:
            if "SOLO" in by_role and rng.random() < 0.3:
                yield from self.operate("careful", primary, O.GATE)
            elif not world.healing:
                yield from self.operate("careful", primary, O.SOLO)
        elif primary is None:
            candidates.sort(key=lambda each: each[:2], reverse=True)
            for _, _, node in candidates:
                alone = rng.random() < 0.5
                done = yield from self.operate("careful", node, O.PROMOTE, solo=alone)
                if done is not None:
                    return

    def _sorted_out(
        self, statuses: list[NodeStatus | None]
    ) -> tuple[dict[str, SimNode], list[tuple[bool, int, SimNode]]]:
        """Who is what, and who could be promoted."""
        by_role: dict[str, SimNode] = {}
        candidates: list[tuple[bool, int, SimNode]] = []
        for node, status in zip(self.world.nodes, statuses, strict=True):
            if status is None:
                continue
            if status.state == "FAILED":
                by_role["failed"] = node
                continue
            candidates.append((status.promotable, status.watermarks.accepted_seq, node))
            if status.state in ("FENCED", "DIVERGED"):
                by_role["stuck"] = node
            elif status.role == "primary":
                by_role["primary"] = node
                by_role[status.state] = node
            else:
                by_role["standby"] = node
        return by_role, candidates
