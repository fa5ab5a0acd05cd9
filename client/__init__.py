"""The SDK of client applications: producers submit, consumers read what is released."""

from __future__ import annotations

from .aio import AsyncConsumer, AsyncProducer, AsyncTicket
from .consumer import Consumer
from .errors import (
    BeyondHeadError,
    ClientError,
    ClosedError,
    ConnectError,
    HistoryError,
    MessageTooLarge,
    NotRetainedError,
    RefusedError,
    TakenOverError,
    TimeoutExpired,
)
from .producer import Producer, Ticket
from .reading import Message

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
]
