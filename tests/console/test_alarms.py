"""Alarms: each condition is found, and an alarm lives as operators expect it to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from interlock.console.alarm_kinds import KINDS, Bounds, Finding, Severity, severity_text
from interlock.console.alarms import MAX_SHELVED_S, AlarmBook
from interlock.console.inputs import HeadSeen, Input
from interlock.console.model import Model
from interlock.shared.telemetry import (
    JournalStatus,
    LinkStatus,
    NodeStatus,
    PendingStatus,
    SecurityStatus,
    Unprotected,
)

from .kit import MIB, SETTING, T0, gated_pair, heard, status

RUNBOOKS = {path.stem for path in (Path(__file__).resolve().parents[2] / "runbooks").glob("*.md")}
LINK = Finding("LINK_DOWN", "a", "a has no link to b")


def well(node: str, at: float, **other: Any) -> NodeStatus:
    role, state = ("primary", "GATED") if node == "a" else ("secondary", "IN_SYNC")
    return msgspec.structs.replace(status(node, role, state, at), **other)


def raised(*nodes: Any, seconds: float = 8.0, head: bool = True) -> set[str]:
    """The kinds of alarms after `seconds` of nodes that say, at each time, what they are given
    for."""
    model = Model(SETTING)
    steps = int(seconds * 4)
    for step in range(steps + 1):
        at = T0 + step / 4
        told: list[Input] = [heard(at, node(at)) for node in nodes]
        if head:
            told.append(HeadSeen(at, "a", 3, 1_000))
        for one in told:
            model.fold(one)
        model.advance(at)
    return {alarm.kind for alarm in model.view(T0 + seconds).alarms}


def a(**other: Any) -> Any:
    return lambda at: well("a", at, **other)


def b(**other: Any) -> Any:
    return lambda at: well("b", at, **other)


def test_a_pair_that_is_well_raises_nothing() -> None:
    assert raised(a(), b()) == set()


FULL = PendingStatus(240_000, 1_000, 5.0, 262_144, 64 * MIB)
SOLO = Unprotected(int(T0 * 1e9), 12, 0)
LOW = JournalStatus("/d", 1, 2, 64 * MIB, 64 * MIB, 100 * MIB)
KEYS = SecurityStatus("SHA256:00", "aaaa", 4, [])
UNREADABLE = SecurityStatus("SHA256:00", "aaaa", 4, [], "allowed.toml is not valid TOML")
BANS = SecurityStatus("SHA256:00", "aaaa", 4, ["key mallory (SHA256:12)"])


@pytest.mark.parametrize(
    ("nodes", "kind"),
    [
        ((a(state="SOLO", mode="solo", unprotected=SOLO), b()), "UNPROTECTED"),
        ((a(state="STALLED"), b()), "STALLED"),
        ((a(link=LinkStatus(peer="b")), b()), "LINK_DOWN"),
        ((a(link=LinkStatus(peer="b", up=True, lag_ms=1_500.0)), b()), "LAG"),
        ((a(pending=FULL), b()), "PENDING_FULL"),
        ((a(state="DIVERGED"), b()), "DIVERGED"),
        ((a(), b(state="FAILED")), "NODE_FAILED"),
        ((a(), b(state="FENCED", fenced="a leads")), "FENCED"),
        ((a(journal=LOW), b()), "DISK_LOW"),
        ((a(), lambda at: well("b", at + 3)), "CLOCK_SKEW"),
        ((lambda at: well("a", at, refused={"intake.gap": int((at - T0) * 50)}), b()), "REFUSALS"),
        ((a(),), "STALE"),
        ((b(state="ORPHANED"),), "NOBODY_LEADS"),
        ((a(), b(role="primary", state="SOLO", epoch=4)), "BOTH_LEAD"),
        ((a(), b(link=LinkStatus(peer="a"))), "WITNESSES"),
        ((a(paused="maintenance"), b()), "PAUSED"),
        ((a(security=UNREADABLE), b(security=KEYS)), "KEYS_ERROR"),
        ((a(security=KEYS), b(security=BANS)), "PEER_BANNED"),
    ],
)
def test_each_condition_is_found(nodes: tuple[Any, ...], kind: str) -> None:
    assert kind in raised(*nodes)


def test_a_silent_feed_is_found_and_one_that_was_never_heard_is_not_called_silent() -> None:
    model = Model(SETTING)
    for step in range(40):
        at = T0 + step / 4
        for one in gated_pair(at, 1_000)[: 3 if step < 8 else 2]:
            model.fold(one)
        model.advance(at)
    assert {alarm.kind for alarm in model.view(T0 + 10).alarms} == {"FEED_SILENT"}
    assert raised(a(), b(), head=False) == set()


OTHER = msgspec.structs.replace(KEYS, ring="bbbb")


@pytest.mark.parametrize("other", [OTHER, None], ids=["another list", "no keys"])
def test_lists_that_differ_for_longer_than_a_change_takes_are_an_alarm(
    other: SecurityStatus | None,
) -> None:
    assert raised(a(security=KEYS), b(security=other), seconds=9) == set()
    assert raised(a(security=KEYS), b(security=other), seconds=11) == {"KEYS_DIFFER"}


def test_equal_lists_and_one_that_is_not_known_are_none() -> None:
    assert raised(a(security=KEYS), b(security=KEYS), seconds=15) == set()
    assert "KEYS_DIFFER" not in raised(a(security=KEYS), seconds=15)


def test_pending_that_grows_is_told_before_it_is_full() -> None:
    def filling(at: float) -> NodeStatus:
        held = int((at - T0) * 4_000)
        return well("a", at, pending=PendingStatus(held, held, 5.0, 262_144, 64 * MIB))

    assert "PENDING_FULL" in raised(filling, b())


def test_what_heals_within_its_delay_rings_no_bell() -> None:
    book = AlarmBook()
    book.update([LINK], T0)
    book.update([], T0 + 0.5)
    book.update([LINK], T0 + 0.7)
    assert book.views(T0 + 0.7) == []
    assert book.take_new() == []


def active(book: AlarmBook | None = None) -> AlarmBook:
    book = book or AlarmBook()
    book.update([LINK], T0)
    book.update([LINK], T0 + 1)
    return book


def states(book: AlarmBook, at: float) -> list[str]:
    return [alarm.state for alarm in book.views(at)]


def test_an_alarm_is_raised_once_and_counts_from_when_it_began() -> None:
    book = active()
    assert book.take_new() == ["LINK_DOWN a"]
    book.update([LINK], T0 + 2)
    assert book.take_new() == []
    (alarm,) = book.views(T0 + 5)
    assert (alarm.state, alarm.since, alarm.for_s) == ("active", T0, 5.0)


def test_one_that_went_unseen_stays_until_somebody_has_seen_it() -> None:
    book = active()
    book.update([], T0 + 2)
    book.update([], T0 + 3)
    assert states(book, T0 + 100) == ["latched"]
    book.acknowledge("LINK_DOWN a", "ann")
    assert states(book, T0 + 100) == []


def test_an_acknowledged_one_goes_by_itself() -> None:
    book = active()
    book.acknowledge("LINK_DOWN a", "ann")
    (alarm,) = book.views(T0 + 2)
    assert (alarm.state, alarm.acknowledged_by) == ("acknowledged", "ann")
    book.update([], T0 + 2)
    book.update([], T0 + 3)
    assert states(book, T0 + 3) == []


def test_a_latched_one_that_returns_is_news() -> None:
    book = active()
    book.take_new()
    book.update([], T0 + 2)
    book.update([], T0 + 3)
    book.update([LINK], T0 + 9)
    assert book.take_new() == ["LINK_DOWN a"]
    assert book.views(T0 + 9)[0].since == T0 + 9


def test_a_shelved_one_is_back_when_its_time_is_over() -> None:
    book = active()
    book.take_new()
    book.shelve("LINK_DOWN a", 60, T0 + 1)
    book.update([LINK], T0 + 60)
    assert states(book, T0 + 60) == ["shelved"]
    assert book.take_new() == []
    book.update([LINK], T0 + 61)
    assert states(book, T0 + 61) == ["active"]
    assert book.take_new() == ["LINK_DOWN a"]


def test_a_shelved_one_that_is_over_is_gone_when_its_time_is() -> None:
    book = active()
    book.shelve("LINK_DOWN a", 60, T0 + 1)
    for second in range(2, 62):
        book.update([], T0 + second)
    assert states(book, T0 + 61) == []


def test_shelving_has_an_end() -> None:
    book = active()
    book.shelve("LINK_DOWN a", 1e9, T0)
    (alarm,) = book.views(T0)
    assert alarm.shelved_for_s == MAX_SHELVED_S


def test_those_that_wait_come_first_and_the_gravest_of_them_before_others() -> None:
    found = [
        Finding("PAUSED", "a", ""),
        Finding("DIVERGED", "a", ""),
        Finding("FENCED", "b", ""),
        Finding("UNPROTECTED", "a", ""),
    ]
    book = AlarmBook()
    book.update(found, T0)
    book.acknowledge("DIVERGED a", "ann")
    shown = [(alarm.kind, alarm.state) for alarm in book.views(T0)]
    assert shown == [
        ("UNPROTECTED", "active"),
        ("FENCED", "active"),
        ("PAUSED", "active"),
        ("DIVERGED", "acknowledged"),
    ]


def test_a_console_that_hears_nobody_says_so_at_once_and_alone() -> None:
    model = Model(SETTING)
    for one in gated_pair(T0, 1_000):
        model.fold(one)
    for second in range(10):
        model.advance(T0 + second)
    kinds = [alarm.kind for alarm in model.view(T0 + 9).alarms]
    assert kinds[0] == "BLIND"
    assert "NOBODY_LEADS" not in kinds


def test_the_runbook_is_that_of_the_node_that_it_is_about() -> None:
    small = {"journal": JournalStatus("/d", 1, 2, 64, 64, 64)}
    inputs = [
        heard(T0, status("a", "primary", "GATED", T0, **small)),
        heard(T0, status("b", "secondary", "IN_SYNC", T0, **small)),
    ]
    model = Model(SETTING)
    for one in inputs:
        model.fold(one)
    model.advance(T0)
    runbooks = {alarm.subject: alarm.runbook for alarm in model.view(T0).alarms}
    assert runbooks == {"a": "disk-full-primary", "b": "disk-full-standby"}


def test_every_alarm_says_what_to_do_and_which_runbook_fits() -> None:
    for kind in KINDS.values():
        assert kind.what_to_do
        assert kind.runbook in RUNBOOKS
    assert severity_text(Severity.CRITICAL) == "■ 1 CRITICAL"
    assert len({severity_text(each) for each in Severity}) == 3
    assert Bounds().lag_ms > 0
