"""Clients: producers, consumers and refusals."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll

from ..draw.clients import client_lines
from ..widgets.painted import Painted
from .base import ConsoleScreen


class ClientsScreen(ConsoleScreen):
    """Who submits, who reads, who is refused."""

    PLACE = "Clients"

    def body(self) -> ComposeResult:
        with VerticalScroll(classes="fills"):
            yield Painted(client_lines, grows=True)
