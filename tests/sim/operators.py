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
from interlock.shared.epochs import Mode
from interlock.shared.messages import PROTOCOL_VERSION, Message, Refused
from interlock.shared.operations import Operation, Preflight, Request
from interlock.shared.telemetry import NodeStatus

from .engine import MS, Process

if TYPE_CHECKING:
    from .node import SimNode
    from .world import SimWorld

Steps = Generator[int, Any, Any]
POLL_NS = 20 * MS
O = Operation  # noqa: E741 short, for the tables below

# What the hasty operator does at random; what is there twice is done more often.
HASTY = (
    *(O.SWITCHOVER, O.SWITCHOVER, O.DEMOTE, O.PROMOTE, O.PROMOTE, O.SOLO, O.SOLO),
    *(O.GATE, O.REINSTATE, O.REINSTATE, O.PAUSE, O.RESUME, O.SHUTDOWN),
)


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
            if node.core is None:
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
        if preflight.attestation:
            if not self._make_true(peer, operation):
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
            if node.core is None or node.life != life:
                break
            yield 200 * MS
            answer = yield from self.ask(node, GetOperation(PROTOCOL_VERSION, token))
        if peer.held == token:
            peer.held = ""
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

    def _make_true(self, peer: SimNode, operation: Operation) -> bool:
        """Whether the attestation is true, after the peer was stopped if need be."""
        own, world = self.world.other(peer), self.world
        ours = {(epoch.number, epoch.hash) for epoch in own.journal.state.history.epochs}
        theirs = peer.journal.state.history.epochs
        if operation is O.PROMOTE:
            alone = [epoch for epoch in theirs if epoch.mode is Mode.SOLO]
            if theirs and theirs[-1].mode is Mode.SOLO:
                return False
        else:
            alone = [epoch for epoch in theirs if epoch.leader == peer.name]
        if any((epoch.number, epoch.hash) not in ours for epoch in alone):
            return False
        if peer.core is not None:
            if self.rng.random() < 0.3 and not world.healing:
                return False
            world.trace.add("op", "stops", (peer.name, "to attest that it is stopped"))
            peer.kill(power_cut=self.rng.random() < 0.3)
        return not peer.held

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
        while not world.healing:
            yield int(rng.random() * 2 * world.plan.operate_every_ms * MS)
            node = rng.choice(world.nodes)
            if kept and rng.random() < 0.2:
                node, preflight = rng.choice(kept)
                yield from self.execute(who, node, preflight)
                continue
            operation = rng.choice(HASTY)
            arguments: dict[str, Any] = {}
            if operation is O.PROMOTE:
                arguments["solo"] = rng.random() < 0.6
            if operation is O.SOLO and rng.random() < 0.3:
                arguments["for_ms"] = 500
            if operation is O.REINSTATE:
                arguments["reseed"] = rng.random() < 0.2
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
            statuses = []
            for node in world.nodes:
                status = (yield from self.status(node)) if node.core else None
                statuses.append(status)
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

    def _repair(self, statuses: list[NodeStatus | None]) -> Steps:
        """The runbook: who leads, who is stuck, and what brings the pair together again."""
        world, rng = self.world, self.rng
        by_role: dict[str, SimNode] = {}
        candidates: list[tuple[bool, int, SimNode]] = []
        for node, status in zip(world.nodes, statuses, strict=True):
            if status is None:
                continue
            candidates.append((status.promotable, status.watermarks.accepted_seq, node))
            if status.state in ("FENCED", "DIVERGED"):
                by_role["stuck"] = node
            elif status.role == "primary":
                by_role["primary"] = node
                by_role[status.state] = node
            else:
                by_role["standby"] = node
        primary, standby, stuck = (by_role.get(each) for each in ("primary", "standby", "stuck"))
        if primary is not None and stuck is not None and stuck is not primary:
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
