"""Where a replay is, and the keys that move it. Pure."""

from __future__ import annotations

from ..player import Player
from ..words import age_text, date_text
from .lines import Line, Tone, line

KEYS = "space pause  , . back/on 10s  < > 1m  [ ] speed"


def transport_line(player: Player, width: int) -> Line:
    """A bar with the place in it."""
    total = age_text(player.recording.ends - player.recording.begins)
    when = f" {date_text(int(player.at * 1e9))} of {total} "
    keys = KEYS if width >= len(when) + len(KEYS) + 12 else "? keys"
    room = max(6, min(40, width - len(when) - len(keys) - 2))
    filled = round(player.share * room)
    return line((f"[{'=' * filled}{'.' * (room - filled)}]", Tone.ACCENT), when, (keys, Tone.DIM))
