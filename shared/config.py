"""`interlock.toml`: one file for the pair, read by nodes, clients and tools.

Decides what a valid configuration is, and says what is wrong with an invalid one by file and key.
"""

from __future__ import annotations

import re
import tomllib
from enum import Enum
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import msgspec

from .errors import RemoteError, UserError
from .idling import Idle
from .limits import MAX_PAYLOAD_BYTES, MIB
from .wire import pack_name

_ENDPOINT = re.compile(r"(tcp://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})|ipc://[^*\0]+)")
SOCKETS = ("intake", "link", "feed", "replay", "control", "telemetry")

Milliseconds = Annotated[int, msgspec.Meta(ge=1, le=3_600_000)]


class AckLevel(Enum):
    """What the standby has done with a record when it acks it; the primary does the same."""

    RECEIVED = "received"  # checked and held in memory
    WRITTEN = "written"  # handed to the operating system: survives a killed process
    SYNCED = "synced"  # on the disk (fdatasync): survives a power cut


class Environment(Enum):
    """What the pair is for. Drills answer confirmations by themselves on a drill pair only."""

    PRODUCTION = "production"
    DRILL = "drill"


class PairConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[pair]`: what both nodes share. `approvals`: how many operators an operation takes."""

    cluster: UUID
    primary: str
    ack_level: AckLevel = AckLevel.WRITTEN
    approvals: Annotated[int, msgspec.Meta(ge=1, le=2)] = 1
    environment: Environment = Environment.PRODUCTION


class NodeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[nodes.NAME]`: a data directory, six endpoints (tcp://host:port or ipc://path), and how the
    node's thread waits."""

    data: str
    intake: str
    link: str
    feed: str
    replay: str
    control: str
    telemetry: str
    idle: Idle = Idle.BLOCK


class SecurityConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[security]`: without it no keys are used, and only loopback and ipc endpoints are served.

    `keys`: the folder of keys, relative to the configuration file. `app`, `operator`: the names of
    the keys that applications and operators' tools use when none is named.
    """

    keys: Annotated[str, msgspec.Meta(min_length=1)]
    app: str = "app"
    operator: str = "operator"


class Timing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[timing]`, all in milliseconds."""

    heartbeat_ms: Milliseconds = 100
    link_timeout_ms: Milliseconds = 1_000
    tick_interval_ms: Annotated[int, msgspec.Meta(ge=0, le=3_600_000)] = 1_000
    sync_interval_ms: Milliseconds = 200
    telemetry_interval_ms: Milliseconds = 250
    drain_timeout_ms: Milliseconds = 5_000


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[limits]`: the bounds that a user may tune. The fixed ones are in `limits.py`."""

    max_message_bytes: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAYLOAD_BYTES - 8)] = 65_536
    pending_messages: Annotated[int, msgspec.Meta(ge=1, le=16_777_216)] = 262_144
    pending_bytes: Annotated[int, msgspec.Meta(ge=65_536, le=4_294_967_296)] = 67_108_864
    producer_pending_bytes: Annotated[int, msgspec.Meta(ge=65_536, le=4_294_967_296)] = 33_554_432
    max_memory_bytes: Annotated[int, msgspec.Meta(ge=268_435_456)] = 2_147_483_648
    segment_bytes: Annotated[int, msgspec.Meta(ge=2 * MIB, le=4_294_967_296)] = 67_108_864
    retain_bytes: Annotated[int, msgspec.Meta(ge=0)] = 0


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole, checked configuration. `path` is the file that it came from."""

    pair: PairConfig
    nodes: dict[str, NodeConfig]
    timing: Timing = Timing()
    limits: Limits = Limits()
    security: SecurityConfig | None = None
    path: str = ""

    @property
    def cluster(self) -> str:
        return str(self.pair.cluster)

    def node(self, name: str) -> NodeConfig:
        """The node called `name`. Raises UserError naming the ones that exist."""
        try:
            return self.nodes[name]
        except KeyError:
            known = " and ".join(sorted(self.nodes))
            raise UserError(f"{self.path} has no node {name!r}; its nodes are {known}") from None

    def peer_of(self, name: str) -> str:
        self.node(name)
        return next(other for other in self.nodes if other != name)

    def secondary(self) -> str:
        """The node that is the secondary at the very first start."""
        return self.peer_of(self.pair.primary)

    def data_dir(self, name: str) -> Path:
        """The node's data directory; a relative one is relative to the configuration file."""
        return (Path(self.path).parent / self.node(name).data).resolve()

    def check_exposure(self, name: str) -> None:
        """Raises UserError if others than this machine could reach a node that uses no keys."""
        if self.security is not None:
            return
        for socket in SOCKETS:
            endpoint: str = getattr(self.node(name), socket)
            if not _is_local(endpoint):
                raise UserError(
                    f"{self.path}: nodes.{name}.{socket}: {endpoint} can be reached from other "
                    "machines, and this pair has no keys, so anybody could command it; make keys "
                    f"with: interlock keys init -c {self.path} (or bind to 127.0.0.1)"
                )

    def keys_folder(self) -> Path | None:
        """The folder of keys; None: no keys are used."""
        if self.security is None:
            return None
        return (Path(self.path).parent / self.security.keys).resolve()


def load_config(path: str | Path) -> Config:
    """Reads and checks a configuration file.

    Raises UserError with the file, the key and what was expected there.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "interlock.toml"
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise UserError(
            f"there is no configuration {path}; make one with: interlock init {path.parent}"
        ) from None
    except OSError as error:
        raise UserError(f"cannot read the configuration {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid TOML: {error}") from None
    return parse_config(text, path)


_CHOICES: dict[str, type[AckLevel | Environment | Idle]] = {
    "ack_level": AckLevel,
    "environment": Environment,
    "idle": Idle,
}


def parse_config(text: str, path: Path) -> Config:
    """Checks the text of a configuration file; `path` is where it is, or is going to be.

    Raises UserError as `load_config` does.
    """
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # more than TOMLDecodeError: a number too long
        raise UserError(f"{path} is not valid TOML: {error}") from None
    if "path" in raw:
        raise UserError(f"{path}: unknown key `path`")
    try:
        config = msgspec.convert(raw | {"path": str(path.absolute())}, Config)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        key = where.strip("`").removeprefix("$.") or "top level"
        if "[...]" in key:
            key = key.replace("[...]", _wrong_node(raw))
        if choices := _CHOICES.get(key.rpartition(".")[2]):
            what += "; expected one of " + ", ".join(choice.value for choice in choices)
        raise UserError(f"{path}: {key}: {what[:1].lower()}{what[1:]}") from None
    _check(config)
    return config


def _wrong_node(raw: dict[str, Any]) -> str:
    """`.NAME` of the first node that is not one: msgspec does not tell which."""
    for name, node in raw["nodes"].items():
        try:
            msgspec.convert(node, NodeConfig)
        except msgspec.ValidationError:
            return f".{name}"
    return "[...]"


def _is_local(endpoint: str) -> bool:
    """Whether only this machine can reach an endpoint."""
    host = endpoint.removeprefix("tcp://").rpartition(":")[0].strip("[]").lower()
    return endpoint.startswith("ipc://") or host in ("localhost", "::1") or host.startswith("127.")


def _check(config: Config) -> None:
    path = config.path
    if len(config.nodes) != 2:
        raise UserError(f"{path}: nodes: expected two nodes, found {len(config.nodes)}")
    for name in config.nodes:
        try:
            pack_name(name)
        except RemoteError as error:
            raise UserError(f"{path}: nodes.{name}: {error}") from None
    if config.pair.primary not in config.nodes:
        raise UserError(
            f"{path}: pair.primary: {config.pair.primary!r} is not one of the nodes "
            f"{' and '.join(sorted(config.nodes))}"
        )
    seen: dict[str, str] = {}
    for name, node in config.nodes.items():
        for socket in SOCKETS:
            key = f"nodes.{name}.{socket}"
            endpoint: str = getattr(node, socket)
            match = _ENDPOINT.fullmatch(endpoint)
            if not match or (match[3] and not 1 <= int(match[3]) <= 65535):
                raise UserError(
                    f"{path}: {key}: {endpoint!r} is not an endpoint; "
                    "expected tcp://HOST:PORT or ipc://PATH"
                )
            if endpoint in seen:
                raise UserError(f"{path}: {key}: {endpoint} is taken by {seen[endpoint]}")
            seen[endpoint] = key
    security = config.security
    if security is not None:
        names = [security.app, security.operator]
        for key, name in zip(("app", "operator"), names, strict=True):
            if name in config.nodes:
                raise UserError(
                    f"{path}: security.{key}: {name!r} is the name of a node, whose key is for "
                    "nothing else; name another key"
                )
        if names[0] == names[1]:
            raise UserError(
                f"{path}: security.operator: {names[0]!r} is security.app too; applications and "
                "operators need keys of their own"
            )
    one, two = (config.data_dir(name) for name in config.nodes)
    if one == two:
        raise UserError(f"{path}: both nodes have the data directory {one}; give each its own")
    if config.timing.link_timeout_ms < 2 * config.timing.heartbeat_ms:
        raise UserError(
            f"{path}: timing.link_timeout_ms: {config.timing.link_timeout_ms} is less than two "
            f"heartbeats (timing.heartbeat_ms = {config.timing.heartbeat_ms})"
        )
