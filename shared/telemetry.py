"""What a node says of itself: the status that control answers and telemetry publishes.

Counts are since the node's start. Watermarks are seqs; ages are milliseconds at `time_ns`.
"""

from __future__ import annotations

from collections import Counter

import msgspec

from .errors import Reason


class Watermarks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far each step has come. `acked_seq` is the standby's ack as this node knows it."""

    accepted_seq: int = 0
    written_seq: int = 0
    synced_seq: int = 0
    acked_seq: int = 0
    released_seq: int = 0


class PendingStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sequenced, not yet released."""

    messages: int = 0
    bytes: int = 0
    oldest_age_ms: float = 0.0
    max_messages: int = 0
    max_bytes: int = 0


class LinkStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The link as this node sees it. Lag: how far the standby's ack is behind."""

    peer: str = ""
    up: bool = False
    heard_age_ms: float = 0.0
    peer_state: str = ""
    peer_incarnation: int = 0
    lag_messages: int = 0
    lag_bytes: int = 0
    lag_ms: float = 0.0


class JournalStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The node's journal: what is retained, and what room is prepared for the next records."""

    directory: str = ""
    first_seq: int = 0
    segments: int = 0
    segment_bytes: int = 0
    room_bytes: int = 0
    disk_free_bytes: int = 0


class ProducerStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One producer with a session on this node. None: the node does not count it."""

    name: str
    connected: bool
    accepted_producer_seq: int
    confirmed_producer_seq: int
    duplicates: int | None = None  # messages that it sent again and that were in the log already
    refused: int | None = None
    last_seen_age_ms: float | None = None


class StageStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long one step of a message's way took lately, in microseconds. `name`: "intake",
    "replicate+write", "ack", "release", or "rtt" for the whole."""

    name: str
    p50_us: float
    p99_us: float
    max_us: float


class Unprotected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Solo: since when this node releases alone, how many messages it has so released, and when it
    stalls by itself (0: when the gate engages). Times are nanoseconds since 1970."""

    since_ns: int
    messages: int
    until_ns: int


class Divergence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two histories: the last seq that they share, and the epochs of each after it, as text."""

    common_seq: int
    ours: list[str]
    theirs: list[str]


class SecurityStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of a node: the fingerprint of its own, the digest of the list of allowed ones, how
    many they are, who is banned for bad frames, and what is wrong (empty: nothing)."""

    fingerprint: str
    ring: str
    keys: int
    banned: list[str]
    error: str = ""


class NodeStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that a console or `interlock status` shows of one node."""

    cluster: str
    node: str
    role: str
    state: str
    why: str
    state_since_ns: int
    time_ns: int
    started_ns: int
    incarnation: int
    pid: int
    version: str
    epoch: int
    mode: str
    leader: str
    promised_epoch: int
    ack_level: str
    watermarks: Watermarks
    pending: PendingStatus
    link: LinkStatus
    journal: JournalStatus
    producers: list[ProducerStatus]
    producers_known: int
    counters: dict[str, int]
    refused: dict[str, int]
    events: list[str]
    promotable: bool = False
    doubt: str = ""  # why it is not, if it could be
    fenced: str = ""
    paused: str = ""  # why no submissions are taken, by an operator's decision
    closed_for: str = ""  # the node to which the newest epoch was handed over, if it was
    unprotected: Unprotected | None = None
    divergence: Divergence | None = None
    operation: str = ""  # what is under way, and its step
    environment: str = ""
    approvals: int = 1
    stages: list[StageStatus] = []
    memory_bytes: int | None = None
    security: SecurityStatus | None = None  # None: no keys are used


class Counters:
    """What happened since the start; `refused` by reason, for every socket together."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.refused_by_reason: Counter[str] = Counter()

    def count(self, name: str, by: int = 1) -> None:
        self.counts[name] += by

    def refused(self, socket: str, reason: Reason) -> None:
        self.refused_by_reason[f"{socket}.{reason.value}"] += 1

    def __add__(self, other: Counters) -> Counters:
        total = Counters()
        total.counts = self.counts + other.counts
        total.refused_by_reason = self.refused_by_reason + other.refused_by_reason
        return total


class ProcessStatus(msgspec.Struct, frozen=True):
    """What the shell knows of its process and a core does not: the rest of a node's status."""

    started_ns: int
    pid: int
    version: str
    journal: JournalStatus
    counters: Counters
    events: list[str]
    environment: str
    approvals: int
    memory_bytes: int | None = None  # resident
    security: SecurityStatus | None = None
