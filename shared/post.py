"""What the operations desk and the present role of a node tell each other. Shapes only."""

from __future__ import annotations

from typing import Protocol

import msgspec

from .commands import Compared, PeerYield
from .log import LogState
from .operations import Check, Guard, Receipt, Request, Risk
from .telemetry import NodeStatus, Watermarks


class PeerView(msgspec.Struct, frozen=True):
    """What the peer said when it was asked; `compared` None: nothing, or only that it is FAILED
    and can compare nothing: `failed`. `common_held`: the record that it names as common is ours
    too. `beyond`: what we hold after that."""

    name: str
    compared: Compared | None = None
    common_held: bool = False
    beyond: Risk | None = None
    failed: str = ""

    @property
    def answers(self) -> bool:
        return self.compared is not None or bool(self.failed)

    @property
    def stopped(self) -> str:
        """What is attested of a peer that could not be asked, whatever it has done before."""
        if self.failed:
            return f"{self.name} is FAILED or stopped and stays so"
        return f"{self.name} is stopped and stays stopped"

    @property
    def led_nothing(self) -> str:
        """What is attested of a silent peer before this node leads over its head: it released
        nothing alone, and used no epoch number of its own, that this node does not know of."""
        return f"{self.stopped}, not promoted and not in solo since the link broke"

    @property
    def status(self) -> NodeStatus | None:
        return self.compared.status if self.compared else None

    def __str__(self) -> str:
        status = self.status
        if status is None:
            return self.failed or f"{self.name} does not answer"
        return f"{self.name} is {status.state} as {status.role} in epoch {status.epoch}"


class Assessment(msgspec.Struct):
    """What a post makes of a request: see `operations.Preflight`."""

    guards: list[Guard]
    risks: list[Risk] = []
    consequences: list[str] = []
    attestation: str = ""


class Order(msgspec.Struct):
    """An operation under way. `steps` is told to who asks; `pause_from_ns` starts the pause."""

    id: str
    request: Request
    operator: str
    approvers: list[str]
    reason: str
    attestation: str
    sender: bytes
    started_ns: int  # on the wall
    begun_ns: int
    step: str = "beginning"
    pause_from_ns: int = 0
    drains: bool = False  # an epoch is being closed for it
    post: Post | None = None  # where it began: a node may change its role before it ends
    checks: list[Check] = []


class Post(Protocol):
    """What the present role of the node does at the desk."""

    def assess(self, request: Request, peer: PeerView) -> Assessment: ...

    def begin(self, order: Order, peer: PeerView, now_ns: int, wall_ns: int) -> None:
        """Begins; ends by `Desk.finish`, at once or later. Raises RemoteError to refuse."""

    def yield_to(self, sender: bytes, request: PeerYield, now_ns: int) -> None:
        """The peer asks this node to give way. Raises RemoteError to refuse."""

    def keep_receipt(self, receipt: Receipt, now_ns: int, wall_ns: int) -> None:
        """Brings a receipt into the log, now or when there is a leader."""

    def describe(self) -> str:
        """Role, state, epoch and promises: what a token is bound to."""

    def watermarks(self) -> Watermarks: ...

    @property
    def log(self) -> LogState: ...
