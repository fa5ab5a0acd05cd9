"""Who is at fault decides what happens, so the fault is in the type.

LocalError: our own bug or our own disk. The node stops; going on would risk a promise.
RemoteError: the other end sent something that it must not send. The peer is refused or dropped.
UserError: a person asked for something impossible (config, file, port). One clear sentence, exit 2.

Errors that client applications see derive from `InterlockError` too and live in `client/errors.py`.
"""

from __future__ import annotations

from enum import Enum

from .limits import MAX_TEXT_CHARS


class InterlockError(Exception):
    """Base of every error that Interlock raises on purpose."""


class LocalError(InterlockError):
    """This node cannot go on: a broken invariant, a failed fsync, damage in its own journal."""


class JournalDamage(LocalError):
    """Bytes of the journal that are not what was written, anywhere but in a torn tail.

    `file` is the segment's path, `offset` the byte offset of the damaged record in it and `seq`
    the seq that was expected there.
    """

    def __init__(self, file: str, offset: int, seq: int, what: str) -> None:
        super().__init__(
            f"journal damaged: {what} in {file} at offset {offset}, where seq {seq} was expected; "
            "nothing was changed; repair this journal from the peer's copy"
        )
        self.file = file
        self.offset = offset
        self.seq = seq
        self.what = what


class DiskFull(LocalError):
    """There was no space for the next segment. Met before a seq is given: nothing was written."""


class UserError(InterlockError):
    """A user's mistake, told in one sentence: what is wrong, what was expected, what to do."""


class Reason(Enum):
    """Why something was refused: the code on the wire, in telemetry and in client errors."""

    MALFORMED = "malformed"  # not a message of this protocol
    OVERSIZED = "oversized"  # a message, record or frame above its bound
    WRONG_VERSION = "wrong-version"  # the other end speaks another version of the protocol
    WRONG_CLUSTER = "wrong-cluster"  # the other end belongs to another pair
    WRONG_NODE = "wrong-node"  # the other end is not the node that is expected there
    WRONG_EPOCH = "wrong-epoch"  # an epoch lower than one already promised
    WRONG_ACK_LEVEL = "wrong-ack-level"  # both nodes must run with the same pair.ack_level
    BAD_HASH = "bad-hash"  # a record whose bytes do not match its hash
    BAD_COUNT = "bad-count"  # a count that is zero, too high or not that of the payload
    BAD_NAME = "bad-name"  # a producer name that breaks the rule for names
    GAP = "gap"  # a producer_seq or seq beyond the expected one
    NO_SESSION = "no-session"  # say hello first: this end does not know you (any more)
    TAKEN_OVER = "taken-over"  # a newer session uses this producer name
    NOT_PRIMARY = "not-primary"  # this node takes no submissions now
    BUSY = "busy"  # pending is at its bound, or the node is not ready; try again
    DISK_FULL = "disk-full"  # no space for the next segment; try again
    BEYOND_HEAD = "beyond-head"  # a replay from a seq that is not released yet
    NOT_RETAINED = "not-retained"  # a replay from a seq before the retained log
    DIFFERENT_HISTORY = "different-history"  # the same seq with another hash
    UNREPLICATED_TAIL = "unreplicated-tail"  # a log that goes on otherwise than the leader's
    UNKNOWN_COMMAND = "unknown-command"  # a command that this node does not know
    UNKNOWN_TOKEN = "unknown-token"  # a token that was never given here, or is spent or expired
    UNKNOWN_OPERATION = "unknown-operation"  # this node does not know what became of it
    WORLD_MOVED = "world-moved"  # the pair is not in the state any more that the token is bound to
    GUARD = "guard"  # a guard of the operation fails; the text says which and what would pass
    NOT_CONFIRMED = "not-confirmed"  # confirmation, attestation or approval is missing or differs
    UNDER_WAY = "under-way"  # another operation has not ended yet
    UNKNOWN_KEY = "unknown-key"  # a key that is not allowed here (any more), or none
    NOT_ALLOWED = "not-allowed"  # the key is known, and its roles do not include this
    BANNED = "banned"  # too many bad frames lately: nothing is taken from this peer for a while
    TOO_MANY = "too-many"  # a table of sessions or producers is at its bound


class RemoteError(InterlockError):
    """The peer's fault. `reason` is counted, and told to the sender where there is one.

    `text` is cut to what fits a message: it may quote the peer, and a refusal that the peer cannot
    decode tells it nothing.
    """

    def __init__(self, reason: Reason, text: str) -> None:
        text = text[:MAX_TEXT_CHARS]
        super().__init__(text)
        self.reason = reason
        self.text = text
