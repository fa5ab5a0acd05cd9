"""The operations desk of a node: preflights, tokens, approvals, one operation at a time, receipts.

Decides whether an operation may begin: with a token of this node that is not spent or expired,
typed confirmation and attestation, enough operators, no other operation under way, every guard
passing, and the pair in the state that the token is bound to. What the guards are and what an
operation does is for the `Post` that the node's present role provides; the desk outlives roles, so
an operation can end in another role than it began in.

Why the world is looked at again at execution: somebody read the preflight for half a minute, and
meanwhile the standby was promoted from another console. The token names that world, not an idea.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import assert_never

import msgspec

from .commands import (
    Approve,
    Approved,
    Command,
    Compared,
    Execute,
    GetOperation,
    GetPreflight,
    Outcome,
    PeerCompare,
    PeerYield,
    PreflightReport,
    UnderWay,
)
from .config import Config
from .effects import Answer, Effect
from .errors import Reason, RemoteError
from .events import FromControl, KeysChanged, PeerAnswered
from .keyaudit import receipts
from .limits import MAX_APPROVERS, MAX_EPOCHS_IN_HELLO, MAX_OUTCOMES, MAX_TOKENS, TOKEN_SECONDS
from .messages import PROTOCOL_VERSION, Message, Refused
from .operations import Operation, Preflight, Receipt, Request, Result
from .peertalk import PeerTalk
from .post import Order, PeerView, Post

MS = 1_000_000
PATIENCE_NS = 300 * MS  # for the peer's answer to a preflight, or if it answered that
SHORT_PATIENCE_NS = 40 * MS  # at execution, of a peer that was silent at the preflight
LAST_PATIENCE_NS = 10 * MS  # for its word that it gives way, of one that was silent just now


class _Pass(msgspec.Struct):
    """A token: what it was given for, and the world that it is bound to."""

    request: Request
    world: str
    peer_answered: bool
    attestation: str
    expires_ns: int
    holder: str  # the name of the key that it was given to; empty: no keys are used
    approvers: list[str] = []


class Desk:
    """One per node process. `attach` it to each new core."""

    def __init__(self, config: Config, node: str, draw: Callable[[], int]) -> None:
        """`draw` returns a fresh 64-bit random number for each token."""
        self.order: Order | None = None
        self.effects: list[Effect] = []
        self.entries: dict[str, str] = {}  # of this node's quarantine, by name: their states
        self.talk = PeerTalk()
        self._config = config
        self._node = node
        self._peer = config.peer_of(node)
        self._draw = draw
        self._passes: dict[str, _Pass] = {}
        self._outcomes: dict[str, Receipt] = {}
        self._post: Post | None = None
        # Preflights that wait for the peer's answer: who asked, and by which key.
        self._preflights: list[tuple[bytes, Request, str]] = []

    def attach(self, post: Post, now_ns: int) -> None:
        """The node goes on in another role. What was asked of the peer in the old one is void; the
        preflights that wait for it are made in the new one."""
        self._post = post
        self.talk.forget()
        waiting, self._preflights = self._preflights, []
        for sender, request, key in waiting:
            self._on_preflight(sender, request, key, now_ns)

    @property
    def post(self) -> Post:
        assert self._post is not None
        return self._post

    # What comes in ----------------------------------------------------------------------------

    def on_control(self, event: FromControl, now_ns: int, wall_ns: int) -> None:
        """Takes a command in; refusals are answered here."""
        message = event.message
        try:
            self._check(message)
            match message:
                case GetPreflight(_, _, request):
                    self._on_preflight(event.sender, request, event.key, now_ns)
                case Execute():
                    self._on_execute(event.sender, message, event.key, now_ns, wall_ns)
                case Approve():
                    self._on_approve(event.sender, message, now_ns)
                case GetOperation(_, token):
                    self._on_get_operation(event.sender, token)
                case PeerYield():
                    self.post.yield_to(event.sender, message, now_ns)
                case _:
                    assert_never(message)
        except RemoteError as error:
            self._answer(event.sender, Refused(error.reason, error.text))

    def _check(self, message: Command) -> None:
        if message.version != PROTOCOL_VERSION:
            raise RemoteError(
                Reason.WRONG_VERSION,
                f"protocol version {message.version}; this node speaks {PROTOCOL_VERSION}",
            )
        if not isinstance(message, GetOperation) and message.cluster != self._config.cluster:
            raise RemoteError(
                Reason.WRONG_CLUSTER,
                f"this is cluster {self._config.cluster}, not {message.cluster}",
            )
        if isinstance(message, PeerYield) and message.node != self._peer:
            raise RemoteError(
                Reason.WRONG_NODE, f"node {message.node}; the peer of this node is {self._peer}"
            )

    def take_effects(self) -> Sequence[Effect]:
        """What is to be done since the last call, after the effects of the core."""
        if not self.effects and not self.talk.effects:
            return ()
        effects = self.effects + self.talk.effects
        self.effects, self.talk.effects = [], []
        return effects

    # Preflight --------------------------------------------------------------------------------

    def _on_preflight(self, sender: bytes, request: Request, key: str, now_ns: int) -> None:
        if request.operation is Operation.KEYS:
            raise RemoteError(
                Reason.UNKNOWN_COMMAND, "keys are no operation; see: interlock keys reload"
            )
        if request.node != self._node:
            raise RemoteError(
                Reason.WRONG_NODE, f"this is node {self._node}; ask node {request.node}"
            )

        def report(answer: PeerAnswered | None, now_ns: int, wall_ns: int) -> None:
            self._preflights.remove((sender, request, key))
            self._report(sender, request, key, self.view(answer), now_ns)

        self._preflights.append((sender, request, key))
        self.talk.ask(self.compare_question(), PATIENCE_NS, report, now_ns)

    def compare_question(self) -> PeerCompare:
        """Asks the peer how the two logs stand."""
        log = self.post.log
        return PeerCompare(
            PROTOCOL_VERSION,
            self._config.cluster,
            self._node,
            log.history.epochs[-MAX_EPOCHS_IN_HELLO:],
            log.position,
        )

    def view(self, answered: PeerAnswered | None) -> PeerView:
        """What is known of the peer after its answer, or its silence."""
        compared = answered.answer if answered else None
        if isinstance(compared, Refused) and compared.reason is Reason.GUARD:
            return PeerView(self._peer, failed=compared.text)
        if answered is None or not isinstance(compared, Compared):
            return PeerView(self._peer)
        held = answered.own_hash is not None and answered.own_hash == compared.common.hash
        return PeerView(self._peer, compared, held, answered.beyond)

    def _report(
        self, sender: bytes, request: Request, key: str, peer: PeerView, now_ns: int
    ) -> None:
        found = self.post.assess(request, peer)
        token = ""
        if all(guard.passed for guard in found.guards):
            token = f"{self._draw():016x}"
            self._passes[token] = _Pass(
                request,
                self._world(peer),
                peer.answers,
                found.attestation,
                now_ns + TOKEN_SECONDS * 1_000 * MS,
                key,
            )
            while len(self._passes) > MAX_TOKENS:
                del self._passes[next(iter(self._passes))]
        preflight = Preflight(
            request,
            self._config.cluster,
            self.post.log.history.number,
            found.guards,
            found.risks,
            found.consequences,
            self.post.watermarks(),
            str(peer),
            self._node,
            found.attestation,
            self._config.pair.approvals,
            token,
            TOKEN_SECONDS * 1_000 if token else 0,
        )
        self._answer(sender, PreflightReport(preflight))

    def _world(self, peer: PeerView) -> str:
        """The state of both nodes, as one sentence."""
        status = peer.status
        promised = f", promised {status.promised_epoch}" if status else ""
        return f"{self.post.describe()}; {peer}{promised}"

    # Execute ----------------------------------------------------------------------------------

    def _on_execute(
        self, sender: bytes, execute: Execute, key: str, now_ns: int, wall_ns: int
    ) -> None:
        given = self._pass(execute.token, now_ns)
        if given.holder != key:
            raise RemoteError(
                Reason.NOT_ALLOWED,
                f"token {execute.token} was given to {given.holder or 'nobody'}, not to {key}; "
                "run a preflight of your own",
            )
        if self.order is not None:
            raise RemoteError(
                Reason.UNDER_WAY,
                f"{self.order.request.operation.value} by {self.order.operator} is under way "
                f"({self.order.step}); one operation at a time",
            )
        self._check_typed(given, execute)
        del self._passes[execute.token]
        order = Order(
            execute.token,
            given.request,
            execute.operator,
            [name for name in given.approvers if name != execute.operator],
            execute.reason,
            given.attestation,
            sender,
            wall_ns,
            now_ns,
            post=self.post,
        )
        self.order = order

        def begin(answer: PeerAnswered | None, now_ns: int, wall_ns: int) -> None:
            if self.order is order:
                self._begin(order, given, self.view(answer), now_ns, wall_ns)

        patience_ns = PATIENCE_NS if given.peer_answered else SHORT_PATIENCE_NS
        self.talk.ask(self.compare_question(), patience_ns, begin, now_ns)

    def _pass(self, token: str, now_ns: int) -> _Pass:
        given = self._passes.get(token)
        if given is None:
            raise RemoteError(
                Reason.UNKNOWN_TOKEN,
                f"node {self._node} has given no such token, or it is spent; run the preflight",
            )
        if now_ns >= given.expires_ns:
            del self._passes[token]
            raise RemoteError(
                Reason.UNKNOWN_TOKEN,
                f"the token has expired after {TOKEN_SECONDS} s; run the preflight again",
            )
        return given

    def _check_typed(self, given: _Pass, execute: Execute) -> None:
        if execute.confirm != self._node:
            raise RemoteError(
                Reason.NOT_CONFIRMED,
                f"the confirmation is {execute.confirm!r}; type the node's name, {self._node}",
            )
        if _words(execute.attestation) != _words(given.attestation):
            raise RemoteError(
                Reason.NOT_CONFIRMED,
                f"this needs the attestation, as it stands: {given.attestation}"
                if given.attestation
                else "an attestation was given, and this preflight asks for none",
            )
        operators = {execute.operator, *given.approvers}
        if len(operators) < self._config.pair.approvals:
            raise RemoteError(
                Reason.NOT_CONFIRMED,
                f"pair.approvals is {self._config.pair.approvals}: another operator than "
                f"{execute.operator} must approve token {execute.token} first",
            )

    def _begin(self, order: Order, given: _Pass, peer: PeerView, now_ns: int, wall_ns: int) -> None:
        found = self.post.assess(order.request, peer)
        failing = next((guard for guard in found.guards if not guard.passed), None)
        world = self._world(peer)
        try:
            if failing is not None:
                raise RemoteError(
                    Reason.GUARD,
                    f"{failing.name}: observed {failing.observed}; needed {failing.needed}"
                    + (f"; {failing.remedy}" if failing.remedy else ""),
                )
            if world != given.world or found.attestation != given.attestation:
                raise RemoteError(
                    Reason.WORLD_MOVED, f"the world has moved: it was {given.world}; it is {world}"
                )
            self.post.begin(order, peer, now_ns, wall_ns)
        except RemoteError as error:
            self.finish(Result.REFUSED, error.text, now_ns, wall_ns)

    def finish(self, result: Result, text: str, now_ns: int, wall_ns: int) -> None:
        """Ends the operation under way: receipt, log, answer."""
        order, self.order = self.order, None
        assert order is not None
        pause_ns = now_ns - order.pause_from_ns if order.pause_from_ns else 0
        receipt = Receipt(
            order.id,
            order.request,
            order.operator,
            order.approvers,
            order.reason,
            order.attestation,
            result,
            text[:1000],
            order.checks,
            self.post.log.history.number,
            order.started_ns,
            wall_ns,
            pause_ns / MS if result is Result.DONE else 0.0,
        )
        self._outcomes[order.id] = receipt
        while len(self._outcomes) > MAX_OUTCOMES:
            del self._outcomes[next(iter(self._outcomes))]
        self.post.keep_receipt(receipt, now_ns, wall_ns)
        self._answer(order.sender, Outcome(receipt))

    # Approvals and questions ------------------------------------------------------------------

    def _on_approve(self, sender: bytes, approve: Approve, now_ns: int) -> None:
        given = self._pass(approve.token, now_ns)
        if approve.operator not in given.approvers:
            if len(given.approvers) >= MAX_APPROVERS:
                raise RemoteError(
                    Reason.TOO_MANY, f"{MAX_APPROVERS} operators have approved; no more are taken"
                )
            given.approvers = [*given.approvers, approve.operator]
        self._answer(sender, Approved(approve.token, given.request, given.approvers))

    def _on_get_operation(self, sender: bytes, token: str) -> None:
        if self.order is not None and self.order.id == token:
            self._answer(sender, UnderWay(token, self.order.step))
        elif token in self._outcomes:
            self._answer(sender, Outcome(self._outcomes[token]))
        else:
            raise RemoteError(
                Reason.UNKNOWN_OPERATION,
                f"node {self._node} does not know operation {token}: it was not begun here, or "
                "before the node was started; see interlock history",
            )

    def on_keys_changed(self, event: KeysChanged, now_ns: int, wall_ns: int) -> None:
        """Brings a change of the allowed keys into the log."""
        epoch = self.post.log.history.number
        for receipt in receipts(event, self._node, epoch, wall_ns, self._draw):
            self.post.keep_receipt(receipt, now_ns, wall_ns)

    def _answer(self, to: bytes, message: Message) -> None:
        self.effects.append(Answer(to, message))


def under_way(desk: Desk) -> str:
    """The operation under way and its step, for a status; empty if there is none."""
    order = desk.order
    return f"{order.request.operation.value} by {order.operator}: {order.step}" if order else ""


def _words(text: str) -> list[str]:
    return text.casefold().split()
