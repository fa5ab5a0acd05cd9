"""A seeded flow of orders: adds, cancels and executions of one book, as an exchange would see it.

Decides the content of the demo's load, nothing else. The same seed gives the same bytes for ever,
so a sender and a checker need to agree on the seed only.

Layout of a message, little-endian, padded with zeros to its size: type (A, X or E), side (B or S),
2 bytes of zero, quantity u32, order id u64, price in 1/100 u64, event number u64.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

from ..shared.errors import UserError

EVENT = struct.Struct("<ccxxIQQQ")
LIVE_ORDERS = 10_000


def order_flow(seed: int, size: int) -> Iterator[bytes]:
    """Messages of `size` bytes for ever. Raises UserError if they do not fit an event."""
    if size < EVENT.size:
        raise UserError(f"--size {size}: an order event takes {EVENT.size} bytes at least")
    draw = random.Random(seed).random
    pack, padding = EVENT.pack, bytes(size - EVENT.size)
    live: list[tuple[int, int, bytes]] = []  # order id, price, side
    next_id, mid, number = 1, 2_364_700, 0
    while True:
        number += 1
        chance = draw()
        if len(live) < 100 or (chance < 0.5 and len(live) < LIVE_ORDERS):
            side = b"B" if draw() < 0.5 else b"S"
            away = int(draw() * draw() * 500) + 1
            price = mid - away if side == b"B" else mid + away
            live.append((next_id, price, side))
            yield pack(b"A", side, 1 + int(draw() * 1_000), next_id, price, number) + padding
            next_id += 1
            continue
        index = int(draw() * len(live))
        order, price, side = live[index]
        live[index] = live[-1]
        live.pop()
        kind = b"X" if chance < 0.85 else b"E"
        if kind == b"E":
            mid += 1 if side == b"S" else -1
        yield pack(kind, side, 1 + int(chance * 1_000), order, price, number) + padding
