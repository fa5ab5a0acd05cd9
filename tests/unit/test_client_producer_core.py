"""Transcripts of a producer's session. Each test tells one history; the rules are in
`client/producer_core.py`, `client/connection_core.py` and `client/numbering_core.py`.
"""

from __future__ import annotations

import pytest

from interlock.client.errors import (
    HistoryError,
    MessageTooLarge,
    RefusedError,
    TakenOverError,
)
from interlock.shared.errors import Reason
from interlock.shared.messages import (
    ProducerPong,
)
from interlock.tests.unit.client_kit import MS, SESSION, ProducerDriver, connected, seqs

# Coalescing -----------------------------------------------------------------------------------


def test_a_lone_message_goes_out_at_once() -> None:
    driver = connected()
    driver.send(b"one")
    assert driver.submitted() == [(2, 1, [b"one"])]


def test_what_comes_meanwhile_travels_together_when_the_confirmation_comes() -> None:
    driver = connected()
    driver.send(b"1")
    driver.send(b"2", b"3")
    assert driver.submitted() == [(2, 1, [b"1"])]
    driver.confirm((1, 10, 1))
    assert driver.submitted() == [(2, 2, [b"2", b"3"])]


def test_full_records_do_not_wait_and_partial_ones_do() -> None:
    driver = connected()
    driver.send(*(b"%d" % n for n in range(1, 16)))
    assert [(first, len(bodies)) for _, first, bodies in driver.submitted()] == [
        (1, 1),
        (2, 4),
        (6, 4),
    ]
    driver.confirm((1, 1, 1))  # two are still under way: the full one goes, the partial one waits
    assert [first for _, first, _ in driver.submitted()] == [10]
    driver.confirm((2, 2, 4))
    assert driver.submitted() == []
    driver.confirm((6, 6, 4))  # one is under way
    assert [(first, len(bodies)) for _, first, bodies in driver.submitted()] == [(14, 2)]


def test_a_record_is_bounded_in_bytes() -> None:
    driver = connected(record_bytes=100, record_messages=50)
    driver.send(b"x", *[b"y" * 40] * 3)
    driver.confirm((1, 1, 1))
    assert [len(bodies) for _, _, bodies in driver.submitted()] == [1, 2, 1]


def test_flush_sends_a_partial_record_while_others_are_under_way() -> None:
    driver = connected()
    driver.send(*[b"x"] * 6)
    driver.sent()
    driver.core.flush(driver.now)
    assert [(first, len(bodies)) for _, first, bodies in driver.submitted()] == [(6, 1)]


# The window, and what is refused before it has a number ----------------------------------------


def test_a_full_window_takes_nothing_and_gives_no_number() -> None:
    driver = connected(window=3)
    tickets = driver.send(*[b"x"] * 5)
    assert [batch is not None for batch, _ in tickets] == [True, True, True, False, False]
    assert driver.core.backlog.next == 4
    driver.confirm((1, 1, 1))
    assert driver.send(b"x", b"x")[1] == (None, 0)
    assert driver.core.backlog.next == 5


def test_the_window_is_bounded_in_bytes_but_takes_one_message_of_any_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("interlock.client.backlog.PRODUCER_WINDOW_BYTES", 100)
    driver = connected()
    assert driver.send(b"x" * 500, b"y")[1] == (None, 0)
    driver.confirm((1, 1, 1))
    assert driver.send(b"y")[0][0] is not None


def test_a_message_above_the_nodes_bound_gets_no_number() -> None:
    driver = connected()
    with pytest.raises(MessageTooLarge, match="65537 bytes"):
        driver.send(b"x" * 65_537)
    with pytest.raises(TypeError, match="bytes, not str"):
        driver.send("text")  # type: ignore[arg-type]
    assert driver.core.backlog.next == 1
    driver.send(bytearray(b"fine"))  # type: ignore[arg-type]
    assert driver.submitted() == [(2, 1, [b"fine"])]


@pytest.mark.parametrize(
    ("option", "value"),
    [("window", 0), ("record_messages", 4097), ("record_bytes", 0), ("records_in_flight", 257)],
)
def test_options_have_bounds(option: str, value: int) -> None:
    with pytest.raises(ValueError, match=option):
        ProducerDriver(**{option: value})


# Confirmations ----------------------------------------------------------------------------------


def test_one_record_can_be_confirmed_by_several_runs_and_one_run_can_confirm_several_records() -> (
    None
):
    driver = connected()
    tickets = driver.send(*[b"x"] * 9)
    driver.confirm((1, 50, 1), (2, 70, 2))
    assert [batch.confirmed > index for batch, index in tickets] == [True] * 3 + [False] * 6
    driver.confirm((4, 80, 6))
    assert seqs(tickets) == [50, 70, 71, 80, 81, 82, 83, 84, 85]
    assert driver.core.backlog.unconfirmed == 0
    assert driver.core.stats.messages == 9


def test_a_repeated_confirmation_changes_nothing() -> None:
    driver = connected()
    tickets = driver.send(b"1", b"2")
    driver.confirm((1, 5, 1), (1, 5, 1), (1, 5, 2))
    assert driver.core.backlog.confirmed == 1, "2 was not sent yet"
    driver.confirm((1, 5, 2))
    assert seqs(tickets) == [5, 6]


def test_a_seq_that_nobody_remembers_is_zero_and_not_counted_on() -> None:
    driver = connected()
    tickets = driver.send(*[b"x"] * 5)
    driver.confirm((1, 0, 3), (4, 90, 2))
    assert seqs(tickets) == [0, 0, 0, 90, 91]


def test_confirmations_of_an_earlier_sessions_tail_are_not_ours() -> None:
    """The log holds 10, of which 8 are released; we start with 11; then 9 and 10 are released."""
    driver = connected(10, 8)
    tickets = driver.send(b"ours")
    driver.confirm((9, 100, 2))
    assert driver.core.backlog.unconfirmed == 1
    driver.confirm((9, 100, 3))
    assert seqs(tickets) == [102]


def test_records_can_be_confirmed_before_their_turn_to_be_sent_again_has_come() -> None:
    driver = connected(records_in_flight=1, record_messages=1)
    tickets = driver.send(b"1", b"2", b"3")
    driver.confirm((1, 1, 1), (2, 2, 1))
    driver.refuse(Reason.NO_SESSION)
    driver.send(b"4", b"5")
    driver.welcome(3)
    driver.sent()
    driver.confirm((3, 3, 3))
    assert seqs(tickets) == [1, 2, 3]
    driver.send(b"6")
    assert [first for _, first, _ in driver.submitted()] == [6]


def test_nothing_is_kept_of_confirmed_records() -> None:
    driver = connected()
    tickets = driver.send(*[b"x"] * 5)
    driver.confirm((1, 1, 5))
    assert not driver.core.backlog.sealed
    assert all(batch.payload is None and not batch.bodies for batch, _ in tickets)


def test_a_hole_is_left_aside_until_its_numbers_are_confirmed() -> None:
    """1 was released while the connection was broken, 2 to 5 after; both were accepted before.

    The node confirms 2 to 5 when they are released and 1 when it is submitted again.
    """
    driver = connected()
    tickets = driver.send(*[b"x"] * 5)
    driver.refuse(Reason.NO_SESSION)
    driver.welcome(5, 1)
    driver.confirm((2, 2, 4))
    assert driver.core.backlog.confirmed == 0
    driver.confirm((1, 1, 1), (2, 2, 4))
    assert seqs(tickets) == [1, 2, 3, 4, 5]
    assert driver.core.error is None


def test_a_hole_that_stays_is_closed_by_submitting_again() -> None:
    driver = connected()
    driver.send(*[b"x"] * 5)
    driver.sent()
    driver.confirm((2, 2, 4))
    driver.pass_ms(999)
    assert driver.submitted() == []
    driver.hear(ProducerPong(SESSION, "GATED"))
    driver.pass_ms(1)
    assert [(attempt, first) for attempt, first, _ in driver.submitted()] == [(3, 1), (3, 2)]


def test_what_was_left_aside_is_not_forgotten_when_the_hole_before_it_is_closed() -> None:
    """2 is confirmed before 1: left aside. Then 1 is, and nothing shows 2 any more."""
    driver = connected()
    driver.send(b"1")
    driver.send(b"2", b"3", b"4", b"5")
    driver.sent()
    driver.confirm((2, 2, 4))
    driver.confirm((1, 1, 1))
    assert driver.submitted() == []
    driver.pass_ms(500)
    driver.hear(ProducerPong(SESSION, "GATED"))
    driver.pass_ms(500)
    assert [first for _, first, _ in driver.submitted()] == [2]


def test_a_last_confirmation_that_was_lost_is_asked_for_by_submitting_again() -> None:
    """No later confirmation can show the hole. (Found by a storm of signals: a producer that waited
    for each message waited for ever, while the primary answered its pings.)"""
    driver = connected()
    (ticket,) = driver.send(b"x")
    driver.sent()
    again = 0
    for half_second in range(1, 40):
        driver.pass_ms(500)
        driver.hear(ProducerPong(SESSION, "GATED"))
        found = driver.submitted()
        if found:
            assert [(first, bodies) for _, first, bodies in found] == [(1, [b"x"])]
            again += 1
            assert half_second in (5, 13, 29), "2 s after the state was heard, then 4, then 8"
    assert again == 3
    driver.confirm((1, 10, 1))
    assert seqs([ticket]) == [10]


def test_a_primary_that_releases_nothing_is_not_asked_again() -> None:
    """STALLED it owes no confirmation, and after a stall it gets the time to send them."""
    driver = connected()
    driver.send(b"x")
    driver.sent()
    for _ in range(60):
        driver.pass_ms(500)
        driver.hear(ProducerPong(SESSION, "STALLED"))
    driver.pass_ms(500)
    driver.hear(ProducerPong(SESSION, "GATED"))
    driver.pass_ms(500)
    driver.hear(ProducerPong(SESSION, "GATED"))
    assert driver.submitted() == []


def test_a_primary_that_goes_on_confirming_is_not_asked_again() -> None:
    driver = connected()
    driver.send(*[b"x"] * 9)
    driver.sent()
    for number in range(1, 9):
        driver.pass_ms(450)
        driver.hear(ProducerPong(SESSION, "GATED"))
        driver.confirm((number, number, 1))
        assert all(attempt == 2 for attempt, _, _ in driver.submitted())


# Refusals ---------------------------------------------------------------------------------------


def test_busy_is_waited_out_and_a_burst_of_refusals_counts_once() -> None:
    driver = connected()
    driver.send(*[b"x"] * 9)
    driver.sent()
    for _ in range(3):
        driver.refuse(Reason.BUSY, attempt=2, expected=2)
    assert driver.core.stats.refused == {"busy": 1}
    driver.confirm((1, 1, 1))
    assert driver.submitted() == []
    driver.pass_ms(4)
    assert driver.submitted() == []
    driver.pass_ms(1)
    assert [(attempt, first) for attempt, first, _ in driver.submitted()] == [(3, 2), (3, 6)]


def test_the_back_off_is_half_of_what_was_waited_for_and_starts_anew_after_progress() -> None:
    driver = connected()
    driver.send(b"x")

    def refused_for() -> int:
        driver.sent()
        driver.refuse(Reason.DISK_FULL, attempt=driver.core._attempt, expected=1)
        start = driver.now
        while not driver.submitted():
            driver.pass_ms(1)
            driver.hear(ProducerPong(SESSION, "GATED"))
        return (driver.now - start) // MS

    assert [refused_for() for _ in range(14)] == (
        [5, 5, 5, 8, 12, 18, 27, 40, 60, 90, 135, 203, 250, 250]
    )
    driver.confirm((1, 1, 1))
    driver.send(b"y")
    driver.sent()
    driver.refuse(Reason.BUSY, attempt=driver.core._attempt, expected=2)
    driver.pass_ms(5)
    assert [first for _, first, _ in driver.submitted()] == [2]


def test_a_gap_sends_again_at_once_and_older_refusals_are_ignored() -> None:
    """Records 2 and 6 passed by, 1 was lost: both are refused, the return happens once."""
    driver = connected()
    driver.send(*[b"x"] * 9)
    driver.sent()
    driver.refuse(Reason.GAP, attempt=2, expected=1)
    assert [(attempt, first) for attempt, first, _ in driver.submitted()] == [
        (3, 1),
        (3, 2),
        (3, 6),
    ]
    driver.refuse(Reason.GAP, attempt=2, expected=1)
    driver.refuse(Reason.BUSY, attempt=2, expected=1)
    assert driver.submitted() == []
    driver.refuse(Reason.GAP, attempt=3, expected=2)
    assert [(attempt, first) for attempt, first, _ in driver.submitted()] == [(4, 2), (4, 6)]


def test_a_gap_below_what_is_confirmed_is_settled_by_a_new_welcome() -> None:
    driver = connected()
    driver.send(b"1")
    driver.confirm((1, 1, 1))
    driver.send(b"2")
    driver.sent()
    driver.refuse(Reason.GAP, attempt=2, expected=1)
    assert driver.dialled() == "tcp://a:1"
    driver.welcome(0)
    assert isinstance(driver.core.error, HistoryError)
    assert "1 was confirmed" in str(driver.core.error)


@pytest.mark.parametrize(
    "reason",
    [Reason.MALFORMED, Reason.OVERSIZED, Reason.BAD_NAME, Reason.WRONG_CLUSTER, Reason.BAD_COUNT],
)
def test_a_refusal_that_would_come_again_is_final(reason: Reason) -> None:
    driver = connected()
    driver.send(b"x")
    driver.refuse(reason, attempt=2)
    assert isinstance(driver.core.error, RefusedError)
    assert driver.core.error.reason is reason
    assert "because" in str(driver.core.error)
    with pytest.raises(RefusedError):
        driver.send(b"y")


def test_a_refusal_of_another_session_is_not_ours() -> None:
    driver = connected()
    driver.core._session += 1
    driver.refuse(Reason.TAKEN_OVER)
    assert driver.core.error is None


def test_taken_over_is_final_and_counts_what_is_unknown() -> None:
    driver = connected()
    driver.send(b"1", b"2")
    driver.refuse(Reason.TAKEN_OVER)
    assert isinstance(driver.core.error, TakenOverError)
    assert "2 messages are unconfirmed" in str(driver.core.error)
