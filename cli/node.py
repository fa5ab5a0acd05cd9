"""`interlock primary` and `interlock secondary`: one node, as a process.

Decides which role the node takes: the command only for the very first start, afterwards what the
node durably remembers, because a person who types the wrong one must not make a second leader.
"""

from __future__ import annotations

import logging
from typing import Annotated

import msgspec
import typer

from ..shared.config import Config, load_config
from ..shared.roles import Role
from ..shared.state import DataDir, NodeMemory
from .common import DEFAULT_CONFIG, ConfigPath

NodeName = Annotated[
    str, typer.Option("--node", help="Run this node of the file instead of the usual one.")
]


def primary(config: ConfigPath = DEFAULT_CONFIG, node: NodeName = "") -> None:
    """Run the primary node of a pair until it is stopped (Ctrl-C or SIGTERM).

    The role counts for the node's first start only. Afterwards the node remembers its role in its
    data directory, goes on in that one whatever it is started as, and says so.
    """
    loaded = load_config(config)
    _run(loaded, node or loaded.pair.primary, Role.PRIMARY)


def secondary(config: ConfigPath = DEFAULT_CONFIG, node: NodeName = "") -> None:
    """Run the secondary node (the hot standby) of a pair until it is stopped.

    The role counts for the node's first start only. Afterwards the node remembers its role in its
    data directory, goes on in that one whatever it is started as, and says so.
    """
    loaded = load_config(config)
    _run(loaded, node or loaded.secondary(), Role.SECONDARY)


def _run(config: Config, name: str, role: Role) -> None:
    from ..primary.shell import PrimaryShell
    from ..secondary.shell import SecondaryShell
    from ..shared.journal import Journal
    from ..shared.nodeio import NodeIO

    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"
    )
    config.node(name)
    data = DataDir(config.data_dir(name), config.cluster, name)
    try:
        memory = _remember(data, config, name, role)
        journal = Journal.open(data.path, config.limits.segment_bytes)
        try:
            io = NodeIO(config, name, data, journal)
        except BaseException:
            journal.close()
            raise
    except BaseException:
        data.close()
        raise
    try:
        if journal.torn is not None:
            io.note(f"cut a torn record at the end of the journal: {journal.torn}")
        shell = (PrimaryShell if memory.role is Role.PRIMARY else SecondaryShell)(io, memory)
        io.note(f"serving as {memory.role.value} of cluster {config.cluster} from {data.path}")
        shell.run()
        io.note("stopped")
    finally:
        io.close()


def _remember(data: DataDir, config: Config, name: str, role: Role) -> NodeMemory:
    """The node's memory for this boot, stored: with its next incarnation."""
    memory = data.memory
    if memory is None:
        memory = NodeMemory(config.cluster, name, role)
    elif memory.role is not role:
        logging.getLogger("interlock").warning(
            "%s: started as %s, but this node remembers that it is the %s and goes on as that",
            name,
            role.value,
            memory.role.value,
        )
    memory = msgspec.structs.replace(memory, incarnation=memory.incarnation + 1)
    data.save(memory)
    return memory
