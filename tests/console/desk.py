"""The story with all that a recording does not keep (its log, what the nodes would answer), so that
every screen and dialog can be drawn, the same each time."""

from __future__ import annotations

from pathlib import Path

import msgspec

from interlock.console.app import ConsoleApp, Options
from interlock.console.clock import Clock
from interlock.console.draw.lines import Tone
from interlock.console.hands import Hands
from interlock.console.logbook import Logbook, Page
from interlock.console.search import Search
from interlock.console.shelf import Shelf
from interlock.console.source import ReplaySource
from interlock.console.story import event_shown
from interlock.console.workflow import Typed
from interlock.runbooks import Result as Drilled
from interlock.runbooks import load
from interlock.runbooks.record import Verdict
from interlock.shared.commands import QuarantineEntry
from interlock.shared.epochs import EpochOpened, Mode
from interlock.shared.operations import (
    Check,
    Guard,
    Operation,
    Preflight,
    Receipt,
    Request,
    Result,
    Risk,
)
from interlock.shared.story import Event
from interlock.shared.telemetry import Watermarks
from interlock.shared.wire import (
    Kind,
    Record,
    encode_messages,
    encode_record,
    pack_name,
    parse_record,
)

from .kit import PROMOTED_S, SETTING, T0, recording, seq_at, story

ATTESTED = "a is stopped and stays stopped, not promoted and not in solo since the link broke"
PROMOTE = Request(Operation.PROMOTE, "b", solo=True)
BEFORE_S = 110  # of the story, for the curves
TOKEN = "55400ef3cfcba712"


def record(
    kind: Kind, at: float, epoch: int, seq: int, producer: str, number: int, payload: bytes
) -> Record:
    raw, _ = encode_record(
        kind, epoch, seq, int(at * 1e9), pack_name(producer), number, 1, payload, seq
    )
    return parse_record(memoryview(raw), 0)


def receipt(
    request: Request, at: float, reason: str, text: str, epoch: int, pause: float
) -> Receipt:
    ended = int(at * 1e9)
    checks = [
        Check("fenced", True, "the other node can release nothing new"),
        Check("no gap", True, f"opened at seq {seq_at(at) + 1}"),
    ]
    attested = ATTESTED if request.solo else ""
    took = (ended - 59_000_000, ended)
    return Receipt(
        TOKEN, request, "ann", [], reason, attested, Result.DONE, text, checks, epoch, *took, pause
    )


PROMOTED = receipt(
    PROMOTE, T0 + PROMOTED_S, "a has no power", "b leads epoch 4 (solo: UNPROTECTED)", 4, 59.0
)
SWITCHED = receipt(
    Request(Operation.SWITCHOVER, "b"), T0 - 300, "new disk for b", "a leads epoch 3", 3, 18.4
)


def log() -> list[Record]:
    """Some of the story's records: two reigns, who ended them, and orders."""
    pack, seq = msgspec.msgpack.encode, 800
    opened = EpochOpened(3, "a", Mode.GATED, seq, "ann", SWITCHED.reason, "1f0c5e02a7b3d944")
    records = [
        record(Kind.EPOCH_OPENED, T0 - 300, 3, seq, "a", 0, pack(opened)),
        record(Kind.OPERATION, T0 - 299.9, 3, seq + 1, "a", 0, pack(SWITCHED)),
    ]
    for number in range(30):
        at = T0 + number * 0.5
        body = f"order {40_120 + number} {'buy' if number % 3 else 'sell'} {(number % 7 + 1) * 100}"
        who = ("or[der]s", "fills", "risk")[number % 3]
        payload = encode_messages([body.encode()])
        records.append(record(Kind.DATA, at, 3, seq_at(at), who, 300 + number, payload))
    at = T0 + PROMOTED_S
    opened = EpochOpened(4, "b", Mode.SOLO, seq_at(at) + 1, "ann", PROMOTED.reason, TOKEN)
    records += [
        record(Kind.EPOCH_OPENED, at, 4, seq_at(at) + 1, "b", 0, pack(opened)),
        record(Kind.OPERATION, at + 0.1, 4, seq_at(at) + 2, "b", 0, pack(PROMOTED)),
    ]
    return records


class StoryBook(Logbook):
    """The story's log."""

    def __init__(self) -> None:
        """Needs no pair."""

    def tail(self, after_seq: int) -> Page | str:
        found = [one for one in log() if one.seq > after_seq]
        return Page(found, "b", 800, log()[-1].last_seq)

    def find(self, search: Search) -> Page | str:
        return self.tail(search.seq - 1)

    def events(self, from_seq: int) -> tuple[list[Event], int] | str:
        found = [event for one in log() if (event := event_shown(one)) and one.seq >= from_seq]
        return found, log()[-1].last_seq


class StoryHands(Hands):
    """What b answers after its primary is lost."""

    def __init__(self) -> None:
        """Needs no pair."""

    def preflight(self, request: Request) -> Preflight:
        held = seq_at(T0 + 20)
        guards = [
            Guard("the primary does not serve this standby", True, "b is ORPHANED", ""),
            Guard("the other node leads no later epoch", True, "a does not answer", ""),
            Guard("holds all that was released", True, f"holds seq {held}, its target is 801", ""),
            Guard("disk space", True, "67108864 bytes are prepared", ""),
        ]
        does = ["UNPROTECTED: b leads in solo and releases alone until a has caught up again"]
        risks = [Risk("in doubt", held - 3, held, 4, {"fills": 1, "or[der]s": 3})]
        marks = Watermarks(held, held, held, held, held - 4)
        peer = "a does not answer"
        return Preflight(
            request,
            SETTING.cluster,
            3,
            guards,
            risks,
            does,
            marks,
            peer,
            "b",
            ATTESTED,
            1,
            TOKEN,
            30_000,
        )

    def execute(self, preflight: Preflight, typed: Typed) -> Receipt:
        return PROMOTED

    def quarantine(self) -> dict[str, list[QuarantineEntry] | None]:
        return {"a": None, "b": []}


class StoryShelf(Shelf):
    """Two drills of the day before; one of a text that was another one then."""

    def result(self, name: str) -> Drilled | None:
        begun = int((T0 - 80_000) * 1e9)
        if name == "primary-crashed":
            return Drilled(name, load(name).sha256, begun, Verdict.PASS, "", 183.4)
        if name == "link-cut":
            why = "pair.gated is yes: it is no"
            return Drilled(name, "of another text", begun, Verdict.FAIL, why, None)
        return None


class Still(Clock):
    """A time that does not pass."""

    def __init__(self, at: float) -> None:
        self._at = at

    def now(self) -> float:
        return self._at


class Calm(ReplaySource):
    """A recording that looks like a pair."""

    is_live = True

    def marks(self) -> list[tuple[str, Tone]]:
        return []


def desk(folder: Path, at_s: float, *, light: bool = False) -> ConsoleApp:
    """The console in which the story stands still at `at_s`, with its log and its hands. Its
    recording is made in `folder`, once."""
    path = folder / "story.jsonl"
    if not path.exists():
        recording(path, story(BEFORE_S))
    source = Calm(path, BEFORE_S + at_s)
    source.player.paused = True
    source.clock = Still(T0 + at_s)
    app = ConsoleApp(source, Options("ann", alert="none", light=light, by_key=True))
    app.hands, app.logbook, app.shelf = StoryHands(), StoryBook(), StoryShelf()
    return app
