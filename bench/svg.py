"""Charts as SVG text: lines over a plain or logarithmic axis, and bars.

Decides how they look, and is all of the plotting that the benchmark needs: the libraries that draw
more weigh a hundred times the rest of the benchmark, or put scripts into the picture. The same
numbers give the same bytes, so a chart in the repository changes only when its numbers do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 860, 400
LEFT, RIGHT, TOP, BOTTOM = 80, 190, 44, 56  # what is told of each series is on the right
COLOURS = ("#2364aa", "#d1495b", "#3a7d44", "#edae49", "#6a4c93", "#5c677d", "#00798c", "#8d6a3f")
BAR_HEIGHT, BAR_STEP, BAR_LEFT = 22, 34, 300
STYLE = "font-family:sans-serif;font-size:12px;fill:#333"


class Axis:
    """Maps values to pixels; a logarithmic one takes positive values only."""

    def __init__(self, values: Sequence[float], low: float, high: float, *, log: bool) -> None:
        self._log, self._low, self._high = log, low, high
        self._from = min(values) if log else min(0.0, *values)
        self._to = max(values)
        if self._from == self._to:
            self._to = self._from * 10 if log and self._from else self._from + 1

    def at(self, value: float) -> float:
        one, two, here = self._from, self._to, value
        if self._log:
            one, two, here = math.log10(one), math.log10(two), math.log10(value)
        return round(self._low + (here - one) / (two - one) * (self._high - self._low), 1)

    def ticks(self) -> list[float]:
        """Round values within the axis, its ends aside."""
        if self._log:
            powers = range(math.floor(math.log10(self._from)), math.ceil(math.log10(self._to)) + 1)
            steps = (1,) if len(powers) > 3 else (1, 2, 5)
            found = [step * 10.0**power for power in powers for step in steps]
        else:
            span = self._to - self._from
            step = 10.0 ** math.floor(math.log10(span))
            step = next(step * part for part in (0.1, 0.2, 0.5, 1) if span / (step * part) <= 10)
            found = [step * index for index in range(math.ceil(self._to / step) + 1)]
        return [tick for tick in found if self._from <= tick <= self._to]


def number(value: float) -> str:
    """Short, as on an axis: 250k, 1.5M, 0.2."""
    for bound, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= bound:
            return f"{value / bound:.4g}{suffix}"
    return f"{value:.4g}"


def lines(
    title: str,
    x_label: str,
    y_label: str,
    series: Mapping[str, Points],
    *,
    log_x: bool = False,
    log_y: bool = False,
    x_names: Mapping[float, str] | None = None,
) -> str:
    """One line for each series. `x_names`: what stands at these values of x in place of ticks."""
    every = [point for points in series.values() for point in points]
    x = Axis([point[0] for point in every], LEFT, WIDTH - RIGHT, log=log_x)
    y = Axis([point[1] for point in every], HEIGHT - BOTTOM, TOP, log=log_y)
    names = x_names or {tick: number(tick) for tick in x.ticks()}
    parts = [_text(WIDTH / 2, 18, title, "middle", bold=True)]
    for value, name in names.items():
        parts.append(_line(x.at(value), TOP, x.at(value), HEIGHT - BOTTOM, "#ddd"))
        parts.append(_text(x.at(value), HEIGHT - BOTTOM + 18, name, "middle"))
    for value in y.ticks():
        parts.append(_line(LEFT, y.at(value), WIDTH - RIGHT, y.at(value), "#ddd"))
        parts.append(_text(LEFT - 8, y.at(value) + 4, number(value), "end"))
    parts.append(_text(WIDTH / 2, HEIGHT - 12, x_label, "middle"))
    parts.append(_text(LEFT - 60, TOP - 10, y_label, "start"))
    for index, (name, points) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        path = " ".join(f"{x.at(one)},{y.at(two)}" for one, two in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(points) <= 12:
            parts += [_dot(x.at(one), y.at(two), colour) for one, two in points]
        parts.append(_text(WIDTH - RIGHT + 12, TOP + 12 + 18 * index, name, "start", colour=colour))
    return _page(WIDTH, HEIGHT, parts)


def bars(title: str, unit: str, values: Mapping[str, float]) -> str:
    """One bar for each value, the longest as wide as the chart."""
    height = TOP + BAR_STEP * len(values) + 10
    widest, room = max(values.values(), default=1.0) or 1.0, WIDTH - BAR_LEFT - 120
    parts = [_text(WIDTH / 2, 18, title, "middle", bold=True)]
    for index, (name, value) in enumerate(values.items()):
        top, colour = TOP + BAR_STEP * index, COLOURS[index % len(COLOURS)]
        width = round(value / widest * room, 1)
        box = f'x="{BAR_LEFT}" y="{top}" width="{width}" height="{BAR_HEIGHT}"'
        parts.append(f'<rect {box} fill="{colour}"/>')
        parts.append(_text(BAR_LEFT - 8, top + 16, name, "end"))
        parts.append(_text(BAR_LEFT + width + 8, top + 16, f"{number(value)} {unit}", "start"))
    return _page(WIDTH, height, parts)


def _page(width: int, height: int, parts: Sequence[str]) -> str:
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    body = "\n".join([f'<rect width="{width}" height="{height}" fill="#fff"/>', *parts])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} style="{STYLE}">\n{body}\n</svg>\n'


def _text(
    x: float, y: float, text: str, anchor: str, *, bold: bool = False, colour: str = "#333"
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    place = f'x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {place}{weight}>{escape(text)}</text>"


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}"/>'


def _dot(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>'
