"""The history from the log, what it is exported as, and what a search means."""

from __future__ import annotations

import csv
import io

import msgspec
import pytest

from interlock.console.draw.history import event_lines
from interlock.console.draw.lines import text_of
from interlock.console.draw.records import record_cells, record_lines
from interlock.console.search import Search, parse_search
from interlock.console.story import event_shown, matching, to_csv, to_json
from interlock.shared.epochs import EpochClosed, EpochOpened, Mode
from interlock.shared.operations import Check, Operation, Receipt, Request, Result
from interlock.shared.wire import Kind, Record, encode_record, pack_name, parse_record

NOW_NS = 1_800_000_000_000_000_000  # 2027-01-15T08:00:00Z


def record(kind: Kind, payload: object, seq: int = 1, epoch: int = 2, count: int = 1) -> Record:
    raw, _ = encode_record(
        kind, epoch, seq, NOW_NS, pack_name("a"), 0, count, msgspec.msgpack.encode(payload), 0
    )
    return parse_record(memoryview(raw), 0)


RECEIPT = Receipt(
    "00c0ffee",
    Request(Operation.SWITCHOVER, "a"),
    "ann",
    ["bob"],
    "=new [disk]",
    "",
    Result.DONE,
    "b leads",
    [Check("no gap", True, "seq 1 to 9")],
    3,
    NOW_NS,
    NOW_NS + 9_000_000,
    8.5,
)
OPENED = record(Kind.EPOCH_OPENED, EpochOpened(2, "a", Mode.SOLO, 1, "ann", "fire", "t1", True))
CLOSED = record(Kind.EPOCH_CLOSED, EpochClosed(2, "a", "b", True, "ann", "disk", "t2"), 5)
DONE = record(Kind.OPERATION, RECEIPT, 9)
DATA = record(Kind.DATA, [b"one [bold]", b"\x00\xff"], 3, 2, 2)
BROKEN = record(Kind.OPERATION, {"no": "receipt"}, 10)
EVENTS = [event for one in (OPENED, CLOSED, DATA, DONE, BROKEN) if (event := event_shown(one))]


def test_epochs_and_operations_are_history_and_messages_are_not() -> None:
    assert [event.what for event in EVENTS] == [
        "epoch 2 opened, solo",
        "epoch 2 handed over to b",
        "switchover a",
        "operation",
    ]
    assert EVENTS[2].operator == "ann + bob"
    assert "cannot be read" in EVENTS[3].text


def test_every_word_has_to_occur_somewhere() -> None:
    assert [event.seq for event in matching(EVENTS, "ANN Disk")] == [5, 9]
    assert [event.seq for event in matching(EVENTS, "bob done")] == [9]
    assert matching(EVENTS, "bob solo") == []


def test_csv_is_safe_to_open_in_a_spreadsheet() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(EVENTS).decode())))
    assert [row["what"] for row in rows][:3] == [event.what for event in EVENTS[:3]]
    assert rows[2]["reason"] == "'=new [disk]"
    assert rows[2]["time"] == "2027-01-15T08:00:00Z"


def test_json_keeps_the_receipt() -> None:
    lines = [msgspec.json.decode(line) for line in to_json(EVENTS).splitlines()]
    assert msgspec.convert(lines[2]["receipt"], Receipt) == RECEIPT


def test_an_event_in_full_shows_what_was_verified() -> None:
    seen = "\n".join(text_of(line) for line in event_lines(EVENTS[2], 100))
    for part in ("switchover a", "ann + bob", "=new [disk]", "ok  no gap: seq 1 to 9", "8.5 ms"):
        assert part in seen


def test_a_record_is_a_row_and_a_page_in_text_and_hex() -> None:
    cells = record_cells(DATA)
    assert (cells[0], cells[3], cells[5]) == ("3 +1", "data", "one [bold]  and 1 more")
    assert record_cells(OPENED)[5] == "epoch 2 opened, solo by ann  fire"
    text = "\n".join(text_of(line) for line in record_lines(DATA, 80, as_hex=False))
    assert "3  one [bold]" in text
    assert "4  hex 00 ff" in text
    as_hex = "\n".join(text_of(line) for line in record_lines(DATA, 80, as_hex=True))
    assert "000000  92 c4 0a 6f 6e 65" in as_hex
    control = "\n".join(text_of(line) for line in record_lines(OPENED, 80, as_hex=False))
    assert '"leader"' in control


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("12345", Search(seq=12_345)),
        (" 1,234 ", Search(seq=1_234)),
        ("0", Search(seq=1)),
        ("07:30", Search(time_ns=NOW_NS - 1_800 * 10**9)),
        ("07:30:10", Search(time_ns=NOW_NS - 1_790 * 10**9)),
        ("09:00", Search(time_ns=NOW_NS - 23 * 3_600 * 10**9)),  # not yet today: yesterday's
        ("2027-01-15T07:00", Search(time_ns=NOW_NS - 3_600 * 10**9)),
        ("2027-01-15T07:00:00Z", Search(time_ns=NOW_NS - 3_600 * 10**9)),
        ("orders", Search(producer="orders")),
        ("25:00", Search(producer="25:00")),
        ("  ", None),
    ],
)
def test_what_a_search_means(text: str, means: Search | None) -> None:
    assert parse_search(text, NOW_NS) == means
