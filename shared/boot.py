"""What a node makes of its memory when it starts: which role it has, and what it may have lost.

Pure. Two things cannot be read from `node.json` alone:

- A promotion happens with its opening record, before the memory says so. A secondary whose log's
  newest epoch is its own, with a number above all that it promised, was killed in between: it is
  the primary. (One that was reinstated has promised the higher number that fenced it.)
- A machine that lost power may have lost written bytes that it acknowledged (level `written`); at
  level `received` any death of the process may do so. Such a node is no candidate for promotion
  until a primary has told it a new target: it may lack something that was released.
"""

from __future__ import annotations

import msgspec

from .config import AckLevel
from .log import LogState
from .roles import Role
from .state import NodeMemory


def wake(memory: NodeMemory, level: AckLevel, boot: str, log: LogState) -> NodeMemory:
    """The memory for this start, to be stored before anything else. `boot` names the machine's
    boot."""
    changes: dict[str, object] = {
        "incarnation": memory.incarnation + 1,
        "boot": boot,
        "stopped": None,
    }
    newest = log.history.last
    if newest and newest.leader == memory.node and newest.number > memory.promised_epoch:
        changes |= {"role": Role.PRIMARY, "promised_epoch": newest.number, "target": None}
    doubt = _doubt(memory, level, boot, log)
    if doubt and memory.incarnation:
        changes |= {"target": None, "doubt": doubt}
    return msgspec.structs.replace(memory, **changes)


def _doubt(memory: NodeMemory, level: AckLevel, boot: str, log: LogState) -> str:
    if memory.stopped is not None and memory.stopped == log.position:
        return ""
    if level is AckLevel.RECEIVED:
        return "its process ended without being stopped, at level received"
    if level is AckLevel.WRITTEN and memory.boot and memory.boot != boot:
        return "its machine was started again without stopping it first, at level written"
    return ""
