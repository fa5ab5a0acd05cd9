"""Keys that do not wait for an idle process: a console over a pair is never quite idle, and Textual
then waits for up to two seconds after each. What a test waits for is what it looks for."""

from __future__ import annotations

import asyncio

import pytest


@pytest.fixture(autouse=True)
def _quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    async def a_turn(*_: float) -> None:
        await asyncio.sleep(0.01)

    for module in ("textual.app", "textual.pilot"):
        monkeypatch.setattr(f"{module}.wait_for_idle", a_turn)
