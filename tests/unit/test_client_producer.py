"""The blocking producer on real sockets, against a node that does what the test says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from interlock.client import (
    ClientError,
    ClosedError,
    ConnectError,
    MessageTooLarge,
    Producer,
    RefusedError,
    TakenOverError,
    TimeoutExpired,
)
from interlock.client.exchange import Exchange
from interlock.shared.errors import Reason, UserError
from interlock.shared.messages import Refused, Submit
from interlock.tests.unit.client_fake_node import FakeNode, bodies_of
from interlock.tests.unit.client_kit import SECOND, ProducerDriver


@pytest.fixture
def node() -> Iterator[FakeNode]:
    node = FakeNode()
    yield node
    node.stop()


def eventually(condition: Callable[[], bool]) -> None:
    """Waits for something that other threads bring about; a minute means never."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)


def test_messages_are_in_the_log_in_order_and_their_tickets_say_where(node: FakeNode) -> None:
    bodies = [b"%d" % number for number in range(2_000)]
    with Producer("p", endpoints=[node.intake]) as producer:
        tickets = [producer.send(body) for body in bodies]
        assert producer.next_producer_seq == 2_001
    assert [ticket.result() for ticket in tickets] == list(range(2, 2_002))
    assert [ticket.producer_seq for ticket in tickets] == list(range(1, 2_001))
    assert bodies_of(node.log, "p") == bodies
    assert producer.confirmed_producer_seq == 2_000
    assert producer.stats.messages == 2_000
    assert producer.stats.records < 1_000, "what accumulates travels together"
    eventually(lambda: node.byes == 1)


def test_one_at_a_time(node: FakeNode) -> None:
    with Producer("p", endpoints=[node.intake]) as producer:
        assert [producer.send(b"x").result() for _ in range(200)] == list(range(2, 202))


def test_a_new_producer_goes_on_and_a_resumed_one_is_recognised(node: FakeNode) -> None:
    with Producer("p", endpoints=[node.intake]) as producer:
        first = [producer.send(b"%d" % number) for number in range(5)]
    with Producer("p", endpoints=[node.intake]) as producer:
        assert producer.next_producer_seq == 6
        producer.send(b"5")
    with Producer("p", endpoints=[node.intake], resume=True) as producer:
        assert producer.next_producer_seq == 7
    assert bodies_of(node.log, "p") == [b"%d" % number for number in range(6)]
    assert first[0].result() == 2


def test_the_pump_finishes_what_the_caller_left(node: FakeNode) -> None:
    """Send and go away: the collected messages are sent and confirmed without another call."""
    with Producer("p", endpoints=[node.intake]) as producer:
        tickets = [producer.send(b"x") for _ in range(10)]
        eventually(lambda: all(ticket.done() for ticket in tickets))
        assert producer.unconfirmed == 0
        time.sleep(0.3)
        assert len(node.hellos) == 1, "an idle session stays"
        assert producer.send(b"y").result() == 12


def test_a_node_that_restarts_costs_nothing_but_time(node: FakeNode) -> None:
    with Producer("p", endpoints=[node.intake]) as producer:
        for round_ in range(3):
            tickets = [producer.send(b"%d" % number) for number in range(300)]
            node.stop()
            node.start()
            tickets += [producer.send(b"%d" % number) for number in range(300, 600)]
            results = [ticket.result() for ticket in tickets]
            assert len(set(results)) == 600
            assert bodies_of(node.log, "p")[600 * round_ :] == [b"%d" % n for n in range(600)]
        assert producer.stats.reconnects >= 1


def test_it_finds_the_other_node(node: FakeNode) -> None:
    other = FakeNode("b")
    other.mute = True
    with Producer("p", endpoints=[node.intake, other.intake]) as producer:
        assert producer.send(b"1").result() == 2
        with node.lock, other.lock:
            node.mute, other.mute = True, False
            other.log, other.table = node.log, node.table
        ticket = producer.send(b"2")
        assert ticket.result() == 3
        assert other.hellos[0].resume
    other.stop()


def test_it_follows_the_leader_that_a_node_names(node: FakeNode) -> None:
    other = FakeNode("b")
    other.refuse_with = Refused(Reason.NOT_PRIMARY, "a standby", leader=["nonsense", node.intake])
    with Producer("p", endpoints=[other.intake]) as producer:
        assert producer.send(b"1").result() == 2
    other.stop()


def test_several_threads_send_and_wait_at_once(node: FakeNode) -> None:
    seqs: list[list[int]] = [[] for _ in range(6)]
    with Producer("p", endpoints=[node.intake]) as producer:

        def work(number: int) -> None:
            for index in range(150):
                seqs[number].append(producer.send(b"%d %d" % (number, index)).result())

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert sorted(seq for each in seqs for seq in each) == list(range(2, 902))
    assert all(each == sorted(each) for each in seqs)
    log = bodies_of(node.log, "p")
    for number in range(6):
        assert [log[seq - 2] for seq in seqs[number]] == [
            b"%d %d" % (number, index) for index in range(150)
        ]


def test_threads_that_only_send_keep_their_own_order(node: FakeNode) -> None:
    with Producer("p", endpoints=[node.intake], window=100) as producer:

        def work(number: int) -> None:
            for index in range(1_000):
                producer.send(b"%d %d" % (number, index))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    log = bodies_of(node.log, "p")
    assert len(log) == 4_000
    for number in range(4):
        mine = [body for body in log if body.startswith(b"%d " % number)]
        assert mine == [b"%d %d" % (number, index) for index in range(1_000)]


def test_a_full_window_blocks_and_a_timeout_leaves_the_message_unsent(node: FakeNode) -> None:
    with Producer("p", endpoints=[node.intake], window=3) as producer:
        node.mute = True
        tickets = [producer.send(b"%d" % number) for number in range(3)]
        with pytest.raises(TimeoutExpired, match=r"no room .* within 0.05 s: 3 messages"):
            producer.send(b"left out", timeout=0.05)
        with pytest.raises(TimeoutExpired, match="may still be"):
            tickets[0].result(timeout=0.05)
        with pytest.raises(TimeoutError, match="3 messages of p were not confirmed"):
            producer.flush(timeout=0.05)
        assert not tickets[0].done()
        node.mute = False
        producer.send(b"3")
    assert bodies_of(node.log, "p") == [b"0", b"1", b"2", b"3"]


def test_what_had_to_wait_for_room_is_sent_and_not_left_lying(node: FakeNode) -> None:
    with Producer("p", endpoints=[node.intake], window=1) as producer:
        for _ in range(10):
            producer.send(b"x")
            assert not producer._core.outbox


def test_busy_is_waited_out(node: FakeNode) -> None:
    refused: list[int] = []

    def busy_thrice(submit: Submit) -> Refused | None:
        if len(refused) == 3:
            return None
        refused.append(submit.attempt)
        return Refused(
            Reason.BUSY, "full", submit.session, submit.attempt, expected=submit.producer_seq
        )

    node.script = busy_thrice
    with Producer("p", endpoints=[node.intake]) as producer:
        assert producer.send(b"x").result() == 2
        assert producer.stats.refused == {"busy": 3}
    assert len(set(refused)) == 3, "each attempt has a number of its own"


def test_what_is_refused_for_good_reaches_every_ticket_and_the_way_out(node: FakeNode) -> None:
    node.script = lambda submit: Refused(Reason.MALFORMED, "not ours", submit.session)
    producer = Producer("p", endpoints=[node.intake])
    ticket = producer.send(b"x")
    for use in (ticket.result, producer.flush, lambda: producer.send(b"y")):
        with pytest.raises(RefusedError, match=r"malformed.*not ours"):
            use()
    with pytest.raises(RefusedError):
        producer.__exit__(None, None, None)


def test_the_newer_session_takes_the_name_over(node: FakeNode) -> None:
    older = Producer("p", endpoints=[node.intake])
    assert older.send(b"1").result() == 2
    with Producer("p", endpoints=[node.intake]) as newer:
        assert newer.send(b"2").result() == 3
        with pytest.raises(TakenOverError, match="another session took over the producer name p"):
            older.send(b"3").result()
    older.close()
    assert bodies_of(node.log, "p") == [b"1", b"2"]


def test_without_a_primary_it_says_where_it_looked() -> None:
    with pytest.raises(ConnectError, match=r"within 0.1 s.*tcp://127.0.0.1:9"):
        Producer("p", endpoints=["tcp://127.0.0.1:9"], connect_timeout=0.1)


def test_a_pump_ends_when_a_hello_that_could_not_be_sent_is_withdrawn() -> None:
    """Nobody listens; the core pauses and takes its hello back."""
    driver = ProducerDriver(endpoints=["tcp://127.0.0.1:9"])
    exchange = Exchange(driver.core)
    exchange.pump(driver.now)
    assert len(driver.core.outbox) == 1
    driver.refuse(Reason.NOT_PRIMARY)
    exchange.pump(driver.now)
    assert driver.core.outbox == []
    exchange.pump(driver.now + SECOND)
    assert len(driver.core.outbox) == 1
    exchange.close()


def test_mistakes_are_told_before_anything_is_sent(node: FakeNode) -> None:
    with pytest.raises(RefusedError, match="bad-name"):
        Producer("has space", endpoints=[node.intake])
    with pytest.raises(UserError, match="either a configuration or endpoints"):
        Producer("p")
    with Producer("p", endpoints=[node.intake]) as producer:
        with pytest.raises(MessageTooLarge, match="1001 bytes"):
            producer.send(b"x" * 1_001)
        assert producer.send(b"x" * 1_000).result() == 2


def test_close_wakes_who_waits_and_says_what_is_unknown(node: FakeNode) -> None:
    producer = Producer("p", endpoints=[node.intake])
    node.mute = True
    ticket = producer.send(b"x")
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            ticket.result()
        except ClientError as error:
            errors.append(error)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    producer.close()
    producer.close()
    for thread in threads:
        thread.join(60)
    assert [type(error) for error in errors] == [ClosedError] * 3
    assert "it may be in the log" in str(errors[0])
    with pytest.raises(ClosedError):
        producer.send(b"y")


def test_an_exception_inside_leaves_without_waiting(node: FakeNode) -> None:
    def leave() -> None:
        with Producer("p", endpoints=[node.intake]) as producer:
            node.mute = True
            producer.send(b"x")
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        leave()


def test_the_measuring_hook_counts_each_message_once(node: FakeNode) -> None:
    found: list[tuple[int, int]] = []
    with Producer("p", endpoints=[node.intake]) as producer:
        producer.on_record_confirmed = lambda rtt_ns, count: found.append((rtt_ns, count))
        for _ in range(1_000):
            producer.send(b"x")
    assert sum(count for _, count in found) == 1_000
    assert all(rtt_ns > 0 for rtt_ns, _ in found)


def test_a_hook_that_raises_ends_the_producer_and_says_so(node: FakeNode) -> None:
    def broken(rtt_ns: int, count: int) -> None:
        raise ZeroDivisionError

    producer = Producer("p", endpoints=[node.intake])
    producer.on_record_confirmed = broken
    ticket = producer.send(b"x")
    eventually(ticket.done)
    with pytest.raises(ClientError, match="ZeroDivisionError"):
        producer.send(b"y").result()
    producer.close()


def test_a_fault_in_the_pump_is_not_silent(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(now_ns: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise ZeroDivisionError

    producer = Producer("p", endpoints=[node.intake])
    monkeypatch.setattr(producer._core, "tick", broken)
    eventually(lambda: producer._core.error is not None)
    with pytest.raises(ClientError, match="ZeroDivisionError"):
        producer.send(b"y")
    producer.close()


@contextmanager
def held(lock: threading.Lock) -> Iterator[None]:
    """Another thread holds the lock, as the pump may at the moment of a fork."""
    taken, over = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            over.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(60)
    yield
    over.set()
    thread.join()


def test_a_forked_child_is_told_and_can_make_its_own(node: FakeNode) -> None:
    with Producer("p", endpoints=[node.intake]) as producer:
        assert producer.send(b"1").result() == 2
        with held(producer._line.lock):
            child = os.fork()
        if child == 0:
            signal.alarm(30)  # a child that hangs must not outlive the test
            code = 1
            try:
                producer.send(b"from the child")
            except ClosedError as error:
                producer.close()
                with Producer("child", endpoints=[node.intake]) as own:
                    own.send(b"hello")
                code = 0 if "parent process" in str(error) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert producer.send(b"2").result() == 4
    assert bodies_of(node.log, "p") == [b"1", b"2"]
    assert bodies_of(node.log, "child") == [b"hello"]


def test_an_exit_without_close_does_not_hang(node: FakeNode) -> None:
    script = (
        "import sys\n"
        "from interlock.client import Consumer, Producer\n"
        "producer = Producer('p', endpoints=[sys.argv[1]])\n"
        "consumer = Consumer(feeds=[sys.argv[2]], replays=[sys.argv[3]])\n"
        "producer.send(b'x').result(); next(iter(consumer))\n"
        "producer.send(b'never waited for')\n"
    )
    code = subprocess.run(
        [sys.executable, "-c", script, node.intake, node.feed, node.replay],
        timeout=60,
        check=False,
    ).returncode
    assert code == 0
