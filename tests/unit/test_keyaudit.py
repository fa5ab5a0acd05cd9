"""What the log is told of a change of keys: as few receipts as hold it, each one a valid record."""

from __future__ import annotations

from itertools import count

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from interlock.primary.sequence import Sequencer
from interlock.shared.epochs import Mode
from interlock.shared.events import KeysChanged
from interlock.shared.handed import Opening
from interlock.shared.keyaudit import keep, receipts
from interlock.shared.limits import MAX_PAYLOAD_BYTES, MAX_RECEIPTS, MAX_TEXT_CHARS
from interlock.shared.log import LogState
from interlock.shared.operations import Operation, Receipt, Request, Result, decode_receipt
from interlock.shared.wire import parse_records

WALL = 1_430_438_400_000_000_000


def changed(*changes: str, by: str = "ann") -> KeysChanged:
    return KeysChanged("9f86d081884c7d65", list(changes), by, lambda key, name: True)


def made(event: KeysChanged) -> list[Receipt]:
    draws = count(1)
    return receipts(event, "a", 7, WALL, lambda: next(draws))


def test_a_change_is_one_receipt() -> None:
    (receipt,) = made(changed("removed key eve (SHA256:00)", "allowed key bob (SHA256:11): peer"))
    assert receipt.request.operation is Operation.KEYS
    assert receipt.request.node == "a"
    assert receipt.request.detail == "9f86d081884c7d65"
    assert receipt.operator == "ann"
    assert receipt.approvers == []
    assert receipt.reason == "removed key eve (SHA256:00); allowed key bob (SHA256:11): peer"
    assert receipt.result is Result.DONE
    assert "9f86d081884c7d65 on node a" in receipt.text
    assert (receipt.epoch, receipt.started_ns, receipt.finished_ns) == (7, WALL, WALL)
    assert receipt.id == f"{1:016x}"


def test_no_change_is_no_receipt() -> None:
    assert made(changed()) == []


@given(st.lists(st.text(max_size=2 * MAX_TEXT_CHARS), max_size=20))
def test_all_changes_are_told_in_order_and_within_bounds(texts: list[str]) -> None:
    found = made(changed(*texts))
    assert all(len(receipt.reason) <= MAX_TEXT_CHARS for receipt in found)
    assert "; ".join(receipt.reason for receipt in found) == "; ".join(
        text[:MAX_TEXT_CHARS] for text in texts
    )
    ids = [receipt.id for receipt in found]
    assert len(set(ids)) == len(ids), "a receipt is logged once for each id"


def test_as_few_receipts_as_hold_it() -> None:
    """Each is a record, and a standby keeps a few of them only until they are in the log."""
    half = "x" * (MAX_TEXT_CHARS // 2 - 1)
    assert len(made(changed(half, half))) == 1
    assert len(made(changed(half, half + "x"))) == 2
    assert len(made(changed(half, half, "x"))) == 2
    assert len(made(changed(*["y" * 90] * 64))) <= 7


def test_a_receipt_is_a_record_of_the_log() -> None:
    log = LogState()
    sequencer = Sequencer(log, "a")
    sequencer.open_epoch(Opening(1, Mode.GATED, "", "test", "", False), 0, WALL)
    (receipt,) = made(changed("x" * MAX_TEXT_CHARS, by="b" * 64))
    raw = sequencer.operation(receipt, 0, WALL).raw
    (record,) = parse_records(raw)
    assert decode_receipt(record) == receipt
    assert len(raw) < MAX_PAYLOAD_BYTES


def test_receipts_about_keys_give_way_before_what_an_operator_did() -> None:
    """Seventeen lists in an hour without a link: the operation before them is still told of."""
    operation = msgspec.structs.replace(
        about_keys("0"), request=Request(Operation.SOLO, "a"), id="the operation"
    )
    kept: list[Receipt] = [operation]
    for number in range(MAX_RECEIPTS + 3):
        kept = keep(kept, about_keys(str(number)))
    assert len(kept) == MAX_RECEIPTS
    assert kept[0] is operation
    assert kept[-1].id == str(MAX_RECEIPTS + 2)
    only = [msgspec.structs.replace(operation, id=str(number)) for number in range(MAX_RECEIPTS)]
    assert [each.id for each in keep(only, about_keys("x"))][-1] != "x"


def about_keys(token: str) -> Receipt:
    (receipt,) = receipts(KeysChanged("d", ["removed x"], "ann", lambda *_: True), "a", 1, 5, int)
    return msgspec.structs.replace(receipt, id=token)
