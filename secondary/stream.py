"""The standby's side of the link: what each message of the primary means here.

Decides what may be taken in: only what continues this log, byte for byte, of an epoch not below one
that was promised, and the promise is on the disk first. Writing and acknowledging is the core's.

A broken stream is never patched: anything unexpected ends the session, and a new one (on a new
socket, so that nothing of the old can arrive late) starts from the last record held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from ..shared.config import AckLevel
from ..shared.effects import SendTail, Sync
from ..shared.errors import Reason, RemoteError
from ..shared.limits import CHUNK_BYTES
from ..shared.messages import (
    LinkBeat,
    LinkEngage,
    LinkFetch,
    LinkPromise,
    LinkPromised,
    LinkRecords,
    LinkWelcome,
    Refused,
)
from ..shared.roles import NodeState
from ..shared.wire import Position, parse_records
from .events import FromPrimary

if TYPE_CHECKING:
    from .core import SecondaryCore

MS = 1_000_000


class Stream:
    """Takes the primary's messages in, for one core."""

    def __init__(self, core: SecondaryCore) -> None:
        self._core = core

    def handle(self, event: FromPrimary, now_ns: int) -> None:
        core = self._core
        message = event.message
        if not core.dialled or message.session != core.session:
            core.counters.count("stale-link-messages")
            return
        core.heard_ns = now_ns
        try:
            match message:
                case LinkRecords():
                    self._on_records(message, now_ns)
                case LinkBeat():
                    self._on_beat(message)
                case LinkWelcome():
                    self._on_welcome(message, now_ns)
                case LinkEngage(_, epoch, target):
                    self._on_engage(epoch, target, now_ns)
                case LinkPromise(_, epoch):
                    self._on_promise(epoch)
                case LinkFetch(_, after):
                    self._on_fetch(after, event)
                case Refused(reason, text):
                    self._on_refused(reason, text, now_ns)
                case _:
                    assert_never(message)
        except RemoteError as error:
            core.counters.refused("link", error.reason)
            core.send(Refused(error.reason, error.text, core.session))
            diverged = error.reason is Reason.DIFFERENT_HISTORY
            core.hang_up(str(error), now_ns, diverged=diverged)

    def _on_records(self, message: LinkRecords, now_ns: int) -> None:
        core = self._core
        if not core.epoch:
            raise RemoteError(Reason.NO_SESSION, "records before a welcome")
        size = len(message.records)
        if core.turn_bytes + size > core.room_bytes:
            raise RemoteError(
                Reason.DISK_FULL, f"node {core.node} has no disk space for the next segment"
            )
        for record in parse_records(message.records):
            core.log.apply(record)
            core.turn.append(record.raw)
            core.turn_bytes += len(record.raw)
        self._note_released(message.released_seq)
        if core.memory.receipts:
            kept = [each for each in core.memory.receipts if each.id not in core.log.operations]
            core.save(receipts=kept)

    def _on_beat(self, beat: LinkBeat) -> None:
        """What the primary has sent was sent before the beat: if it is not here, it is lost. A gap
        in mid-stream shows by the next record; this one shows a loss at the tail of the stream."""
        core = self._core
        if core.epoch and beat.last_seq > core.log.last_seq:
            raise RemoteError(
                Reason.GAP, f"sent up to seq {beat.last_seq}, received up to {core.log.last_seq}"
            )
        core.primary_state = beat.state
        self._note_released(beat.released_seq)

    def _note_released(self, released_seq: int) -> None:
        core = self._core
        core.released_seq = max(core.released_seq, min(released_seq, core.log.last_seq))

    def _on_welcome(self, welcome: LinkWelcome, now_ns: int) -> None:
        """The stream begins. The target is stored first: until this node holds it, it lacks
        something that may be released, and a restart must not forget that."""
        core = self._core
        if welcome.node != core.peer:
            raise RemoteError(Reason.WRONG_NODE, f"welcomed by {welcome.node}, not {core.peer}")
        if welcome.epoch < core.memory.promised_epoch:
            raise RemoteError(
                Reason.WRONG_EPOCH,
                f"a stream of epoch {welcome.epoch}, after epoch {core.memory.promised_epoch} "
                "was promised",
            )
        if welcome.common != core.log.position:
            raise RemoteError(
                Reason.GAP, f"a stream after seq {welcome.common.seq}, not {core.log.last_seq}"
            )
        if welcome.ack_level != core.level.value:
            raise RemoteError(
                Reason.WRONG_ACK_LEVEL,
                f"the primary's ack level is {welcome.ack_level}, this node's {core.level.value}: "
                "both nodes must run with the same pair.ack_level",
            )
        doubt = "" if welcome.target else f"{core.peer} is in solo: it releases without this node"
        core.save(promised_epoch=welcome.epoch, target=welcome.target, doubt=doubt)
        core.epoch = welcome.epoch
        core.promised = 0
        core.acked_seq = core.log.last_seq
        core.unsynced.clear()
        core.judge_sync(now_ns)
        core.send_receipts()

    def _on_promise(self, epoch: int) -> None:
        """Promised before it is used, durably. From now on this node is no candidate, and nothing
        of a lower epoch is acknowledged: in the session in which it was asked, acks go on when the
        promised epoch is open. Asked again in the same session, it says so again."""
        core = self._core
        if not core.promised or epoch != core.promised:
            if epoch <= max(core.memory.promised_epoch, core.log.history.number):
                raise RemoteError(
                    Reason.WRONG_EPOCH, f"epoch {core.memory.promised_epoch} is promised already"
                )
            doubt = f"promised epoch {epoch} to {core.peer}, and does not hold its opening"
            core.save(promised_epoch=epoch, target=None, doubt=doubt)
            core.promised = epoch
        core.send(LinkPromised(core.session, epoch))

    def _on_engage(self, epoch: int, target: Position, now_ns: int) -> None:
        """The gate engages within the session: the promised epoch is open."""
        core = self._core
        if not core.epoch or not core.promised or epoch != core.promised:
            raise RemoteError(Reason.WRONG_EPOCH, f"epoch {epoch} was not promised in this session")
        core.save(promised_epoch=epoch, target=target, doubt="")
        core.epoch, core.promised = epoch, 0
        if not core.turn:
            self._ack_again()
        core.judge_sync(now_ns)

    def _ack_again(self) -> None:
        """What was taken in while acks waited; at level synced once it is on the disk."""
        core = self._core
        if core.level is AckLevel.SYNCED:
            core.unsynced.append(core.log.position)
            core.effects.append(Sync())
        else:
            core.ack(core.log.position)

    def _on_fetch(self, after: Position, event: FromPrimary) -> None:
        core = self._core
        if 0 <= after.seq < event.first_seq - 1:
            raise RemoteError(
                Reason.NOT_RETAINED,
                f"the log of {core.peer} ends at seq {after.seq}, this journal begins at "
                f"{event.first_seq}: what lies between is not retained",
            )
        if event.own_hash != after.hash:
            raise RemoteError(
                Reason.DIFFERENT_HISTORY,
                f"the logs differ: node {core.node} does not hold the record with which the log of "
                f"{core.peer} ends at seq {after.seq}",
            )
        core.effects.append(SendTail(core.session, after.seq, CHUNK_BYTES))

    def _on_refused(self, reason: Reason, text: str, now_ns: int) -> None:
        core = self._core
        why = f"the primary {core.peer} refused: {text}"
        if reason is Reason.UNREPLICATED_TAIL:
            core.hang_up(why, now_ns)
            core.save(fenced=text, target=None, doubt=text)
            core.enter(NodeState.FENCED, text, now_ns)
        else:
            core.hang_up(why, now_ns, diverged=reason is Reason.DIFFERENT_HISTORY)
            if reason is Reason.NOT_PRIMARY:  # it may be one in a moment
                core.redial_ns = now_ns + 2 * core.timing.heartbeat_ms * MS
