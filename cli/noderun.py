"""A running node: one role after the other, over the same sockets and the same journal.

Decides nothing: the core of one role says which role comes next.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec

from ..primary.shell import PrimaryShell
from ..secondary.shell import SecondaryShell
from ..shared.clock import now_ns
from ..shared.config import Config
from ..shared.desk import Desk
from ..shared.handed import Handed
from ..shared.nodeio import NodeIO
from ..shared.roles import Role, StateHolder
from ..shared.state import NodeMemory
from ..shared.telemetry import Counters


def make_desk(config: Config, name: str) -> Desk:
    """The operations desk of a process, whose tokens nobody can guess."""
    return Desk(config, name, lambda: secrets.randbits(64))


def boot_id() -> str:
    """Names the machine's boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def serve(io: NodeIO, memory: NodeMemory, handed: Handed | None = None) -> None:
    """Runs the node until it is stopped; `handed` is what it goes on with, if this is no start.

    Raises LocalError or UserError if it cannot go on.
    """
    if handed is None:
        desk = make_desk(io.config, io.name)
        handed = Handed(StateHolder(now_ns()), desk, Counters())
    role = memory.role
    while True:
        shell = (PrimaryShell if role is Role.PRIMARY else SecondaryShell)(io, memory, handed)
        try:
            become = shell.run()
        finally:
            shell.close()
        if become is None:
            break
        handed, role, memory = shell.hand_over(), become.role, io.data.memory or memory
        if become.reseed or become.cut_after is not None:
            handed.entry = io.cut(become)
            handed.reinstated = True
            handed.synced_seq = None
            handed.released_seq = min(handed.released_seq, io.journal.last_seq)
        io.note(f"goes on as {role.value}")
    io.journal.sync()
    memory = io.data.memory or memory
    io.data.save(msgspec.structs.replace(memory, stopped=io.journal.state.position))
