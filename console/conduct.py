"""Carries one workflow out: renews its preflight, sends it, waits for approvals, settles doubts.

Decides when the nodes are asked, nothing of what their answers mean (`workflow`). Runs as one task
beside the screens and goes on when a dialog is closed: an operation does not end because nobody
looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ..shared.operations import Preflight, Receipt
from ..shared.wording import request_text
from .clock import Clock
from .hands import Hands, NotBegun, Trouble
from .inputs import Acted
from .workflow import ENDED, Stage, Workflow

LOOK_EVERY_S: Final = 2.0
ASK_AGAIN_S: Final = 0.5
SETTLE_EVERY_S: Final = 2.0
TOKEN_S: Final = 35.0  # after which a token that was not used can never be used


class Conductor:
    """One operation. `incarnation` tells that of the executing node, or None."""

    def __init__(
        self,
        workflow: Workflow,
        hands: Hands,
        clock: Clock,
        incarnation: Callable[[str], int | None],
        tell: Callable[[Acted], None],
    ) -> None:
        self.workflow = workflow
        self._hands = hands
        self._clock = clock
        self._incarnation = incarnation
        self._tell = tell
        self._given_in: int | None = None  # the run of the node that gave the token
        self._sending = asyncio.Event()
        self._look_now = asyncio.Event()

    async def run(self) -> None:
        """From the first look to the end. Cancel it to leave before anything was sent."""
        await self._look_until_sent()
        await self._execute()
        while self.workflow.stage(self._clock.now()) not in ENDED:
            await self._settle()
            await asyncio.sleep(SETTLE_EVERY_S)

    def look_again(self) -> None:
        """The request has changed: do not wait for the next time."""
        self._look_now.set()

    def send(self) -> bool:
        """Sends it, if everything is there; whether it was."""
        now = self._clock.now()
        if self.workflow.stage(now) is not Stage.READY:
            return False
        self.workflow.send(now)
        self._sending.set()
        self._look_now.set()
        return True

    def give_up_doubt(self, operator: str) -> None:
        """A person has checked what became of it, and says so."""
        now = self._clock.now()
        text = f"{operator} has checked what became of it; the console does not know"
        self.workflow.on_no_trace(text, now)
        self._told("settled by hand", text)

    async def _look_until_sent(self) -> None:
        while not self._sending.is_set():
            self._look_now.clear()
            request = self.workflow.request
            incarnation = self._incarnation(request.node)
            found = await asyncio.to_thread(self._hands.preflight, request)
            if self._sending.is_set():
                return
            if isinstance(found, Trouble):
                if request == self.workflow.request:
                    self.workflow.on_no_preflight(found.text)
            else:
                self._given_in = incarnation
                self.workflow.on_preflight(found, self._clock.now())
            if request == self.workflow.request:
                await self._pause()

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._look_now.wait(), LOOK_EVERY_S)
        except TimeoutError:
            return

    async def _execute(self) -> None:
        flow, preflight = self.workflow, self.workflow.preflight
        assert preflight is not None
        self._told(request_text(flow.request), f"sent, token {flow.token}: {flow.typed.reason}")
        while True:
            found = await asyncio.to_thread(self._hands.execute, preflight, flow.typed)
            now = self._clock.now()
            if isinstance(found, NotBegun) and found.waits and flow.can_wait(now):
                flow.on_waiting(True, now)
                await asyncio.sleep(ASK_AGAIN_S)
                continue
            break
        flow.on_waiting(False, now)
        if isinstance(found, Receipt):
            flow.on_receipt(found, now)
        elif isinstance(found, NotBegun):
            flow.on_refused(found.text, now)
        else:
            flow.on_no_answer(found.text, now)
        self._told(request_text(flow.request), f"{flow.stage(now).name}: {flow.text}")

    async def _settle(self) -> None:
        """Asks what became of an operation that is UNKNOWN."""
        flow, preflight = self.workflow, self.workflow.preflight
        assert preflight is not None
        fate = await asyncio.to_thread(self._hands.fate, preflight, self._given_in)
        now = self._clock.now()
        if flow.stage(now) is not Stage.UNKNOWN:
            return
        if fate.receipt is not None:
            flow.on_receipt(fate.receipt, now)
        elif fate.executor_denies and self._token_is_dead(preflight, now):
            flow.on_no_trace(
                f"{preflight.request.node} never began it, and its token has expired: nothing was "
                "changed",
                now,
            )
        else:
            flow.on_step(fate.step or f"asked both nodes: {fate.text}", now)
            return
        self._told(request_text(flow.request), f"{flow.stage(now).name}: {flow.text}")

    def _token_is_dead(self, preflight: Preflight, now: float) -> bool:
        sent_at = self.workflow.sent_at
        return sent_at is not None and now - sent_at > TOKEN_S

    def _told(self, what: str, text: str) -> None:
        self._tell(Acted(self._clock.now(), self.workflow.typed.operator, what, text))
