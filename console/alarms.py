"""How an alarm lives: raised, acknowledged, latched, shelved, gone. Pure; time is an argument.

Decides the life of alarms, not what is one (`alarm_kinds`).

An alarm that came and went while nobody looked stays, latched, until somebody has acknowledged it:
a link that breaks for ten seconds each hour is news. One that is shelved is out of the way for a
time that was named, never for ever, and is back by itself if its condition still holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final

from .alarm_kinds import KINDS, AlarmKind, Finding
from .view import AlarmView

MAX_SHELVED_S: Final = 8 * 3_600.0


class AlarmState(Enum):
    """Each member says what holds."""

    ACTIVE = "active"  # the condition holds and nobody has said that they know
    ACKNOWLEDGED = "acknowledged"  # it holds and somebody knows
    LATCHED = "latched"  # it is over and nobody has said that they know
    SHELVED = "shelved"  # out of the way until a time that was named


class Alarm:
    """One alarm of one subject."""

    def __init__(self, finding: Finding, now: float) -> None:
        self.key = finding.key
        self.finding = finding
        self.kind: AlarmKind = KINDS[finding.kind]
        self.since = now
        self.holds = True
        self.gone_at: float | None = None
        self.acknowledged_by = ""
        self.shelved_until: float | None = None

    @property
    def state(self) -> AlarmState:
        if self.shelved_until is not None:
            return AlarmState.SHELVED
        if not self.holds:
            return AlarmState.LATCHED
        return AlarmState.ACKNOWLEDGED if self.acknowledged_by else AlarmState.ACTIVE

    def view(self, now: float) -> AlarmView:
        left_s = self.shelved_until - now if self.shelved_until is not None else None
        return AlarmView(
            self.key,
            self.finding.kind,
            self.finding.subject,
            int(self.kind.severity),
            self.kind.title,
            self.finding.text,
            self.state.value,
            self.since,
            max(0.0, (self.gone_at or now) - self.since),
            self.acknowledged_by,
            left_s,
            self.kind.what_to_do,
            self.finding.runbook or self.kind.runbook,
        )


class AlarmBook:
    """All alarms of a console."""

    def __init__(self) -> None:
        self._alarms: dict[str, Alarm] = {}
        self._waiting: dict[str, float] = {}  # condition holds since, not raised yet
        self._new: list[str] = []

    def update(self, findings: Iterable[Finding], now: float) -> None:
        """Takes in what holds now."""
        current = {finding.key: finding for finding in findings}
        self._waiting = {key: at for key, at in self._waiting.items() if key in current}
        for key, finding in current.items():
            alarm = self._alarms.get(key)
            if alarm is None:
                self._wait_or_raise(finding, now)
                continue
            if not alarm.holds:
                self._return(alarm, now)
            alarm.finding, alarm.gone_at = finding, None
        for key, alarm in list(self._alarms.items()):
            if key not in current:
                self._leave(alarm, now)
            if alarm.shelved_until is not None and now >= alarm.shelved_until:
                self._unshelve(alarm)

    def _wait_or_raise(self, finding: Finding, now: float) -> None:
        since = self._waiting.setdefault(finding.key, now)
        if now - since >= KINDS[finding.kind].raise_s:
            del self._waiting[finding.key]
            self._alarms[finding.key] = Alarm(finding, since)
            self._new.append(finding.key)

    def _return(self, alarm: Alarm, now: float) -> None:
        """A latched one whose condition holds again: a new occurrence."""
        alarm.holds, alarm.since, alarm.acknowledged_by = True, now, ""
        if alarm.shelved_until is None:
            self._new.append(alarm.key)

    def _leave(self, alarm: Alarm, now: float) -> None:
        if not alarm.holds:
            return
        alarm.gone_at = alarm.gone_at if alarm.gone_at is not None else now
        if now - alarm.gone_at < alarm.kind.clear_s:
            return
        alarm.holds = False
        if alarm.acknowledged_by and alarm.shelved_until is None:
            del self._alarms[alarm.key]

    def _unshelve(self, alarm: Alarm) -> None:
        alarm.shelved_until = None
        if not alarm.holds:
            del self._alarms[alarm.key]
            return
        alarm.acknowledged_by = ""
        self._new.append(alarm.key)

    # What operators do --------------------------------------------------------------------------

    def acknowledge(self, key: str, operator: str) -> None:
        """Somebody knows. A latched alarm is gone then; one that does not exist is ignored."""
        alarm = self._alarms.get(key)
        if alarm is None:
            return
        alarm.acknowledged_by = operator
        if not alarm.holds and alarm.shelved_until is None:
            del self._alarms[key]

    def acknowledge_all(self, operator: str) -> None:
        for key in list(self._alarms):
            self.acknowledge(key, operator)

    def shelve(self, key: str, seconds: float, now: float) -> None:
        """Out of the way for `seconds`, at most MAX_SHELVED_S."""
        alarm = self._alarms.get(key)
        if alarm is not None:
            alarm.shelved_until = now + min(seconds, MAX_SHELVED_S)

    def unshelve(self, key: str) -> None:
        alarm = self._alarms.get(key)
        if alarm is not None and alarm.shelved_until is not None:
            self._unshelve(alarm)

    # What screens show --------------------------------------------------------------------------

    def take_new(self) -> list[str]:
        """The keys that were raised since the last call: for bell and flash."""
        new, self._new = self._new, []
        return new

    def views(self, now: float) -> list[AlarmView]:
        """Those that need somebody first, the gravest of them first, the newest of those first."""
        shown = [alarm.view(now) for alarm in self._alarms.values()]
        return sorted(shown, key=lambda one: (_ORDER[one.state], one.severity, -one.since))


_ORDER = {"active": 0, "latched": 1, "acknowledged": 2, "shelved": 3}
