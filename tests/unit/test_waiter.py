"""The waiter, whose one danger is a message that waits for an edge that has passed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
import zmq

from interlock.shared.nodeio import LOOK_EVERY_NS, NodeIO
from interlock.shared.sockets import Socket, make_socket, readable, receive_routed, send_to
from interlock.shared.waiter import Waiter

Pair = tuple[Waiter, Socket, Socket]
LONG_MS = 20_000


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A waiter that watches a ROUTER, and a DEALER that talks to it."""
    context: zmq.Context[Socket] = zmq.Context()
    router, dealer = make_socket(context, zmq.ROUTER), make_socket(context, zmq.DEALER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    dealer.connect(f"tcp://127.0.0.1:{port}")
    waiter = Waiter()
    waiter.add(router)
    yield waiter, router, dealer
    context.destroy(linger=0)


def wait(waiter: Waiter) -> set[object]:
    """What the waiter finds, past wakes for libzmq's own affairs; empty after 20 s."""
    end = time.monotonic() + LONG_MS / 1_000
    while time.monotonic() < end:
        ready = waiter.wait(LONG_MS)
        if found := {one for one in ready if isinstance(one, int) or readable(one)}:
            return found
    return set()


def nothing(waiter: Waiter) -> bool:
    """Whether there is nothing to read, 30 ms long."""
    return not any(readable(one) for one in waiter.wait(30))


def test_it_wakes_for_a_message_and_not_without_one(pair: Pair) -> None:
    waiter, router, dealer = pair
    assert nothing(waiter)
    dealer.send(b"one")
    assert wait(waiter) == {router}
    assert [body for _, _, (body,) in waiter.drain(router, 10, receive_routed)] == [b"one"]
    assert nothing(waiter)


def test_what_a_bounded_read_leaves_is_ready_at_once(pair: Pair) -> None:
    """The data path takes a bounded number per turn; no new edge comes for the rest."""
    waiter, router, dealer = pair
    for number in range(10):
        dealer.send(b"%d" % number)
    seen: list[bytes] = []
    while len(seen) < 10:
        assert wait(waiter) == {router}
        seen += [body for _, _, (body,) in waiter.drain(router, 3, receive_routed)]
    assert seen == [b"%d" % number for number in range(10)]


def test_a_message_that_comes_in_during_a_send_does_not_wait_for_the_next_edge(pair: Pair) -> None:
    """A send lets libzmq take its commands, and with them the edge of what came in meanwhile."""
    waiter, router, dealer = pair
    dealer.send(b"hello")
    assert wait(waiter) == {router}
    peer = next(waiter.drain(router, 1, receive_routed))[0]
    waiter.wait(0)
    for number in range(300):
        dealer.send(b"%d" % number)
        dealer.poll(0)
        send_to(router, peer, b"answer")
        waiter.touch(router)
        seen: list[bytes] = []
        while not seen:
            assert wait(waiter) == {router}
            seen = [body for _, _, (body,) in waiter.drain(router, 10, receive_routed)]
        assert seen == [b"%d" % number]


def test_plain_descriptors_and_removed_sockets(pair: Pair) -> None:
    waiter, router, dealer = pair
    fd = os.eventfd(0)
    waiter.add(fd)
    os.eventfd_write(fd, 1)
    assert wait(waiter) == {fd}
    os.eventfd_read(fd)
    waiter.remove(router)
    dealer.send(b"unheard")
    assert nothing(waiter)
    os.close(fd)


def test_a_burst_is_taken_one_by_one_at_first_and_then_whole(pair: Pair) -> None:
    """A message alone is not followed by a look for another; a socket that had more is drained."""
    waiter, router, dealer = pair
    assert nothing(waiter)
    for number in range(10):
        dealer.send(b"%d" % number)
    taken = []
    while sum(taken) < 10:
        assert wait(waiter) == {router}
        taken.append(len(list(waiter.drain(router, 100, receive_routed))))
    assert taken[0] == 1
    assert max(taken) > 1
    dealer.send(b"alone")
    assert wait(waiter) == {router}
    assert len(list(waiter.drain(router, 100, receive_routed))) == 1
    assert nothing(waiter)


def test_what_messages_come_through_is_not_among_the_seldom_ones(pair: Pair) -> None:
    waiter, router, dealer = pair
    assert waiter.seldom == {router}
    waiter.add(dealer, often=True)
    assert waiter.seldom == {router}
    waiter.remove(router)
    assert not waiter.seldom


def test_a_turn_looks_at_what_is_seldom_when_that_is_ready_or_time_has_passed(pair: Pair) -> None:
    """Or an operator's command would wait for the timer."""
    waiter, router, dealer = pair
    waiter.add(dealer, often=True)
    node = NodeIO.__new__(NodeIO)  # only what `is_due` is about
    node.waiter, node._look_ns = waiter, 0
    assert node.is_due(set(), 1)
    assert not node.is_due({dealer}, 2), "a message is no reason"
    assert node.is_due({dealer, router}, 3)
    assert not node.is_due(set(), 3 + LOOK_EVERY_NS - 1)
    assert node.is_due(set(), 3 + LOOK_EVERY_NS)
