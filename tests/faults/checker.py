"""Judges a run by what came out of it: what producers had confirmed, and what consumers printed.

Decides what "exactly once" means here, and shares no code with the product, whose journals and
status it does not look at. Its inputs are text: a producer's lines `NUMBER SEQ`, closed by
`end COUNT` once all was confirmed, and the JSON lines of `interlock consume --control`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

LONGEST_LINE = 8_192


def content(producer: str, number: int) -> str:
    """The body of a producer's message: unlike every other one, of many sizes, and known to the
    checker."""
    digest = sha256(f"{producer}:{number}".encode()).hexdigest()
    return f"{producer} {number} {digest * (1 + number % 16)}"


def check(confirmed: dict[str, Iterable[str]], printed: Iterable[str]) -> int:
    """Fails at the first broken promise; returns the number of messages that were delivered.

    `confirmed` has the lines of each producer, `printed` those of a consumer that read from seq 1.
    """
    delivered = _delivered(printed)
    strangers = delivered.keys() - confirmed.keys()
    assert not strangers, f"nobody sent what {strangers} is said to have sent"
    for producer, lines in confirmed.items():
        _check_producer(producer, lines, delivered[producer])
    return sum(len(seqs) for seqs in delivered.values())


def _delivered(printed: Iterable[str]) -> defaultdict[str, list[int]]:
    """By producer the seqs of its messages, in the order of its numbers, which begin at 1."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    last: dict[str, Any] = {"seq": 0, "epoch": 0, "time_ns": 0}
    for line in printed:
        one = json.loads(line)
        assert one["seq"] == last["seq"] + 1, f"seq {last['seq']} is followed by {one['seq']}"
        assert one["epoch"] >= last["epoch"], f"the epoch falls at seq {one['seq']}"
        assert one["time_ns"] >= last["time_ns"], f"time goes back at seq {one['seq']}"
        last = one
        if one.get("kind", "data") != "data":
            continue
        producer, seqs = one["producer"], found[one["producer"]]
        seqs.append(one["seq"])
        number = len(seqs)
        assert one["producer_seq"] == number, f"{producer}: {one['producer_seq']} is not {number}"
        assert one["body"] == content(producer, number), f"{producer} {number} was altered"
    return found


def _check_producer(producer: str, lines: Iterable[str], seqs: list[int]) -> None:
    """What was confirmed was delivered, at the seq that the producer was told; and all was."""
    count = 0
    ended = False
    for line in lines:
        word, value = line.split()
        if word == "end":
            ended = True
            assert int(value) == count == len(seqs), (producer, value, count, len(seqs))
            continue
        count += 1
        assert int(word) == count, f"{producer}: {word} was confirmed in the place of {count}"
        assert count <= len(seqs), f"{producer} {count} was confirmed and not delivered"
        assert int(value) == seqs[count - 1], f"{producer} {count}: not delivered at seq {value}"
    assert ended, f"{producer} did not come to an end"


def lines(path: Path) -> Iterator[str]:
    """The complete lines of a file; one that is being written is left out."""
    return iter(path.read_bytes().rpartition(b"\n")[0].decode().splitlines())


def last_line(path: Path) -> str:
    """The last complete line of a file that is being written; "" if it has none."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LONGEST_LINE))
        tail = file.read().rpartition(b"\n")[0]
    return tail.rpartition(b"\n")[2].decode()
