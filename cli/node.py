"""`interlock primary` and `interlock secondary`: one node, as a process.

Decides which role the node takes: the command only for the very first start, afterwards what the
node durably remembers, because a person who types the wrong one must not make a second leader. And
what becomes of a node whose journal cannot be opened: it serves as FAILED, so that an operator sees
it and can repair it from afar, or ends, for scripts that look after it themselves.
"""

from __future__ import annotations

import logging
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from ..shared.boot import wake
from ..shared.config import Config, load_config
from ..shared.errors import LocalError
from ..shared.log import LogState
from ..shared.roles import Role
from ..shared.state import DataDir, NodeMemory
from .common import DEFAULT_CONFIG, ConfigPath

if TYPE_CHECKING:
    from ..shared.handed import Handed
    from ..shared.journal import Journal
    from ..shared.panel import Panel

NodeName = Annotated[
    str, typer.Option("--node", help="Run this node of the file instead of the usual one.")
]
ExitOnDamage = Annotated[
    bool,
    typer.Option(
        "--exit-on-damage",
        help="If the journal cannot be opened, exit with 1 instead of serving as FAILED.",
    ),
]


def primary(
    config: ConfigPath = DEFAULT_CONFIG,
    node: NodeName = "",
    exit_on_damage: ExitOnDamage = False,
) -> None:
    """Run the primary node of a pair until it is stopped (Ctrl-C or SIGTERM).

    The role counts for the node's first start only. Afterwards the node remembers its role in its
    data directory, goes on in that one whatever it is started as, and says so.
    """
    loaded = load_config(config)
    _run(loaded, node or loaded.pair.primary, Role.PRIMARY, exit_on_damage=exit_on_damage)


def secondary(
    config: ConfigPath = DEFAULT_CONFIG,
    node: NodeName = "",
    exit_on_damage: ExitOnDamage = False,
) -> None:
    """Run the secondary node (the hot standby) of a pair until it is stopped.

    The role counts for the node's first start only. Afterwards the node remembers its role in its
    data directory, goes on in that one whatever it is started as, and says so.
    """
    loaded = load_config(config)
    _run(loaded, node or loaded.secondary(), Role.SECONDARY, exit_on_damage=exit_on_damage)


def _run(config: Config, name: str, role: Role, *, exit_on_damage: bool) -> None:
    from ..shared.journal import Journal
    from ..shared.panel import Panel

    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"
    )
    config.node(name)
    with closing(DataDir(config.data_dir(name), config.cluster, name)) as data:
        try:
            journal = Journal.open(data.path, config.limits.segment_bytes)
        except LocalError as error:
            if exit_on_damage:
                raise
            with closing(Panel(config, name, data)) as panel:
                _serve_failed(panel, role, error)
            return
        try:
            memory = _remember(data, config, name, role, journal.state)
            panel = Panel(config, name, data)
        except BaseException:
            journal.close()
            raise
        with closing(panel):
            _serve(panel, journal, memory)


def _serve_failed(panel: Panel, role: Role, error: LocalError) -> None:
    from .failed import serve_failed

    memory = panel.data.memory or NodeMemory(panel.config.cluster, panel.name, role)
    reseeded = serve_failed(panel, memory, error)
    if reseeded is not None:
        _serve(panel, reseeded.journal, reseeded.memory, reseeded.handed)
    else:
        panel.note("stopped")


def _serve(
    panel: Panel, journal: Journal, memory: NodeMemory, handed: Handed | None = None
) -> None:
    from ..shared.nodeio import NodeIO
    from .noderun import serve

    try:
        io = NodeIO(panel, journal)
    except BaseException:
        journal.close()
        raise
    try:
        if journal.torn is not None:
            io.note(f"cut a torn record at the end of the journal: {journal.torn}")
        path = panel.data.path
        io.note(f"serving as {memory.role.value} of cluster {panel.config.cluster} from {path}")
        serve(io, memory, handed)
        io.note("stopped")
    finally:
        io.close()


def _remember(data: DataDir, config: Config, name: str, role: Role, log: LogState) -> NodeMemory:
    """The node's memory for this boot, stored: see `shared.boot`."""
    from .noderun import boot_id

    memory = data.memory or NodeMemory(config.cluster, name, role)
    memory = wake(memory, config.pair.ack_level, boot_id(), log)
    if memory.role is not role:
        logging.getLogger("interlock").warning(
            "%s: started as %s, but this node remembers that it is the %s and goes on as that",
            name,
            role.value,
            memory.role.value,
        )
    data.save(memory)
    return memory
