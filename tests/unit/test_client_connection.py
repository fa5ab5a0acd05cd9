"""Transcripts of a producer that changes connections: whom it dials, and which numbers it goes on
with. The rules are in `client/connection_core.py` and `client/numbering_core.py`.
"""

from __future__ import annotations

from interlock.client.errors import (
    ClosedError,
    HistoryError,
    RefusedError,
    TakenOverError,
)
from interlock.shared.errors import Reason
from interlock.shared.messages import (
    Confirmed,
    ProducerBye,
    ProducerHello,
    ProducerPing,
    ProducerPong,
    Submit,
)
from interlock.shared.producers import Run
from interlock.tests.unit.client_kit import MS, SESSION, ProducerDriver, connected, seqs

# Connections -------------------------------------------------------------------------------------


def test_hello_is_repeated_and_then_the_next_endpoint_is_tried() -> None:
    driver = ProducerDriver()
    assert driver.dialled() == "tcp://a:1"
    [hello] = driver.sent()
    assert isinstance(hello, ProducerHello)
    assert (hello.producer, hello.session, hello.resume) == ("p", SESSION, False)
    driver.pass_ms(999)
    assert [type(message) for message in driver.sent()] == [ProducerHello]
    assert driver.dialled() is None
    driver.pass_ms(1)
    assert driver.dialled() == "tcp://b:1"
    driver.pass_ms(999)
    assert driver.dialled() is None
    driver.pass_ms(1)
    assert driver.dialled() == "tcp://a:1", "a round that took so long is followed at once"


def test_hellos_do_not_pile_up_while_nobody_is_connected() -> None:
    driver = ProducerDriver()
    driver.pass_ms(900)
    assert len(driver.core.outbox) == 1


def test_a_node_that_is_not_primary_says_where_the_leader_is() -> None:
    driver = ProducerDriver()
    driver.dialled()
    driver.refuse(Reason.NOT_PRIMARY, leader=["tcp://c:1"])
    assert driver.dialled() == "tcp://c:1"
    driver.refuse(Reason.NOT_PRIMARY, leader=["tcp://a:1"])
    assert driver.dialled() == "tcp://b:1", "a was tried in this round"
    driver.refuse(Reason.NOT_PRIMARY, leader=["tcp://c:1"])
    assert driver.dialled() is None, "all were tried just now: a pause"
    driver.welcome()
    assert not driver.core.welcomed, "what comes on a connection that was given up is void"
    driver.pass_ms(4)
    assert driver.dialled() is None
    driver.pass_ms(1)
    assert driver.dialled() == "tcp://c:1", "the leader that was named last"


def test_a_busy_node_is_asked_again_before_the_next_is_tried() -> None:
    driver = ProducerDriver()
    driver.dialled()
    driver.sent()
    greeted = []
    for _ in range(8):
        driver.refuse(Reason.BUSY)
        start = driver.now
        while not driver.sent():
            driver.pass_ms(1)
        greeted.append((driver.now - start) // MS)
    assert greeted == [5, 10, 20, 40, 80, 160, 250, 250]
    assert driver.dialled() is None
    assert "busy: because" in driver.core.waiting_for()
    driver.pass_ms(1_000 - sum(greeted))
    assert driver.dialled() == "tcp://b:1"


def test_a_node_that_forgot_the_session_is_greeted_again_and_gets_all_that_is_unconfirmed() -> None:
    driver = connected()
    driver.send(*[b"x"] * 9)
    driver.confirm((1, 1, 1), (2, 2, 2))
    driver.sent()
    driver.refuse(Reason.NO_SESSION)
    assert driver.dialled() == "tcp://a:1"
    driver.pass_ms(0)
    [hello] = driver.sent()
    assert isinstance(hello, ProducerHello)
    assert hello.resume
    driver.welcome(5, 3)
    assert [(first, len(bodies)) for _, first, bodies in driver.submitted()] == [(2, 4), (6, 4)]
    assert driver.core.stats.reconnects == 1
    assert driver.core.stats.resubmitted == 2


def test_a_node_that_is_no_longer_primary_is_left_and_nothing_is_lost() -> None:
    driver = connected()
    tickets = driver.send(b"1", b"2")
    driver.refuse(Reason.NOT_PRIMARY, attempt=2, leader=["tcp://b:1"])
    assert driver.dialled() == "tcp://b:1"
    driver.welcome(1)
    assert [(first, len(bodies)) for _, first, bodies in driver.submitted()] == [(1, 1), (2, 1)]
    driver.confirm((1, 1, 1), (2, 9, 1))
    assert seqs(tickets) == [1, 9]


def test_silence_after_something_was_sent_leads_to_the_next_node() -> None:
    driver = connected()
    driver.send(b"x")
    driver.pass_ms(999)
    assert driver.dialled() is None
    driver.pass_ms(1)
    assert driver.dialled() == "tcp://b:1"
    assert "tcp://a:1 does not answer" in driver.core.waiting_for()


def test_a_node_that_was_good_is_left_for_one_that_was_not() -> None:
    driver = ProducerDriver()
    driver.refuse(Reason.NOT_PRIMARY)
    assert driver.dialled() == "tcp://b:1"
    driver.welcome()
    driver.send(b"x")
    driver.pass_ms(1_000)
    assert driver.dialled() == "tcp://a:1"


def test_an_idle_session_pings_and_an_answer_keeps_it() -> None:
    driver = connected()
    for _ in range(30):
        driver.pass_ms(100)
        assert [type(message) for message in driver.sent()] == [ProducerPing]
        driver.hear(ProducerPong(SESSION, "STALLED"))
    assert driver.dialled() is None
    assert "STALLED: its standby does not acknowledge" in driver.core.waiting_for()


def test_a_process_that_was_suspended_does_not_blame_the_node() -> None:
    """Stopped for a minute: nothing was heard for a minute, and nothing was asked."""
    driver = connected()
    driver.now += 60_000 * MS
    driver.core.tick(driver.now)
    assert driver.dialled() is None
    assert [type(message) for message in driver.sent()] == [ProducerPing]


def test_a_busy_session_needs_no_pings() -> None:
    driver = connected()
    for number in range(1, 50):
        driver.send(b"x")
        driver.pass_ms(10)
        driver.confirm((number, number, 1))
    assert {type(message) for message in driver.sent()} == {Submit}


def test_senseless_bytes_cost_the_connection_and_nothing_else() -> None:
    driver = connected()
    driver.send(b"x")
    driver.sent()
    driver.core.received(b"\xc1garbage", driver.now)
    assert driver.dialled() == "tcp://b:1"
    driver.welcome()
    assert [first for _, first, _ in driver.submitted()] == [1]


def test_an_endpoint_that_cannot_be_connected_to_is_passed_over() -> None:
    driver = ProducerDriver()
    driver.dialled()
    driver.core.unreachable("no endpoint", driver.now)
    assert driver.dialled() == "tcp://b:1"
    assert "no endpoint" in driver.core.waiting_for()


def test_a_confirmation_that_comes_before_the_welcome_is_void() -> None:
    driver = connected()
    driver.send(b"x")
    driver.refuse(Reason.NO_SESSION)
    driver.hear(Confirmed(SESSION, 1, [Run(1, 1, 1)]))
    assert driver.core.backlog.unconfirmed == 1


def test_close_says_goodbye_and_ends_everything() -> None:
    driver = connected()
    driver.send(b"x")
    driver.sent()
    driver.core.close()
    assert [type(message) for message in driver.sent()] == [ProducerBye]
    assert isinstance(driver.core.error, ClosedError)
    driver.core.close()
    assert driver.sent() == []


# Numbers -----------------------------------------------------------------------------------------


def test_a_fresh_producer_goes_on_after_what_is_in_the_log() -> None:
    driver = connected(41, 40)
    driver.send(b"x")
    assert [first for _, first, _ in driver.submitted()] == [42]


def test_a_resumed_producer_numbers_on_from_what_is_confirmed() -> None:
    """What it sends again is answered with the seqs that it has, in part before it is sent."""
    driver = connected(45, 40, resume=True)
    driver.confirm((41, 90, 5))  # released meanwhile, not submitted again yet
    tickets = driver.send(b"41", b"42")
    assert [first for _, first, _ in driver.submitted()] == [41]
    driver.confirm((41, 90, 1))
    driver.confirm((42, 91, 1))
    assert seqs(tickets) == [90, 91]


def test_the_unreleased_tail_of_an_earlier_session_dies_and_our_messages_get_its_numbers() -> None:
    driver = connected(100, 90)
    tickets = driver.send(*[b"x"] * 6)
    assert [batch.first + index for batch, index in tickets] == [101, 102, 103, 104, 105, 106]
    driver.refuse(Reason.NO_SESSION)
    driver.welcome(92, 90)
    assert [batch.first + index for batch, index in tickets] == [93, 94, 95, 96, 97, 98]
    assert [(first, len(bodies)) for _, first, bodies in driver.submitted()] == [(93, 1), (94, 4)]
    driver.send(b"y")
    assert driver.core.backlog.next == 100
    driver.confirm((93, 1, 5))
    driver.confirm((98, 6, 1))
    assert seqs(tickets) == [1, 2, 3, 4, 5, 6]


def test_a_log_that_lost_what_was_released_ends_the_session_even_if_nothing_of_ours_was() -> None:
    driver = connected(100, 90)
    driver.refuse(Reason.NO_SESSION)
    driver.welcome(89, 89)
    assert isinstance(driver.core.error, HistoryError)


def test_a_confirmed_message_that_is_gone_ends_the_session() -> None:
    driver = connected()
    driver.send(b"1", b"2")
    driver.confirm((1, 1, 1))
    driver.refuse(Reason.NO_SESSION)
    driver.welcome(0)
    assert isinstance(driver.core.error, HistoryError)
    assert "producer_seq 0 of p, but 1 was confirmed" in str(driver.core.error)


def test_numbers_that_somebody_else_used_are_not_taken_for_ours() -> None:
    """Sent up to 2; cut off; another session used the name up to 50; the node forgot both.

    Submitting 1 and 2 again would be confirmed with the seqs of somebody else's messages.
    """
    driver = connected()
    driver.send(b"1", b"2")
    driver.refuse(Reason.NO_SESSION)
    driver.welcome(50)
    assert isinstance(driver.core.error, TakenOverError)
    assert driver.submitted() == []


def test_another_cluster_is_no_place_for_our_messages() -> None:
    driver = connected()
    driver.send(b"1")
    driver.refuse(Reason.NO_SESSION)
    driver.welcome(1, cluster="another")
    assert isinstance(driver.core.error, RefusedError)
    assert driver.core.error.reason is Reason.WRONG_CLUSTER
