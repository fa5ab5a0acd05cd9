"""Interlock: a gating primary/secondary sequencer.

The public API is what `__all__` names: the client SDK and its errors. It is loaded on first use,
because a node and the command line import this package too and must not pay for the SDK.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client import (
        AsyncConsumer,
        AsyncProducer,
        AsyncTicket,
        BeyondHeadError,
        ClientError,
        ClosedError,
        ConnectError,
        Consumer,
        HistoryError,
        Message,
        MessageTooLarge,
        NotRetainedError,
        Producer,
        RefusedError,
        TakenOverError,
        Ticket,
        TimeoutExpired,
    )

__version__ = "0.1.0"

__all__ = [
    "AsyncConsumer",
    "AsyncProducer",
    "AsyncTicket",
    "BeyondHeadError",
    "ClientError",
    "ClosedError",
    "ConnectError",
    "Consumer",
    "HistoryError",
    "Message",
    "MessageTooLarge",
    "NotRetainedError",
    "Producer",
    "RefusedError",
    "TakenOverError",
    "Ticket",
    "TimeoutExpired",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import client

    value: object = getattr(client, name)
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
