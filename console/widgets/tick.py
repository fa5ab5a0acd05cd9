"""A checkbox that tells by its shape, not by its colour alone, whether it is on."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Checkbox


class Tick(Checkbox):
    """`[x] label` or `[ ] label`."""

    @property
    def _button(self) -> Content:
        return Content("[x]" if self.value else "[ ]")
