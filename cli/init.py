"""`interlock init`: writes the configuration of a new pair.

Decides names, ports and the text around them. The values are the defaults of `shared.config` and
the ranges are read from its types, so that the file cannot say anything else than the code does.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import msgspec
import typer

from ..shared.config import SOCKETS, AckLevel, Config, Limits, Timing, parse_config
from ..shared.errors import UserError
from ..shared.limits import MAX_NAME_BYTES
from .common import AsJson
from .keys import keys_of, security_text
from .output import print_json

FILE = "interlock.toml"

# Stricter than the names of producers: these become directories and TOML keys as they are.
_NODE_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_-]{{0,{MAX_NAME_BYTES - 1}}}")

_EXPLAINED = {
    "heartbeat_ms": "Each end of the link tells the other this often that it lives.",
    "link_timeout_ms": "After this silence the link counts as lost: the primary stalls and\n"
    "releases nothing until the standby is back. At least twice heartbeat_ms.",
    "tick_interval_ms": "A quiet log gets a tick record this often, so that its readers see\n"
    "time pass. 0: no ticks.",
    "sync_interval_ms": "Below the ack level synced, the journal goes to the disk this often:\n"
    "what a power cut of both nodes at once may cost.",
    "telemetry_interval_ms": "Each node publishes its status this often.",
    "drain_timeout_ms": "A switchover or demote that the standby has not acknowledged after this\n"
    "time is given up; before its closing record nothing is changed.",
    "max_message_bytes": "A longer message is refused.",
    "pending_messages": "Messages that may wait for the standby; beyond, producers are told: busy.",
    "pending_bytes": "The same in bytes.",
    "producer_pending_bytes": "The same for one producer, so that none takes all the room.",
    "max_memory_bytes": "A node that holds more than this drops its clients' connections, and\n"
    "what is queued for them; they connect again.",
    "segment_bytes": "Size of one file of the journal, reserved on the disk before it is needed.",
    "retain_bytes": "Each node keeps at least so much of its journal. 0: all of it.",
}

_HEAD = """\
# The configuration of one Interlock pair. Both nodes, and the commands that talk to them, read this
# file: keep the same copy on every machine. The values of [timing] and [limits] are the defaults.

[pair]
# Made once for this pair. Nodes and data directories of another cluster are refused.
cluster = "{cluster}"

# The node that leads at the very first start. Afterwards the nodes remember their roles themselves.
primary = "{primary}"

# What the standby has done with a message before it is released:
#   received  it holds it in memory
#   written   it has handed it to its operating system: survives a killed process
#   synced    it has it on its disk: survives a power cut
ack_level = "{ack_level}"

# How many operators an operation takes: with 2, another one approves what the first one asks for.
approvals = 1

# Drills answer confirmations by themselves on a pair whose environment is "drill", and only there.
environment = "production"
"""

_NODE = """
[nodes.{name}]
# A relative path starts at the folder of this file.
data = "{name}"
# The node listens here, and the other node and all clients connect here: tcp://HOST:PORT with an
# address that they reach, or ipc:///PATH on one machine.
{endpoints}
"""


def init(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of the pair; made if it does not exist.")
    ],
    host: Annotated[
        str, typer.Option(help="Address of the nodes, as each other and clients reach them.")
    ] = "127.0.0.1",
    base_port: Annotated[
        int, typer.Option(help="First of the twelve ports in a row that the two nodes use.")
    ] = 7101,
    node_names: Annotated[
        str, typer.Option(help="Names of the two nodes; the first one leads at the first start.")
    ] = "a,b",
    ack_level: Annotated[
        AckLevel, typer.Option(help="What the standby has done with a message before its release.")
    ] = AckLevel.WRITTEN,
    insecure_loopback: Annotated[
        bool,
        typer.Option("--insecure-loopback", help="Make no keys: for play, on this machine alone."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a commented configuration for a new pair, DIR/interlock.toml, and make its keys."""
    path = directory / FILE
    names = _names(node_names)
    _check_ports(base_port)
    text = render(str(uuid4()), names, host, base_port, ack_level, secure=not insecure_loopback)
    config = parse_config(text, path)
    for name in names:
        config.check_exposure(name)
    _write(path, text)
    made = keys_of(config) if config.security else []
    if as_json:
        print_json(
            {
                "path": config.path,
                "cluster": config.cluster,
                "primary": config.pair.primary,
                "secondary": config.secondary(),
                "nodes": config.nodes,
                "keys": made,
            }
        )
    else:
        _tell(path, config)


def render(
    cluster: str,
    names: tuple[str, str],
    host: str,
    base_port: int,
    ack_level: AckLevel,
    *,
    secure: bool = False,
) -> str:
    """The text of the file. `host` may be an IPv6 address with or without its brackets; `secure`:
    with a [security] table, so that keys are used."""
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    parts = [_HEAD.format(cluster=cluster, primary=names[0], ack_level=ack_level.value)]
    port = base_port
    for name in names:
        endpoints = []
        for socket in SOCKETS:
            endpoints.append(f'{socket} = "tcp://{host}:{port}"')
            port += 1
        parts.append(_NODE.format(name=name, endpoints="\n".join(endpoints)))
    if secure:
        parts.append(security_text(names))
    parts.append(_table("timing", "All in milliseconds.", Timing))
    parts.append(_table("limits", "Bytes, or messages where the name says so.", Limits))
    return "".join(parts)


def _table(name: str, about: str, struct: type[msgspec.Struct]) -> str:
    """A TOML table with every field of a Struct: what it is, its range, and its default."""
    info = msgspec.inspect.type_info(struct)
    assert isinstance(info, msgspec.inspect.StructType)
    lines = [f"\n[{name}]\n# {about}\n"]
    for field in info.fields:
        explained = _EXPLAINED[field.name].replace("\n", "\n# ")
        value = f"{field.name} = {field.default:_}  # {_range(field.type)}"
        lines.append(f"\n# {explained}\n{value}\n")
    return "".join(lines)


def _range(kind: Any) -> str:
    low = f"{kind.ge:_}"
    return f"{low} or more" if kind.le is None else f"{low} to {kind.le:_}"


def _names(text: str) -> tuple[str, str]:
    names = text.split(",")
    if len(names) != 2 or names[0] == names[1] or not all(map(_NODE_NAME.fullmatch, names)):
        raise UserError(
            f"--node-names {text!r}: expected two different names with a comma between them, each "
            f"of 1 to {MAX_NAME_BYTES} letters, digits, - and _, such as a,b"
        )
    return names[0], names[1]


def _check_ports(base_port: int) -> None:
    highest = 65_536 - 2 * len(SOCKETS)
    if not 1 <= base_port <= highest:
        raise UserError(
            f"--base-port {base_port}: expected 1 to {highest}, as the two nodes use "
            f"{2 * len(SOCKETS)} ports from there on"
        )


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        if path.exists():
            raise UserError(
                f"{path} exists and is left as it is; choose another folder, or move the file away "
                "first (a new configuration is a new cluster and refuses the data of the old one)"
            ) from None
        raise UserError(f"cannot make the folder {path.parent}: a file has that name") from None
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}; choose a folder that you can write"
        ) from None


def _tell(path: Path, config: Config) -> None:
    file = shlex.quote(str(path))
    keys = config.keys_folder()
    security = config.security
    typer.echo(
        f"Wrote {path} for the pair {config.pair.primary} (primary) and {config.secondary()} "
        f"(secondary)."
    )
    if keys is not None and security is not None:
        typer.echo(
            f"Made keys in {keys}: the nodes' own, {security.app} for applications and "
            f"{security.operator} for you, the operator."
        )
    else:
        typer.echo("No keys: whoever reaches a loopback endpoint of this pair may do everything.")
    typer.echo(
        "\n"
        f"Start the nodes, each in a terminal of its own, and ask how they are:\n\n"
        f"  interlock primary -c {file}\n"
        f"  interlock secondary -c {file}\n"
        f"  interlock status -c {file}"
    )
