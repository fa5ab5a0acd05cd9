"""The view state: all that the console shows, as plain data. Screens only draw it, and
`interlock status --watch --json` prints it.

Decides shapes only; `model` makes it. None means not known: it is drawn as `---`.
"""

from __future__ import annotations

import msgspec

from ..shared.operations import Request
from ..shared.telemetry import NodeStatus, StageStatus, Watermarks
from .freshness import Freshness


class NodeView(msgspec.Struct, frozen=True):
    """A node as it claims to be, and how old that claim is.

    `answers`: on control; None: not asked yet. `denied`: it refuses this console's key. `skew_ms`:
    its clock less the console's.
    """

    name: str
    freshness: Freshness
    age_s: float | None
    status: NodeStatus | None
    answers: bool | None
    why_silent: str
    denied: bool
    control_ms: float | None
    skew_ms: float | None
    uptime_s: float | None
    state_for_s: float | None

    @property
    def usable(self) -> NodeStatus | None:
        """The status, if it is new enough to act on."""
        return self.status if self.freshness.usable else None


class GateView(msgspec.Struct, frozen=True):
    """Whether messages are released: OPEN, HELD, SOLO, NOBODY LEADS or `---`."""

    word: str
    why: str
    leader: str
    freshness: Freshness


class PendingView(msgspec.Struct, frozen=True):
    """Sequenced and not released, of the leader. `full_in_s`: until intake says BUSY at the present
    rate; None: it does not grow, or that is not known."""

    messages: int
    bytes: int
    oldest_ms: float
    max_messages: int
    max_bytes: int
    share: float
    producers: list[tuple[str, int]]
    full_in_s: float | None


class RatesView(msgspec.Struct, frozen=True):
    """Per second, over the last seconds, of the leader; refused: of both nodes."""

    accepted: float | None = None
    released: float | None = None
    bytes: float | None = None
    refused: float | None = None


class Trend(msgspec.Struct, frozen=True):
    """One value per second, oldest first; None: not known then."""

    name: str
    values: list[float | None]


class Disagreement(msgspec.Struct, frozen=True):
    """The two witnesses contradict each other: what each says, and what that can mean."""

    what: str
    says: dict[str, str]
    meaning: str
    grave: bool


class ProducerView(msgspec.Struct, frozen=True):
    """A producer with a session on the leader."""

    name: str
    accepted: int
    in_flight: int
    duplicates: int | None
    refused: int | None
    last_seen_s: float | None
    freshness: Freshness


class RefusalView(msgspec.Struct, frozen=True):
    """What a node refused since its start, by socket and reason."""

    node: str
    socket: str
    reason: str
    count: int


class AlarmView(msgspec.Struct, frozen=True):
    """One alarm. `state`: active, acknowledged, latched (over, and nobody has seen it), shelved."""

    key: str
    kind: str
    subject: str
    severity: int
    title: str
    text: str
    state: str
    since: float
    for_s: float
    acknowledged_by: str
    shelved_for_s: float | None
    what_to_do: str
    runbook: str


class Suggestion(msgspec.Struct, frozen=True):
    """An operation that fits what both nodes say, and when it is right. Nothing is decided by it:
    its preflight decides."""

    request: Request
    why: str


class View(msgspec.Struct, frozen=True):
    """One picture."""

    at: float
    cluster: str
    environment: str
    nodes: list[NodeView]
    leader: str
    gate: GateView
    marks: Watermarks | None
    lag_messages: int | None
    lag_bytes: int | None
    lag_ms: float | None
    pending: PendingView | None
    rates: RatesView
    stages: list[StageStatus]
    trends: list[Trend]
    disagreements: list[Disagreement]
    alarms: list[AlarmView]
    advice: list[str]
    suggestions: list[Suggestion]
    producers: list[ProducerView]
    producers_known: int | None
    refusals: list[RefusalView]
    feed_age_s: float | None
    feed_seq: int | None
    feed_shut: str  # why the leader's feed is not to be read from here, if it is so

    def node(self, name: str) -> NodeView:
        return next(node for node in self.nodes if node.name == name)
