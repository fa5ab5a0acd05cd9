"""What the log is told of a change of the allowed keys. Pure.

Decides the receipts: as many changes in each as a record's text holds. They name keys and
fingerprints, never a key.
"""

from __future__ import annotations

from collections.abc import Callable

from .events import KeysChanged
from .limits import MAX_RECEIPTS, MAX_TEXT_CHARS
from .operations import Operation, Receipt, Request, Result


def receipts(
    changed: KeysChanged, node: str, epoch: int, wall_ns: int, draw: Callable[[], int]
) -> list[Receipt]:
    """The receipts of a change that `node` has taken; `draw` returns a random number for each."""
    return [
        Receipt(
            f"{draw():016x}",
            Request(Operation.KEYS, node, detail=changed.digest),
            changed.by,
            [],
            text,
            "",
            Result.DONE,
            f"the list is {changed.digest} on node {node}",
            [],
            epoch,
            wall_ns,
            wall_ns,
        )
        for text in _joined(changed.changes)
    ]


def keep(kept: list[Receipt], receipt: Receipt) -> list[Receipt]:
    """The receipts that a node keeps until they are in the log, with one more. At the bound the
    oldest about keys gives way first: what an operator has done is never dropped for it."""
    found = [*kept, receipt]
    while len(found) > MAX_RECEIPTS:
        oldest = (each for each in found if each.request.operation is Operation.KEYS)
        found.remove(next(oldest, found[0]))
    return found


def _joined(changes: list[str]) -> list[str]:
    texts: list[str] = []
    for change in changes:
        if texts and len(texts[-1]) + 2 + len(change) <= MAX_TEXT_CHARS:
            texts[-1] += f"; {change}"
        else:
            texts.append(change[:MAX_TEXT_CHARS])
    return texts
