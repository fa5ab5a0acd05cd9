"""Step 6, feed: tells the world what was released.

Decides how released records are grouped into feed frames and into one confirmation per producer.
It is given released records only, so it cannot say too much.
"""

from __future__ import annotations

from ..shared.producers import Run
from .sequence import Sequenced


def confirmations(released: list[Sequenced]) -> dict[str, list[Run]]:
    """By producer: the runs that were released, merged where they touch."""
    found: dict[str, list[Run]] = {}
    for record in released:
        if not record.producer:
            continue
        run = Run(record.producer_seq, record.first_seq, record.count)
        runs = found.setdefault(record.producer, [])
        if runs and runs[-1].seq + runs[-1].count == run.seq:
            last = runs[-1]
            runs[-1] = Run(last.producer_seq, last.seq, last.count + run.count)
        else:
            runs.append(run)
    return found
