"""Transcripts of a producer that rides through a change of leader: how soon it finds the new one,
at what pace it asks, and what it sends again. The rules are in `client/connection_core.py`,
`client/dialing_core.py` and `client/holding_core.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from interlock.client.errors import HistoryError
from interlock.shared.errors import Reason
from interlock.shared.messages import ProducerHello, ProducerPing
from interlock.tests.unit.client_kit import MS, ProducerDriver, connected, seqs

A, B = "tcp://a:1", "tcp://b:1"


def dials(driver: ProducerDriver, ms: int, answer: Callable[[str], None]) -> list[tuple[int, str]]:
    """(ms, endpoint) of each dialling within `ms`; `answer` plays the node there, at once."""
    found = []
    start = driver.now
    for _ in range(ms + 1):
        while (endpoint := driver.dialled()) is not None:
            found.append(((driver.now - start) // MS, endpoint))
            driver.pass_ms(0)
            driver.core.outbox.clear()
            answer(endpoint)
        driver.pass_ms(1)
    return found


def test_an_unasked_redirect_is_followed_at_once_with_all_that_is_unconfirmed() -> None:
    driver = connected()
    tickets = driver.send(*[b"x"] * 3)
    driver.confirm((1, 2, 1))
    driver.sent()
    driver.refuse(Reason.NOT_PRIMARY, leader=[B])
    assert driver.dialled() == B
    driver.pass_ms(0)
    [hello] = driver.sent()
    assert isinstance(hello, ProducerHello)
    assert hello.resume
    driver.welcome(3, 1, epoch=2)
    assert [(first, len(bodies)) for _, first, bodies in driver.submitted()] == [(2, 2)]
    driver.confirm((2, 3, 2))
    assert seqs(tickets) == [2, 3, 4]


def test_a_drain_that_ends_in_a_redirect_costs_no_back_off() -> None:
    """Busy, busy, busy; then the lead is handed over: what was held goes to the new leader."""
    driver = connected()
    driver.send(b"x")
    for _ in range(3):
        driver.sent()
        driver.refuse(Reason.BUSY, attempt=driver.core._attempt, expected=1)
        driver.pass_ms(5)
    driver.refuse(Reason.BUSY, attempt=driver.core._attempt, expected=1)
    driver.refuse(Reason.NOT_PRIMARY, leader=[B])
    assert driver.dialled() == B
    driver.pass_ms(0)
    driver.sent()
    driver.welcome(epoch=2)
    assert [first for _, first, _ in driver.submitted()] == [1]


def test_a_leader_that_does_not_know_yet_is_asked_again_after_a_moment() -> None:
    """A hands over; B has not noticed, and names A; A, asked again, names B; now B leads."""
    driver = connected()
    driver.refuse(Reason.NOT_PRIMARY, leader=[B])
    assert driver.dialled() == B
    driver.refuse(Reason.NOT_PRIMARY, leader=[A])
    assert driver.dialled() is None
    driver.pass_ms(5)
    assert driver.dialled() == A
    driver.refuse(Reason.NOT_PRIMARY, leader=[B])
    assert driver.dialled() == B
    driver.welcome(epoch=2)
    assert driver.core.welcomed


def test_two_nodes_that_name_each_other_make_no_busy_loop_and_the_first_that_leads_ends_it() -> (
    None
):
    driver = connected()
    leading: set[str] = set()

    def answer(endpoint: str) -> None:
        if endpoint in leading:
            driver.welcome(epoch=2)
        else:
            driver.refuse(Reason.NOT_PRIMARY, leader=[A if endpoint == B else B])

    driver.refuse(Reason.NOT_PRIMARY, leader=[B])
    found = dials(driver, 1_000, answer)
    assert [at for at, _ in found[:5]] == [0, 5, 5, 15, 15], "soon at first"
    assert {endpoint for _, endpoint in found} == {A, B}
    assert len(found) <= 30
    leading.add(A)
    assert dials(driver, 105, answer)[-1][1] == A


def test_a_hello_that_is_held_is_waited_for() -> None:
    driver = connected()
    driver.refuse(Reason.NOT_PRIMARY, leader=[B])
    assert driver.dialled() == B
    driver.pass_ms(0)
    driver.core.blocked(True, driver.now)
    driver.pass_ms(3)
    driver.sent()
    driver.core.blocked(False, driver.now)
    driver.pass_ms(999)
    assert driver.dialled() is None, "a node that took the hello gets a second"
    driver.welcome(epoch=2)
    assert driver.core.stats.reconnects == 1


def test_who_takes_no_hello_is_left_after_a_short_look_that_grows_now_and_then() -> None:
    driver = ProducerDriver(endpoints=[A])
    looks = []
    for _ in range(9):
        assert driver.dialled() == A
        start = driver.now
        driver.pass_ms(0)
        driver.core.blocked(True, driver.now)
        while driver.core.connection.dial is None:
            driver.pass_ms(1)
        looks.append((driver.now - start) // MS)
    assert looks == [125, 250, 125, 500, 125, 250, 125, 1_000, 125]


def test_a_node_that_was_quick_before_is_looked_at_for_a_shorter_while() -> None:
    driver = connected()
    driver.core.blocked(True, driver.now)
    assert driver.dialled() == B
    driver.refuse(Reason.NOT_PRIMARY, leader=[A])
    assert driver.dialled() is None, "nobody is at A, whatever B says"
    driver.pass_ms(5)
    assert driver.dialled() == A
    driver.core.blocked(True, driver.now)
    driver.pass_ms(49)
    assert driver.dialled() is None
    driver.pass_ms(1)
    assert driver.dialled() == B


def test_a_session_whose_frames_nobody_takes_is_over_at_once() -> None:
    driver = connected()
    driver.send(b"x")
    driver.core.blocked(True, driver.now)
    assert driver.dialled() == B
    assert "the connection to tcp://a:1 is lost" in driver.core.waiting_for()
    driver.welcome(epoch=2)
    assert [first for _, first, _ in driver.submitted()] == [1]


def test_a_killed_primary_is_noticed_within_a_heartbeat_of_an_idle_session() -> None:
    driver = connected()
    driver.pass_ms(100)
    assert isinstance(driver.sent()[0], ProducerPing)
    driver.core.blocked(True, driver.now)
    assert driver.dialled() == B


@pytest.mark.parametrize("died_at_ms", [0, 777, 5_000])
def test_a_promoted_standby_is_found_soon_however_long_nobody_led(died_at_ms: int) -> None:
    """A is dead; B is a standby that names A, until it is promoted."""
    driver = connected()
    promoted = False

    def answer(endpoint: str) -> None:
        if endpoint == A:
            driver.core.blocked(True, driver.now)
        elif promoted:
            driver.welcome(epoch=2)
        else:
            driver.refuse(Reason.NOT_PRIMARY, leader=[A])

    driver.core.blocked(True, driver.now)
    tries = dials(driver, died_at_ms, answer)
    assert len(tries) <= 2 + died_at_ms // 40
    promoted = True
    driver.send(b"x")
    found = dials(driver, 500, answer)
    assert found[-1][1] == B
    assert found[-1][0] <= 210
    assert [first for _, first, _ in driver.submitted()] == [1]


def test_a_primary_of_an_epoch_that_has_ended_gets_nothing() -> None:
    """Frozen, replaced, thawed: it welcomes, but nothing that it takes will ever be confirmed."""
    driver = connected()
    driver.refuse(Reason.NOT_PRIMARY, leader=[B])
    driver.dialled()
    driver.welcome(epoch=3)
    driver.send(b"x")
    driver.sent()
    driver.core.blocked(True, driver.now)
    assert driver.dialled() == A
    driver.welcome(epoch=2)
    assert driver.submitted() == []
    assert "leads epoch 2, but epoch 3 was begun" in driver.core.waiting_for()
    driver.pass_ms(100)
    assert driver.dialled() == B
    driver.welcome(epoch=3)
    assert [first for _, first, _ in driver.submitted()] == [1]


def test_what_the_new_leader_lacks_is_submitted_again() -> None:
    """The old primary had accepted 5, of which 2 were confirmed; the new one holds 3 of them."""
    driver = connected()
    tickets = driver.send(*[b"%d" % number for number in range(1, 6)])
    driver.confirm((1, 2, 1), (2, 3, 1))
    driver.refuse(Reason.NOT_PRIMARY, leader=[B])
    driver.welcome(3, 2, epoch=2)
    assert [first for _, first, _ in driver.submitted()] == [2]
    driver.confirm((2, 3, 4))
    assert seqs(tickets) == [2, 3, 4, 5, 6]


def test_a_new_leader_that_lacks_what_was_confirmed_ends_the_session_with_the_reason() -> None:
    driver = connected()
    driver.send(b"1", b"2")
    driver.confirm((1, 2, 1))
    driver.confirm((2, 3, 1))
    driver.refuse(Reason.NOT_PRIMARY, leader=[B])
    driver.welcome(1, epoch=4)
    assert isinstance(driver.core.error, HistoryError)
    for word in ("epoch 4", "producer_seq 1", "2 was confirmed", "--accept-loss"):
        assert word in str(driver.core.error)
