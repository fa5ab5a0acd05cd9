"""What a person types to find a place in the log. Pure.

Decides what a text means: a number is a seq, a time of day or a date is a time, anything else is a
producer's name.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import msgspec

_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?Z?")


class Search(msgspec.Struct, frozen=True):
    """Where to go: one of the fields is set, the others are empty."""

    seq: int = 0
    time_ns: int = 0
    producer: str = ""


def parse_search(text: str, now_ns: int) -> Search | None:
    """`12345`, `03:14`, `03:14:15`, `2026-11-25T03:14:15Z` or `orders`; None: nothing was typed.

    A time of day is the newest one that is not in the future, in UTC.
    """
    text = text.strip()
    if not text:
        return None
    if text.replace(",", "").isdecimal():
        return Search(seq=max(1, min(int(text.replace(",", "")), 2**62 - 1)))
    if match := _TIME.fullmatch(text):
        hour, minute, second = (int(part or 0) for part in match.groups())
        if hour < 24 and minute < 60 and second < 60:
            now = datetime.fromtimestamp(now_ns / 1e9, UTC)
            then = now.replace(hour=hour, minute=minute, second=second, microsecond=0)
            if then > now:
                then -= timedelta(days=1)
            return Search(time_ns=int(then.timestamp()) * 1_000_000_000)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return Search(producer=text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return Search(time_ns=int(moment.timestamp()) * 1_000_000_000)
