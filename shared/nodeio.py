"""What the shells of both roles need around their core: the panel, the other sockets, the journal.

Decides nothing about the protocol. The data path is one thread with one poller; fsync has a helper
thread inside the journal.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

import zmq

from .answering import Answering
from .commands import Command
from .effects import Append, Become, Effect, Reply, Sync
from .errors import RemoteError
from .events import FromControl, FromProducer, KeysChanged, PeerAnswered, Quarantined
from .journal import Journal, cut_after, set_aside
from .limits import (
    FEED_HWM_FRAMES,
    INTAKE_PER_TURN,
    MAX_SMALL_FRAME_BYTES,
    MAX_SUBMISSION_BYTES,
    MAX_SUBSCRIPTION_BYTES,
    REPLAY_HWM_FRAMES,
)
from .log import LogState
from .messages import Codec, IntakeRequest, ProducerHello
from .panel import Panel
from .policy import check_hello
from .replay import ReplayServer
from .telemetry import JournalStatus, NodeStatus, ProcessStatus

MS = 1_000_000
LOOK_EVERY_NS = 5 * MS
COLLECT_EVERY_NS = 1_000 * MS

intake_requests: Codec[IntakeRequest] = Codec(IntakeRequest)


class NodeIO:
    """The I/O of one node process that serves. The panel is the caller's, and stays open."""

    def __init__(self, panel: Panel, journal: Journal) -> None:
        """Binds the sockets that a node has in either role. Raises UserError for a bad endpoint."""
        self.panel = panel
        self.journal = journal
        self.config, self.name, self.data = panel.config, panel.name, panel.data
        self.context, self.waiter, self.counters = panel.context, panel.waiter, panel.counters
        self.poll, self.note = panel.poll, panel.note
        self.send, self.refuse = panel.send, panel.refuse
        config, name = panel.config, panel.name
        self.intake = panel.door("intake", zmq.ROUTER, max_bytes=MAX_SUBMISSION_BYTES)
        # In either role, so that a change of roles binds nothing and who dials is heard at once.
        # The link's queue is bounded in bytes by the core's window; a bound in frames as well would
        # make a ROUTER drop records silently under a load of small ones.
        self.link = panel.door("link", zmq.ROUTER, hwm=0)
        self.feed = panel.door(
            "feed", zmq.PUB, max_bytes=MAX_SUBSCRIPTION_BYTES, hwm=FEED_HWM_FRAMES
        )
        self.replay = ReplayServer(
            panel.door(
                "replay",
                zmq.ROUTER,
                max_bytes=MAX_SMALL_FRAME_BYTES,
                hwm=REPLAY_HWM_FRAMES,
                mandatory=1,  # what is dropped is to be counted
            ),
            config.cluster,
            name,
            journal,
        )
        self.waiter.add(journal.wakeup_fd, often=True)
        self.answering = Answering(config, name, journal, panel.quarantine)
        self._look_ns = self._prepare_ns = self._collect_ns = 0
        gc.collect()
        gc.freeze()
        gc.disable()  # a collection in mid-turn would show as a latency spike; see `housekeeping`

    # The turn ---------------------------------------------------------------------------------

    def is_due(self, ready: set[Any], now_ns: int) -> bool:
        """Whether this turn is to look at more than messages: something else is ready, or some time
        has passed. Between such turns nothing is spent on it."""
        if now_ns < self._look_ns and self.waiter.seldom.isdisjoint(ready):
            return False
        self._look_ns = now_ns + LOOK_EVERY_NS
        return True

    def commands(
        self, ready: set[Any], status: Callable[[], NodeStatus]
    ) -> Iterator[FromControl | PeerAnswered | KeysChanged]:
        """What came on control that a core has to decide about, what the peer has answered, and
        what has changed about keys. Questions are answered here. For turns that are `is_due`."""
        for number, answer in self.panel.peer.answers(ready):
            yield self.answering.completed(number, answer)
        for sender, who, request in self.panel.requests(ready):
            try:
                reply = self.answering.reply(request, status)
            except RemoteError as error:
                self.refuse(self.panel.control, sender, who, error)
                continue
            if isinstance(reply, Command):
                yield FromControl(sender, reply, who.name)
            else:
                self.send(self.panel.control, sender, reply)
        yield from self.panel.key_changes()

    def requests(self, now_ns: int) -> Iterator[FromProducer]:
        """The requests that wait on the intake, bounded per turn; what is none, or is under a name
        that is not for its sender to use, is refused here.

        Lazy: a caller that stops early leaves the rest in the socket for the next turn.
        """
        for sender, who, frames in self.intake.arrivals(INTAKE_PER_TURN, now_ns):
            try:
                request = intake_requests.decode_only(frames)
                if type(request) is ProducerHello:
                    check_hello(who, request)
            except RemoteError as error:
                self.refuse(self.intake, sender, who, error)
            else:
                yield FromProducer(sender, request, who.public)

    def perform(self, effect: Effect, log: LogState, now_ns: int) -> None:
        """The effects that both roles ask for. Raises LocalError for any other."""
        match effect:
            case Append():
                journal = self.journal
                journal.append(effect.records, effect.last_seq)
                if effect.durable:
                    journal.sync()
                if journal.checkpoint_due:
                    journal.checkpoint(log)
            case Reply(to, message):
                self.send(self.intake, to, message)
            case Sync(wait):
                self.journal.sync() if wait else self.journal.request_sync()
            case _:
                self.panel.perform(effect, now_ns)

    def quarantined(self) -> Quarantined:
        """What the quarantine holds, for the core."""
        return Quarantined({entry.name: entry.state for entry in self.panel.quarantine.entries()})

    def cut(self, become: Become) -> str:
        """Cuts the journal, or sets it aside, before the node goes on in another role; the name of
        the quarantine entry, empty if nothing was cut. The journal is a new one afterwards."""
        self.waiter.remove(self.journal.wakeup_fd)
        self.journal.close()
        size, path = self.config.limits.segment_bytes, self.data.path
        if become.reseed:
            entry = set_aside(path, become.why, time.time_ns()) or ""
        else:
            assert become.cut_after is not None
            kept = cut_after(path, size, become.cut_after, become.why, time.time_ns())
            entry = kept.name if kept else ""
        self.journal = Journal.open(path, size)
        self.waiter.add(self.journal.wakeup_fd, often=True)
        self.replay.journal = self.answering.journal = self.journal
        return entry

    def serve(
        self,
        ready: set[Any],
        released_seq: int,
        prunable_seq: int,
        now_ns: int,
        status: Callable[[], NodeStatus],
    ) -> None:
        """Replay, telemetry and housekeeping: what both roles do alike in turns that are `is_due`.

        Up to `prunable_seq` nobody in the pair needs this journal any more.
        """
        self.replay.serve(self.panel, ready, released_seq, now_ns)
        self.panel.tend(ready, now_ns, status)
        self._housekeeping(now_ns, prunable_seq, idle=not ready)

    def _housekeeping(self, now_ns: int, prunable_seq: int, *, idle: bool) -> None:
        if now_ns - self._prepare_ns >= 1_000 * MS:
            self._prepare_ns = now_ns
            self.journal.prepare()
            if self.journal.prune(self.config.limits.retain_bytes, prunable_seq):
                self.note(f"pruned the journal; it now begins at seq {self.journal.first_seq}")
        if idle and now_ns - self._collect_ns >= COLLECT_EVERY_NS:
            self._collect_ns = now_ns
            gc.collect(1)

    def process_status(self) -> ProcessStatus:
        """The part of the node's status that no core knows."""
        journal = self.journal
        return self.panel.process_status(
            JournalStatus(
                str(self.data.path),
                journal.first_seq,
                journal.segments,
                self.config.limits.segment_bytes,
                journal.room_bytes,
                journal.disk_free_bytes(),
            )
        )

    def close(self) -> None:
        """Ends the journal, synced."""
        self.journal.close()
