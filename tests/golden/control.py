"""The vectors of the control socket: see `messages`, which writes them all into one file.

They tell one story: ann switches the lead from a to b, after bob approved it; later she promotes a
while b is silent. Between them stand the questions that the nodes put to each other.
"""

from __future__ import annotations

from interlock.shared.commands import (
    Approve,
    Approved,
    Compared,
    Execute,
    GetOperation,
    GetPreflight,
    GetQuarantine,
    GetStatus,
    KeysReloaded,
    Outcome,
    PeerCompare,
    PeerFetch,
    PeerTail,
    PeerYield,
    PreflightReport,
    Quarantine,
    QuarantineChunk,
    QuarantineEntry,
    ReadQuarantine,
    ReloadKeys,
    Status,
    UnderWay,
    Yielded,
)
from interlock.shared.epochs import Epoch, Mode, Relation
from interlock.shared.errors import Reason
from interlock.shared.messages import PROTOCOL_VERSION, Message, Refused
from interlock.shared.operations import (
    Guard,
    Operation,
    Preflight,
    Receipt,
    Request,
    Risk,
    decode_receipt,
)
from interlock.shared.telemetry import (
    Divergence,
    JournalStatus,
    LinkStatus,
    NodeStatus,
    PendingStatus,
    ProducerStatus,
    SecurityStatus,
    StageStatus,
    Unprotected,
    Watermarks,
)
from interlock.shared.wire import Position, parse_records

from . import records

CLUSTER = "7d0e4d2c-0000-4000-8000-000000000001"
TIME_NS = records.TIME_NS

LOG = {vector["name"]: vector for vector in records.build()}
RAW = {name: bytes.fromhex(vector["record_hex"]) for name, vector in LOG.items()}
OPENED = Position(1, LOG["epoch-opened"]["hash"])
DATA = Position(4, LOG["data with 3 messages"]["hash"])
CLOSED = Position(6, LOG["epoch-closed"]["hash"])
EPOCH_1 = Epoch(1, "a", Mode.GATED, 1, OPENED.hash)
EPOCH_2 = Epoch(2, "b", Mode.GATED, 7, LOG["epoch-opened after a switchover"]["hash"])
TOKEN = records.TOKEN
PROMOTE = Request(Operation.PROMOTE, "a", solo=True, accept_loss=True)
FINGERPRINT = "SHA256:0123456789abcdef"
DIGEST = "9f86d081884c7d65"
ENTRY = "20150501T000000Z-seq5-6"


def status() -> NodeStatus:
    """A primary, gated, at work."""
    return NodeStatus(
        cluster=CLUSTER,
        node="a",
        role="primary",
        state="GATED",
        why="the standby b follows",
        state_since_ns=TIME_NS - 5_000_000_000,
        time_ns=TIME_NS,
        started_ns=TIME_NS - 6_000_000_000,
        incarnation=2,
        pid=4711,
        version="0.1.0",
        epoch=1,
        mode="gated",
        leader="a",
        promised_epoch=1,
        ack_level="written",
        watermarks=Watermarks(5, 5, 4, 4, 4),
        pending=PendingStatus(1, 73, 0.5, 262_144, 67_108_864),
        link=LinkStatus("b", True, 12.5, "IN_SYNC", 3, 1, 73, 0.5),
        journal=JournalStatus("a", 1, 1, 67_108_864, 67_108_000, 84_000_000_000),
        producers=[ProducerStatus("bitstamp", True, 3, 3, 0, 2, 12.5)],
        producers_known=1,
        counters={"messages": 3},
        refused={"intake.gap": 2},
        events=["00:00:00Z GATED: the standby b follows"],
        environment="production",
        approvals=2,
        stages=[StageStatus("rtt", 250.5, 900.25, 1500.75)],
        memory_bytes=50_000_000,
        security=SecurityStatus(FINGERPRINT, DIGEST, 4, ["key flood (SHA256:ab12)"], ""),
    )


def troubled() -> NodeStatus:
    """What only a node in trouble has: a primary in solo; the rest would not occur together."""
    return NodeStatus(
        cluster=CLUSTER,
        node="a",
        role="primary",
        state="SOLO",
        why="UNPROTECTED by ann: b is being repaired",
        state_since_ns=TIME_NS - 5_000_000_000,
        time_ns=TIME_NS,
        started_ns=TIME_NS - 6_000_000_000,
        incarnation=2,
        pid=4711,
        version="0.1.0",
        epoch=3,
        mode="solo",
        leader="a",
        promised_epoch=3,
        ack_level="written",
        watermarks=Watermarks(9, 9, 9, 0, 9),
        pending=PendingStatus(0, 0, 0.0, 262_144, 67_108_864),
        link=LinkStatus("b"),
        journal=JournalStatus("a", 1, 1, 67_108_864, 67_108_000, 84_000_000_000),
        producers=[],
        producers_known=1,
        counters={},
        refused={},
        events=[],
        doubt="its machine was started again without stopping it first, at level written",
        fenced="node b has promised epoch 2, this node led epoch 1",
        paused="paused by ann: end of day",
        closed_for="b",
        unprotected=Unprotected(TIME_NS - 5_000_000_000, 2, TIME_NS + 55_000_000_000),
        divergence=Divergence(
            4,
            ["epoch 1 (gated), led by a: seq 5 to 6"],
            ["epoch 2 (solo), led by b: seq 5 to 9"],
        ),
        operation="gate by ann: beginning",
        environment="drill",
        approvals=1,
    )


def receipt() -> Receipt:
    """That of the operation record of `records.json`."""
    (record,) = parse_records(RAW["operation"])
    return decode_receipt(record)


def passing() -> Preflight:
    return Preflight(
        request=receipt().request,
        cluster=CLUSTER,
        epoch=1,
        guards=[
            Guard("state fits", True, "a is GATED: the standby b follows", "GATED"),
            Guard("peer answers on control", True, "b is IN_SYNC as secondary", "b answers"),
        ],
        risks=[],
        consequences=["closes epoch 1 and hands over to b", "a becomes its standby"],
        watermarks=Watermarks(5, 5, 4, 4, 4),
        peer="b is IN_SYNC as secondary in epoch 1",
        confirm="a",
        attestation="",
        approvals=2,
        token=TOKEN,
        expires_ms=30_000,
    )


def failing() -> Preflight:
    return Preflight(
        request=PROMOTE,
        cluster=CLUSTER,
        epoch=2,
        guards=[
            Guard(
                "the primary does not serve this standby",
                False,
                "a is IN_SYNC: holds all that b may have released",
                "a standby without its primary",
                "interlock switchover: both nodes are well, and it loses nothing",
            )
        ],
        risks=[Risk("lost", 9, 11, 3, {"bitstamp": 2})],
        consequences=["a leads in solo and releases alone"],
        watermarks=Watermarks(8, 8, 8, 8, 8),
        peer="b does not answer",
        confirm="a",
        attestation=(
            "b is stopped and stays stopped, not promoted and not in solo since the link broke"
        ),
        approvals=2,
        token="",
        expires_ms=0,
    )


def entry() -> QuarantineEntry:
    return QuarantineEntry(
        ENTRY, "kept", TIME_NS, DATA, 5, 6, 2, 2, 200, {"bitstamp": 1}, "reinstated by ann: b leads"
    )


# (who sends it, the message)
CONTROL: list[tuple[str, Message]] = [
    ("observer", GetStatus(PROTOCOL_VERSION)),
    ("node", Status(status())),
    ("node", Status(troubled())),
    ("operator", GetPreflight(PROTOCOL_VERSION, CLUSTER, receipt().request)),
    ("node", PreflightReport(passing())),
    ("operator", Approve(PROTOCOL_VERSION, CLUSTER, TOKEN, "bob")),
    ("node", Approved(TOKEN, receipt().request, ["bob"])),
    ("operator", Execute(PROTOCOL_VERSION, CLUSTER, TOKEN, "ann", "patching a", "a", "")),
    ("operator", GetOperation(PROTOCOL_VERSION, TOKEN)),
    ("node", UnderWay(TOKEN, "waiting for b to lead")),
    ("node", Outcome(receipt())),
    ("operator", GetPreflight(PROTOCOL_VERSION, CLUSTER, PROMOTE)),
    ("node", PreflightReport(failing())),
    (
        "node",
        Refused(Reason.UNKNOWN_TOKEN, "the token has expired after 30 s; run the preflight again"),
    ),
    ("operator", ReloadKeys(PROTOCOL_VERSION)),
    ("node", KeysReloaded(DIGEST, 4, [f"removed key flood ({FINGERPRINT})"])),
    (
        "node",
        Refused(
            Reason.NOT_ALLOWED,
            f"key ann ({FINGERPRINT}) has the role observer; Execute needs the role operator",
        ),
    ),
    ("operator", GetQuarantine(PROTOCOL_VERSION)),
    ("node", Quarantine([entry()])),
    ("operator", ReadQuarantine(PROTOCOL_VERSION, ENTRY, 0)),
    ("node", QuarantineChunk(ENTRY, 0, RAW["tick"])),
    ("peer", PeerCompare(PROTOCOL_VERSION, CLUSTER, "b", [EPOCH_1, EPOCH_2], CLOSED)),
    (
        "node",
        Compared(
            status(),
            Relation.DIVERGED,
            DATA,
            [EPOCH_1],
            Position(5, LOG["tick"]["hash"]),
            Risk("lost", 5, 5, 1),
        ),
    ),
    ("peer", PeerYield(PROTOCOL_VERSION, CLUSTER, "b", 2, True, "promotion of b by ann")),
    ("node", Yielded(2, CLOSED)),
    ("peer", PeerFetch(PROTOCOL_VERSION, CLUSTER, "b", DATA)),
    ("node", PeerTail(DATA, RAW["tick"])),
]
