"""The help: what the words and keys mean, on one page. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from .lines import Line, Tone, line, wrapped

INDENT: Final = 19
KEYS: Final = (
    ("1 2 3 4 5 6 7", "Overview, Clients, Log, Operations, History, Alarms, Runbooks"),
    ("o", "look at the operation that fits best now; nothing happens before you have typed"),
    ("enter", "open the row under the cursor"),
    ("/", "search the log, filter the history"),
    ("a  A  s  u  r", "on Alarms: acknowledge, acknowledge all, shelve, unshelve, its runbook"),
    ("x  n  v  w  e", "in a runbook: done by hand, other node is old, text, write to a file, end"),
    ("f  h", "on Log: follow its end; in a record: text or hex"),
    ("w  l", "on History: write what is shown to files; look further back"),
    ("p  r", "on Operations: approve another's; show the one under way"),
    ("space , . < > [ ]", "in a replay: pause, 10 s back or on, 1 m back or on, slower, faster"),
    ("ctrl+p", "every command, by name"),
    ("t", "light or dark"),
    ("ctrl+q", "leave the console; nothing else ends with it"),
)
WORDS: Final = (
    ("12", "fresh: as new as it can be"),
    ("12 (2s)", "late: this value is two seconds old"),
    ("~12 14s", "stale: of the past; nothing may be decided on it"),
    ("---", "not known"),
    ("gate OPEN", "messages are released as the standby acknowledges them"),
    ("gate HELD", "STALLED: nothing is released, because the standby is away; nothing is lost"),
    ("UNPROTECTED", "solo: released without a standby, on one disk only"),
    ("promotable", "this standby certainly holds everything that was released"),
    ("■ 1  ▲ 2  ● 3", "critical: now; warning: within minutes; advisory: today"),
)
LOST: Final = (
    """The primary is lost? Wait until the overview says so, and press o: it opens promote on the
    standby. You attest that the old primary is stopped; stop it first. With `release alone at
    once` service is back at once, unprotected, until a standby follows again.""",
    """A fenced node comes back? Press o: it opens reinstate. What only that node holds is kept in
    quarantine.""",
    """UNKNOWN means that it may have happened. The console asks both nodes until it knows, and
    begins nothing else before.""",
)


def help_lines(width: int) -> list[Line]:
    rows: list[Line] = [line(("keys", Tone.TITLE)), *_listed(KEYS, width)]
    rows += [line(), line(("what is shown", Tone.TITLE)), *_listed(WORDS, width)]
    rows += [line(), line(("what to do", Tone.TITLE))]
    for text in LOST:
        rows += wrapped(" ".join(text.split()), width)
    return rows


def _listed(entries: Iterable[tuple[str, str]], width: int) -> list[Line]:
    rows = []
    for word, text in entries:
        first, *rest = wrapped(text, width - INDENT)
        rows.append([*line((f"{word:<{INDENT}}", Tone.ACCENT)), *first])
        rows += [[*line(" " * INDENT), *more] for more in rest]
    return rows
