"""How a blocking producer waits: never on nothing, never past a deadline, and without spinning."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from interlock.client import ConnectError, Producer
from interlock.client.exchange import Exchange
from interlock.shared.errors import Reason
from interlock.shared.messages import Refused
from interlock.tests.unit.client_fake_node import FakeNode
from interlock.tests.unit.client_kit import SECOND, ProducerDriver
from interlock.tests.unit.test_client_producer import eventually


@pytest.fixture
def node() -> Iterator[FakeNode]:
    node = FakeNode()
    yield node
    node.stop()


def test_an_endpoint_that_takes_nothing_is_left_before_it_could_have_answered() -> None:
    driver = ProducerDriver(endpoints=["tcp://127.0.0.1:9", "tcp://127.0.0.1:10"])
    exchange = Exchange(driver.core)
    exchange.pump(driver.now)
    exchange.pump(driver.now + SECOND // 8)
    assert driver.core.connection.endpoint == "tcp://127.0.0.1:10"
    exchange.close()


def test_who_waits_for_the_socket_is_told_of_an_earlier_deadline(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would sleep for a minute; another thread takes a refusal in, to be tried again in 5 ms."""
    monkeypatch.setattr("interlock.client.line._LEAD_MS", 60_000)
    node.heartbeat_ms = 60_000
    with Producer("p", endpoints=[node.intake]) as producer:
        core, line = producer._core, producer._line
        with node.lock:
            ticket = producer.send(b"x")
            waiter = threading.Thread(target=ticket.result, daemon=True)
            waiter.start()
            eventually(lambda: line._leading)
            with line.lock:
                now = time.monotonic_ns()
                core.on_refused(Refused(Reason.BUSY, "full", core._session, core._attempt, 1), now)
                line.pump(now)
            eventually(lambda: producer.stats.resubmitted == 1)
        waiter.join(60)
        assert ticket.result() == 2


def test_who_waits_for_a_primary_does_not_burn_a_core() -> None:
    start = time.process_time()
    with pytest.raises(ConnectError):
        Producer("p", endpoints=["tcp://127.0.0.1:9"], connect_timeout=1.0)
    assert time.process_time() - start < 0.5
