"""The row of screens: which there are, their keys, and where one is. Can be clicked."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.style import Style
from textual.widgets import Static


class TabBar(Static):
    """`modes` in the order of their keys, `here` the one that is shown."""

    def __init__(self, modes: Sequence[str], here: str) -> None:
        parts: list[Content | str] = []
        for number, mode in enumerate(modes, 1):
            look = "bold reverse $primary" if mode == here else "$foreground"
            label = Content.assemble((f" {number} ", "$accent"), (f"{mode.title()} ", look))
            click = Style.from_meta({"@click": f"app.go('{mode}')"})
            parts.append(label.stylize(click))
        super().__init__(Content.assemble(*parts), id="tabs", markup=False)
