"""Lines of toned text: what everything is drawn with. Pure.

Decides how text is put side by side and cut to a width. A tone says what a text means; which colour
that is decides `theme`. So the same lines serve the screens and plain output, and nothing that a
node, a producer or a person has named can ever be taken for markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final

from rich.cells import cell_len, set_cell_size

from ..freshness import Freshness


class Tone(Enum):
    """What a text means."""

    PLAIN = "plain"
    DIM = "dim"  # less important, or old
    LABEL = "label"
    TITLE = "title"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    ACCENT = "accent"  # what can be acted on
    ALARM = "alarm"  # a critical alarm: inverse


Span = tuple[str, Tone]
Line = list[Span]

_ELLIPSIS: Final = "…"


def line(*parts: str | Span) -> Line:
    """A line of these parts; a plain string is PLAIN. Line breaks and control characters in it
    become spaces: one line stays one."""
    made: Line = []
    for part in parts:
        text, tone = (part, Tone.PLAIN) if isinstance(part, str) else part
        if text:
            made.append((_flat(text), tone))
    return made


def _flat(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else " " for letter in text)


def text_of(one: Line) -> str:
    """The line without its tones."""
    return "".join(text for text, _ in one)


def width_of(one: Line) -> int:
    """Cells on a terminal."""
    return sum(cell_len(text) for text, _ in one)


def cut(one: Line, width: int) -> Line:
    """At most `width` cells; what was cut ends with an ellipsis."""
    if width_of(one) <= width:
        return one
    left, kept = max(0, width - 1), []
    for text, tone in one:
        size = cell_len(text)
        if size > left:
            kept.append((set_cell_size(text, left) + _ELLIPSIS, tone))
            break
        kept.append((text, tone))
        left -= size
    return kept


def pad(one: Line, width: int) -> Line:
    """Exactly `width` cells."""
    short = width - width_of(one)
    return cut(one, width) if short < 0 else [*one, (" " * short, Tone.PLAIN)] if short else one


def beside(
    left: Sequence[Line], right: Sequence[Line], left_width: int, gap: int = 2
) -> list[Line]:
    """Two blocks side by side."""
    rows = []
    for index in range(max(len(left), len(right))):
        first = left[index] if index < len(left) else []
        second = right[index] if index < len(right) else []
        rows.append([*pad(first, left_width), (" " * gap, Tone.PLAIN), *second])
    return rows


def wrapped(
    text: str, width: int, tone: Tone = Tone.PLAIN, first: str = "", rest: str | None = None
) -> list[Line]:
    """The text in lines of at most `width` cells, broken at spaces. `first` begins the first line,
    `rest` the others; None: as many spaces as `first` is wide."""
    rest = " " * cell_len(first) if rest is None else rest
    rows: list[str] = []
    row, is_empty = first, True
    for word in _flat(text).split(" "):
        if not is_empty and cell_len(row) + 1 + cell_len(word) > width:
            rows.append(row)
            row, is_empty = rest, True
        row += word if is_empty else f" {word}"
        is_empty = False
    rows.append(row)
    return [line((each, tone)) for each in rows]


def table(rows: Iterable[Sequence[Line]], width: int, gap: int = 2) -> list[Line]:
    """Columns as wide as what is in them; the last one is cut to what is left of `width`."""
    cells = [list(row) for row in rows]
    if not cells:
        return []
    count = max(len(row) for row in cells)
    widths = [
        max((width_of(row[column]) for row in cells if column < len(row)), default=0)
        for column in range(count)
    ]
    made = []
    for row in cells:
        out: Line = []
        for column, cell in enumerate(row):
            is_last = column == len(row) - 1
            out += cell if is_last else [*pad(cell, widths[column]), (" " * gap, Tone.PLAIN)]
        made.append(cut(out, width))
    return made


AGE_TONES: Final = {
    Freshness.FRESH: Tone.PLAIN,
    Freshness.LATE: Tone.DIM,
    Freshness.STALE: Tone.DIM,
    Freshness.UNKNOWN: Tone.DIM,
}


def by_age(tone: Tone, freshness: Freshness) -> Tone:
    """The tone of a value, unless it is old: then it must not look live."""
    return tone if freshness is Freshness.FRESH else AGE_TONES[freshness]
