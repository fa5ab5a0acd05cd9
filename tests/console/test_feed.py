"""The feed against sockets of a test: what it takes for news, and what a flood does to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from interlock.console.clock import Clock
from interlock.console.feed import Feed
from interlock.console.inputs import HeadSeen, Heard, Input, Silent
from interlock.shared.commands import ControlRequest, Status
from interlock.shared.config import Config, load_config
from interlock.shared.messages import Codec, Head, encode
from interlock.shared.telemetry import NodeStatus
from support.pair import write_config

from .kit import status


class FakeNode:
    """A node's control, telemetry and feed sockets. Publishes nothing by itself."""

    def __init__(self, config: Config, name: str, says: NodeStatus | None) -> None:
        self.says = says
        self._context: zmq.Context[Any] = zmq.Context()
        node = config.node(name)
        self.telemetry = self._bound(zmq.PUB, node.telemetry)
        self.feed = self._bound(zmq.PUB, node.feed)
        self._control = self._bound(zmq.ROUTER, node.control)
        self._stopping = False
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    def _bound(self, kind: int, endpoint: str) -> Any:
        socket = self._context.socket(kind)
        socket.bind(endpoint)
        return socket

    def _answer(self) -> None:
        requests: Codec[ControlRequest] = Codec(ControlRequest)
        while not self._stopping:
            if self._control.poll(20):
                sender, frame = self._control.recv_multipart()
                requests.decode(frame)
                if self.says is not None:
                    self._control.send_multipart([sender, encode(Status(self.says))])

    def close(self) -> None:
        self._stopping = True
        self._thread.join(5)
        self._context.destroy(linger=0)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    write_config(tmp_path / "interlock.toml")
    return load_config(tmp_path)


@pytest.fixture
def feed(config: Config) -> Iterator[Feed]:
    made = Feed(config, Clock())
    made.start()
    yield made
    made.stop()


def wait(feed: Feed, what: Any, seconds: float = 5.0) -> Input:
    """The first input for which `what` holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for told in feed.take():
            if what(told):
                return told
        time.sleep(0.01)
    raise AssertionError("it did not come")


def test_it_hears_answers_telemetry_and_heads(config: Config, feed: Feed) -> None:
    says = status("a", "primary", "GATED")
    node = FakeNode(config, "a", says)
    try:
        told = wait(feed, lambda one: isinstance(one, Heard) and one.took_ms is not None)
        assert isinstance(told, Heard)
        assert told.status == says
        for _ in range(20):  # a subscription takes a moment
            node.telemetry.send(encode(Status(says)))
            node.feed.send(encode(Head("c", "a", 3, 77)))
            node.feed.send(b"\xc1L records that are not for a console")
            time.sleep(0.02)
        heads = [one for one in feed.take() if isinstance(one, HeadSeen)]
        assert [one.released_seq for one in heads][:1] == [77]
    finally:
        node.close()


def test_one_that_does_not_answer_is_silent_and_so_is_a_stranger(
    config: Config, feed: Feed
) -> None:
    node = FakeNode(config, "a", status("b", "secondary", "IN_SYNC"))
    try:
        told = wait(feed, lambda one: isinstance(one, Silent) and one.node == "a")
        assert isinstance(told, Silent)
        assert told.why == "node b answers at its endpoint"
        silent = wait(feed, lambda one: isinstance(one, Silent) and one.node == "b")
        assert isinstance(silent, Silent)
        assert silent.why == "no answer within 1 s"
    finally:
        node.close()


def test_garbage_is_no_news_and_no_end(config: Config, feed: Feed) -> None:
    node = FakeNode(config, "a", status("a", "primary", "GATED"))
    try:
        end = time.monotonic() + 1.0
        seen: list[Input] = []
        while time.monotonic() < end:
            node.telemetry.send(b"\xff garbage")
            node.feed.send(encode(Head("c", "a", 3, 77))[:6] + b"\xff")
            time.sleep(0.02)
            seen += feed.take()
        assert any(isinstance(one, Silent) and "not understood" in one.why for one in seen)
        assert any(isinstance(one, Heard) for one in seen)
    finally:
        node.close()


def test_a_flood_is_conflated(config: Config, feed: Feed) -> None:
    """Tens of thousands of changes a second become at most ten inputs a second per socket."""
    says = status("a", "primary", "GATED")
    node = FakeNode(config, "a", says)
    frame = encode(Status(says))
    try:
        wait(feed, lambda one: isinstance(one, Heard))
        start, sent = time.monotonic(), 0
        while time.monotonic() < start + 1.0:
            for _ in range(100):
                node.telemetry.send(frame)
            sent += 100
        told = [one for one in feed.take() if isinstance(one, Heard)]
        assert sent > 10_000
        assert 3 <= len(told) <= 15
    finally:
        node.close()
