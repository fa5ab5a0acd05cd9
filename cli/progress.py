"""What an operation does while it is waited for, on a terminal.

Decides nothing, and what it cannot learn it does not show: the end comes from who waits for it.
"""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING

from ..shared.commands import GetOperation, UnderWay
from ..shared.errors import InterlockError
from ..shared.messages import PROTOCOL_VERSION
from ..shared.operations import Preflight
from ..shared.wording import request_text

if TYPE_CHECKING:
    from ..client.control import ControlClient

EVERY_S = 0.5  # an operation that ends sooner shows nothing


def is_watched() -> bool:
    """Whether somebody looks at what is written on stderr."""
    return sys.stderr.isatty()


class Progress:
    """Asks the node for the present step, again and again. A context manager."""

    def __init__(self, control: ControlClient, preflight: Preflight, *, shown: bool) -> None:
        self._control = control
        self._request = preflight.request
        self._question = GetOperation(PROTOCOL_VERSION, preflight.token)
        self._shown = shown and is_watched()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        from rich.console import Console

        what = request_text(self._request)
        with Console(stderr=True, force_terminal=True).status("") as shown:
            shown.stop()
            while not self._over.wait(EVERY_S):
                try:
                    reply = self._control.ask(self._request.node, self._question, EVERY_S)
                except InterlockError:
                    continue
                if isinstance(reply, UnderWay) and not self._over.is_set():
                    shown.update(_plain(f"{what}: {reply.step}"))
                    shown.start()

    def __enter__(self) -> Progress:
        if self._shown:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._shown:
            self._thread.join()


def _plain(text: str) -> str:
    """Text of a node, as it is and on one line, never as markup."""
    from rich.markup import escape

    return escape(" ".join(text.split()))
