"""Who sends what is no message: counted per peer and by time, with bounds of their own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from interlock.shared import misconduct
from interlock.shared.limits import (
    BAD_SECONDS,
    BAN_SECONDS,
    MAX_BAD_FRAMES,
    MAX_BAN_SECONDS,
    MAX_MISBEHAVING,
)
from interlock.shared.misconduct import Misconduct

S = 1_000_000_000
START = 1_000_000 * S


def offend(conduct: Misconduct, peer: str | bytes = "p", at_ns: int = START) -> None:
    """As many bad frames at one moment as it takes; the last one is told to be."""
    told = [conduct.bad(peer, at_ns) for _ in range(MAX_BAD_FRAMES)]
    assert told == [False] * (MAX_BAD_FRAMES - 1) + [True]


def test_a_ban_begins_with_the_frame_that_is_one_too_many_and_ends_by_time() -> None:
    conduct = Misconduct()
    for _ in range(MAX_BAD_FRAMES - 1):
        assert not conduct.bad("p", START)
        assert not conduct.is_banned("p", START)
    assert conduct.bad("p", START)
    end = START + BAN_SECONDS * S
    assert conduct.is_banned("p", START)
    assert conduct.is_banned("p", end - 1)
    assert conduct.banned(end - 1) == ["p"]
    assert not conduct.is_banned("p", end)
    assert conduct.banned(end) == []


def test_a_ban_is_for_one_peer() -> None:
    """A key and a connection of the same bytes are two: one is text, the other is not."""
    conduct = Misconduct()
    offend(conduct, "p")
    assert not conduct.is_banned("q", START)
    assert not conduct.is_banned(b"p", START)
    assert conduct.banned(START) == ["p"]


def test_a_client_with_a_bug_now_and_then_is_never_banned() -> None:
    """One bad frame less than the bound in each window, for an hour."""
    conduct = Misconduct()
    at_ns = START
    while at_ns < START + 3_600 * S:
        assert not any(conduct.bad("p", at_ns) for _ in range(MAX_BAD_FRAMES - 1))
        at_ns += BAD_SECONDS * S + 1
    assert not conduct.is_banned("p", at_ns)


def test_a_window_holds_its_last_moment() -> None:
    conduct = Misconduct()
    for _ in range(MAX_BAD_FRAMES - 1):
        conduct.bad("p", START)
    assert conduct.bad("p", START + BAD_SECONDS * S)


def test_each_further_ban_is_twice_as_long_up_to_a_bound() -> None:
    conduct, at_ns, lengths = Misconduct(), START, []
    for _ in range(14):
        offend(conduct, at_ns=at_ns)
        seconds = 1
        while conduct.banned(at_ns + seconds * S):
            seconds += 1
        lengths.append(seconds)
        at_ns += seconds * S
    doubled = [BAN_SECONDS << number for number in range(14)]
    assert lengths == [min(seconds, MAX_BAN_SECONDS) for seconds in doubled]
    assert lengths[-1] == MAX_BAN_SECONDS


def test_after_a_ban_the_count_begins_anew() -> None:
    """One more bad frame would otherwise ban it again, for a mistake."""
    conduct = Misconduct()
    offend(conduct)
    later = START + BAN_SECONDS * S
    assert not conduct.bad("p", later)
    assert not conduct.is_banned("p", later)


def test_what_is_remembered_is_bounded() -> None:
    """Without keys a peer is a connection, and an attacker has as many of them as he likes."""
    conduct = Misconduct()
    for number in range(3 * MAX_MISBEHAVING):
        offend(conduct, b"%d" % number)
        conduct.bad(b"other-%d" % number, START)
    tables = [table for table in vars(conduct).values() if isinstance(table, dict)]
    assert len(tables) == 3
    assert all(len(table) <= MAX_MISBEHAVING for table in tables)
    newest = b"%d" % (3 * MAX_MISBEHAVING - 1)
    assert conduct.is_banned(newest, START), "the newest is kept, the oldest gives way"
    assert not conduct.is_banned(b"0", START)


def test_a_banned_one_who_goes_on_does_not_push_others_out() -> None:
    conduct = Misconduct()
    for number in range(MAX_MISBEHAVING):
        offend(conduct, b"%d" % number)
    for _ in range(3):
        offend(conduct, b"7")
    assert len(conduct.banned(START)) == MAX_MISBEHAVING


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 5 * BAD_SECONDS)), max_size=60))
def test_it_agrees_with_a_naive_twin(sent: list[tuple[str, int]]) -> None:
    """Bad frames by peer and by the second since the one before, with a bound of three."""
    conduct, at_ns = Misconduct(), START
    windows: dict[str, list[int]] = {}
    ends: dict[str, int] = {}
    bans: dict[str, int] = {}
    before, misconduct.MAX_BAD_FRAMES = misconduct.MAX_BAD_FRAMES, 3
    try:
        for peer, seconds in sent:
            at_ns += seconds * S
            window = windows.setdefault(peer, [])
            if window and at_ns - window[0] > BAD_SECONDS * S:
                window.clear()
            window.append(at_ns)
            full = len(window) == 3
            assert conduct.bad(peer, at_ns) == full
            if full:
                window.clear()
                bans[peer] = bans.get(peer, 0) + 1
                ends[peer] = at_ns + min(BAN_SECONDS * 2 ** (bans[peer] - 1), MAX_BAN_SECONDS) * S
            for each in "xyz":
                assert conduct.is_banned(each, at_ns) == (at_ns < ends.get(each, 0))
    finally:
        misconduct.MAX_BAD_FRAMES = before
