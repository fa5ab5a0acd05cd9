"""A node whose journal cannot be opened: the I/O of a `FailedCore`, on control and telemetry only.

Decides the order of a re-seed on the disk. First the memory: a secondary that is no candidate for
promotion, whatever follows. Then the journal is set aside, whole. Killed in between, the node is
FAILED again; killed later, it starts as an empty standby.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import msgspec

from ..shared.boot import wake
from ..shared.clock import now_ns, wall_ns
from ..shared.commands import (
    Command,
    GetQuarantine,
    GetStatus,
    PeerCompare,
    PeerFetch,
    Quarantine,
    QuarantineChunk,
    ReadQuarantine,
    Status,
)
from ..shared.effects import Become
from ..shared.errors import JournalDamage, LocalError, RemoteError
from ..shared.events import FromControl, PeerAnswered
from ..shared.failed import FailedCore
from ..shared.handed import Handed
from ..shared.journal import Journal, set_aside
from ..shared.journal.checkpoint import list_checkpoints
from ..shared.journal.segment import list_segments
from ..shared.limits import CHUNK_BYTES
from ..shared.log import LogState
from ..shared.panel import Panel
from ..shared.roles import Role, StateHolder
from ..shared.state import NodeMemory
from ..shared.telemetry import Counters, JournalStatus, NodeStatus
from .noderun import boot_id, make_desk

if TYPE_CHECKING:
    from ..shared.commands import ControlReply, RoleRequest
    from ..shared.keyring import Principal


class Reseeded(msgspec.Struct):
    """What the node goes on with: a new journal, and what waits for its end at the desk."""

    journal: Journal
    memory: NodeMemory
    handed: Handed


def serve_failed(panel: Panel, memory: NodeMemory, error: LocalError) -> Reseeded | None:
    """Serves until a signal, a shutdown, or a re-seed. Raises LocalError if the disk fails."""
    panel.note(f"FAILED: {error}", logging.ERROR)
    reached_seq = log_reached(panel.data.path, error)
    return _FailedShell(panel, memory, str(error), reached_seq).run()


def log_reached(directory: Path, error: LocalError) -> int:
    """A seq that the log in this directory has certainly reached: names of files tell, whatever
    became of their contents."""
    found = [int(path.stem) for path in list_checkpoints(directory)]
    found += [segment.first_seq - 1 for segment in list_segments(directory)]
    if isinstance(error, JournalDamage):
        found.append(error.seq - 1)
    return max(found, default=0)


class _FailedShell:
    def __init__(self, panel: Panel, memory: NodeMemory, why: str, reached_seq: int) -> None:
        self._panel = panel
        self._now_ns, self._wall_ns = now_ns(), wall_ns()
        desk = make_desk(panel.config, panel.name)
        self._core = FailedCore(
            panel.config, panel.name, memory, why, reached_seq, desk, self._now_ns
        )

    def run(self) -> Reseeded | None:
        panel, core = self._panel, self._core
        while not panel.stopping:
            ready = panel.poll(at_once=False)
            self._now_ns, self._wall_ns = now_ns(), wall_ns()
            for number, answer in panel.peer.answers(ready):
                core.handle(PeerAnswered(number, answer), self._now_ns, self._wall_ns)
            for sender, who, request in panel.requests(ready):
                self._take(sender, who, request)
            for changed in panel.key_changes():
                core.handle(changed, self._now_ns, self._wall_ns)
            for effect in core.end_turn(self._now_ns, self._wall_ns):
                if isinstance(effect, Become):
                    if (reseeded := self._reseed(effect)) is not None:
                        return reseeded
                else:
                    panel.perform(effect, self._now_ns)
            panel.tend(ready, self._now_ns, self._status)
        return None

    def _take(self, sender: bytes, who: Principal, request: RoleRequest) -> None:
        panel = self._panel
        if isinstance(request, Command):
            command = FromControl(sender, request, who.name)
            self._core.handle(command, self._now_ns, self._wall_ns)
            return
        try:
            reply = self._reply(request)
        except RemoteError as error:
            panel.refuse(panel.control, sender, who, error)
        else:
            panel.send(panel.control, sender, reply)

    def _reply(
        self,
        request: GetStatus | GetQuarantine | ReadQuarantine | PeerCompare | PeerFetch,
    ) -> ControlReply:
        quarantine = self._panel.quarantine
        match request:
            case GetStatus():
                return Status(self._status())
            case GetQuarantine():
                return Quarantine(quarantine.entries())
            case ReadQuarantine(_, entry, offset):
                data = quarantine.read(entry, offset, CHUNK_BYTES // 4)
                return QuarantineChunk(entry, offset, data)
            case PeerCompare() | PeerFetch():
                raise self._core.refusal()
            case _:
                assert_never(request)

    def _status(self) -> NodeStatus:
        panel = self._panel
        try:
            disk = os.statvfs(panel.data.path)
            free_bytes = disk.f_bavail * disk.f_frsize
        except OSError:
            free_bytes = 0
        journal = JournalStatus(
            str(panel.data.path),
            segment_bytes=panel.config.limits.segment_bytes,
            disk_free_bytes=free_bytes,
        )
        return self._core.status(panel.process_status(journal), self._now_ns, self._wall_ns)

    def _reseed(self, become: Become) -> Reseeded | None:
        panel, core, directory = self._panel, self._core, self._panel.data.path
        try:
            memory = wake(core.memory, panel.config.pair.ack_level, boot_id(), LogState())
            memory = msgspec.structs.replace(
                memory, role=Role.SECONDARY, target=None, doubt="re-seeded, and has not caught up"
            )
            panel.data.save(memory)
            core.memory = memory
            entry = set_aside(directory, become.why, self._wall_ns) or ""
            journal = Journal.open(directory, panel.config.limits.segment_bytes)
        except LocalError as error:
            core.on_not_reseeded(str(error), self._now_ns, self._wall_ns)
            panel.note(f"FAILED: {error}", logging.ERROR)
            return None
        handed = Handed(
            StateHolder(self._now_ns), core.desk, Counters(), reinstated=True, entry=entry
        )
        panel.note("goes on as secondary, from an empty journal")
        return Reseeded(journal, memory, handed)
