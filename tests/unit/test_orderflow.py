"""The demo's load: the same seed gives the same bytes, and they look like a book's events."""

from __future__ import annotations

from itertools import islice

import pytest

from interlock.cli.orderflow import EVENT, order_flow
from interlock.shared.errors import UserError


def test_a_seed_is_a_flow() -> None:
    one = list(islice(order_flow(1, 128), 5_000))
    assert one == list(islice(order_flow(1, 128), 5_000))
    assert one != list(islice(order_flow(2, 128), 5_000))
    assert {len(body) for body in one} == {128}


def test_only_live_orders_are_cancelled_or_executed() -> None:
    live: set[int] = set()
    kinds = set()
    for body in islice(order_flow(3, EVENT.size), 50_000):
        kind, _, _, order, _, _ = EVENT.unpack(body)
        kinds.add(kind)
        if kind == b"A":
            assert order not in live
            live.add(order)
        else:
            live.remove(order)
    assert kinds == {b"A", b"X", b"E"}


def test_too_small_a_message_is_refused() -> None:
    with pytest.raises(UserError, match="takes 32 bytes at least"):
        next(order_flow(1, 31))
