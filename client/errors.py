"""What client applications catch. Each error says what happened and what it leaves unknown.

Decides nothing: cores and shells raise these. A confirmation that did not come is never called a
failure: the message may be in the log, or come to be.
"""

from __future__ import annotations

from ..shared.errors import InterlockError, Reason


class ClientError(InterlockError):
    """Base of the errors of this SDK."""


class ConnectError(ClientError):
    """No node took the session within the time given; nothing was sent."""


class RefusedError(ClientError):
    """A node refused for good: the same again would be refused again. `reason` is its code."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(f"refused ({reason.value}): {text}")
        self.reason = reason
        self.text = text


class TakenOverError(ClientError):
    """Another session uses this producer name; what was not confirmed here is unknown."""


class HistoryError(ClientError):
    """The log is not the one that was seen before: a promise was broken, or it is another log."""


class TimeoutExpired(ClientError, TimeoutError):
    """The time given was over. What was waited for may still happen."""


class ClosedError(ClientError):
    """Used after close, or in another process than the one that made it."""


class MessageTooLarge(ClientError, ValueError):
    """A message above the node's `max_message_bytes`. It got no number; nothing was sent."""


class NoAnswerError(ClientError):
    """A node did not answer a question in time. Nothing was asked to be changed."""


class DeniedError(ClientError):
    """A node does not let this side's key in, or one of both uses keys and the other does not."""


class OperationRefused(ClientError):
    """A node did not begin an operation, or does not give what was asked for: `text` says why."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(f"refused ({reason.value}): {text}")
        self.reason = reason
        self.text = text


class BeyondHeadError(ClientError):
    """Reading was to begin at a seq that no node has released."""

    def __init__(self, from_seq: int, released_seq: int) -> None:
        super().__init__(
            f"seq {from_seq} is beyond the head: the log is released up to {released_seq}; "
            f"read from {released_seq + 1} or before"
        )
        self.from_seq = from_seq
        self.released_seq = released_seq


class NotRetainedError(ClientError):
    """What is to be read next is older than anything that the nodes still keep."""

    def __init__(self, from_seq: int, first_seq: int) -> None:
        super().__init__(
            f"seq {from_seq} is not retained any more: the log is kept from {first_seq} on; "
            f"read from there, or from a copy of the older log"
        )
        self.from_seq = from_seq
        self.first_seq = first_seq
