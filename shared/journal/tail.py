"""What a stretch of the log holds: how many messages, and whose.

Decides nothing; it is what an operator is shown before something is cut, lost or in doubt. Reads
headers only, and not more of them than a node can count while an operator waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from ..errors import RemoteError
from ..limits import CHUNK_BYTES, MIB
from ..operations import Risk
from ..wire import HEADER, HEADER_BYTES, Kind

# Beyond either, whose messages they are is left open: a node that is asked counts on the thread
# that serves its sockets.
MAX_COUNTED_BYTES: Final = 64 * MIB
MAX_COUNTED_MESSAGES: Final = 1_000_000


def summarize(read: Callable[[int, int], bytes], after_seq: int, last_seq: int, what: str) -> Risk:
    """The messages after_seq+1..last_seq, by producer; control records count under none.

    `read(from_seq, max_bytes)` returns whole records of which the first covers `from_seq`, as
    `Journal.read` does; nothing, where there are none. `producers` is empty if they are too many to
    count, or not all to be read.
    """
    messages = max(0, last_seq - after_seq)
    producers = _count(read, after_seq, last_seq) if messages <= MAX_COUNTED_MESSAGES else {}
    return Risk(what, after_seq + 1, last_seq, messages, producers)


def _count(read: Callable[[int, int], bytes], after_seq: int, last_seq: int) -> dict[str, int]:
    counts: Counter[bytes] = Counter()
    next_seq = after_seq + 1
    seen_bytes = 0
    while next_seq <= last_seq:
        try:
            data = read(next_seq, CHUNK_BYTES)
        except RemoteError:  # not retained any more
            return {}
        seen_bytes += len(data)
        if not data or seen_bytes > MAX_COUNTED_BYTES:
            return {}
        offset = 0
        while offset < len(data) and next_seq <= last_seq:
            _, _, kind, _, length, count, seq, _, name, *_ = HEADER.unpack_from(data, offset)
            ends = min(seq + count - 1, last_seq)
            if kind == Kind.DATA:
                counts[name] += ends + 1 - next_seq
            next_seq = ends + 1
            offset += HEADER_BYTES + length
    return {name.rstrip(b"\0").decode("ascii"): count for name, count in counts.items()}
