"""The checker of the faults can fail: each way in which an output may lie is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from faults.checker import check, content


def run(count: int = 4) -> tuple[list[str], list[dict[str, Any]]]:
    """What a flawless run leaves: an epoch record at seq 1, and then the messages of "p"."""
    printed: list[dict[str, Any]] = [{"seq": 1, "epoch": 1, "time_ns": 1, "kind": "epoch-opened"}]
    printed += [
        {
            "seq": number + 1,
            "epoch": 1,
            "time_ns": number,
            "producer": "p",
            "producer_seq": number,
            "body": content("p", number),
        }
        for number in range(1, count + 1)
    ]
    return [*(f"{number} {number + 1}" for number in range(1, count + 1)), f"end {count}"], printed


def judge(confirmed: list[str], printed: list[dict[str, Any]]) -> int:
    return check({"p": confirmed}, map(json.dumps, printed))


def test_a_flawless_run_passes() -> None:
    assert judge(*run()) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"seq": 4},
        {"epoch": 0},
        {"time_ns": 0},
        {"producer_seq": 1},
        {"producer": "q"},
        {"body": content("p", 1)},
    ],
)
def test_one_wrong_field_is_told(change: dict[str, Any]) -> None:
    confirmed, printed = run()
    printed[2] |= change
    with pytest.raises(AssertionError):
        judge(confirmed, printed)


@pytest.mark.parametrize(
    "confirmed",
    [
        ["1 2", "2 3", "3 4", "4 5"],
        ["1 2", "2 3", "3 4", "end 3"],
        ["1 2", "2 3", "3 4", "4 5", "5 6", "end 5"],
        ["1 2", "2 3", "2 3", "4 5", "end 4"],
        ["1 2", "2 4", "3 3", "4 5", "end 4"],
    ],
    ids=["no end", "one unsent", "one lost", "confirmed twice", "another seq"],
)
def test_a_wrong_confirmation_is_told(confirmed: list[str]) -> None:
    with pytest.raises(AssertionError):
        judge(confirmed, run()[1])


def test_a_message_that_is_delivered_twice_is_told() -> None:
    confirmed, printed = run()
    printed.append(printed[-1] | {"seq": printed[-1]["seq"] + 1})
    with pytest.raises(AssertionError, match="4 is not 5"):
        judge(confirmed, printed)
