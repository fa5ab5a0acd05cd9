"""`interlock keys`: who may talk to the pair, and with which key this machine does.

Decides what is told and what comes next; the files are changed by `keystore`. A secret is never
printed.
"""

from __future__ import annotations

import getpass
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from ..shared.config import Config, load_config, parse_config
from ..shared.errors import UserError
from ..shared.keyring import Entry, KeyRole, check_producer_pattern, check_roles
from ..shared.keys import check_key_name, fingerprint, is_public_key, read_pair
from .common import DEFAULT_CONFIG, AsJson, ConfigPath
from .keystore import KeyStore, first_keys
from .output import print_json

app = typer.Typer(no_args_is_help=True, help="Who may talk to the pair: keys, names and roles.")

KeyName = Annotated[str, typer.Argument(metavar="NAME", help="The name of the key.")]

_SECURITY = """
[security]
# The folder of keys, from this file's folder on: NAME.key are secrets of this machine, allowed.toml
# is the list of who may talk to the pair (interlock keys --help). Without this table no keys are
# used, and nodes serve loopback and ipc endpoints only.
keys = "keys"

# The keys that applications and operators' tools use if none is named with --key or $INTERLOCK_KEY.
app = "{app}"
operator = "{operator}"
"""


def security_text(nodes: Collection[str]) -> str:
    """The [security] table of a new configuration, with this login as the operator. No name is that
    of a node."""
    names = [_login(), "operator", "operators"]
    apps = ["app", "apps", "application"]
    operator = next(name for name in names if name not in {*nodes, *apps})
    app_key = next(name for name in apps if name not in nodes)
    return _SECURITY.format(app=app_key, operator=operator)


def _login() -> str:
    try:
        name = getpass.getuser()
        check_key_name(name)
    except (OSError, KeyError, UserError):
        return "operator"
    return name


@app.command("init")
def init(config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Make the first keys of a pair: of both nodes, of applications, and of you as operator.

    A configuration without keys gets its [security] table.
    """
    loaded = load_config(config)
    if loaded.security is None:
        path = Path(loaded.path)
        text = path.read_text("utf-8").rstrip("\n") + "\n" + security_text(loaded.nodes)
        loaded = parse_config(text, path)
        path.write_text(text, "utf-8")
    store = KeyStore(loaded)
    made = first_keys(store, loaded)
    if made:
        typer.echo(f"Made in {store.folder}: {', '.join(made)}. Restart nodes that run without.")
    else:
        typer.echo(f"{store.folder} has all of them; nothing was changed.")


@app.command("new")
def new(
    name: KeyName,
    role: Annotated[
        list[KeyRole], typer.Option("--role", help="What its owner is; may be given repeatedly.")
    ],
    producer: Annotated[
        list[str] | None,
        typer.Option(help="A producer name it may use, or a prefix that ends with *; repeatable."),
    ] = None,
    public: Annotated[
        str, typer.Option(help="Allow this public key, made elsewhere; no secret is stored here.")
    ] = "",
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Make a key and allow it, or allow the public key of one that was made elsewhere.

    The secret stays on this machine, as NAME.key. It is safer to make it where it is used, and to
    bring only the public key here (interlock keys show NAME prints it).
    """
    store = KeyStore(load_config(config))
    check_key_name(name)
    for pattern in producer or []:
        check_producer_pattern(pattern, "--producer")
    if public and not is_public_key(public):
        raise UserError("--public: expected a public key of 40 characters (interlock keys show)")
    with store.changing() as entries:
        if name in entries:
            raise UserError(
                f"there is a key {name} already; replace it with: interlock keys rotate {name}"
            )
        entry = Entry(list(dict.fromkeys(role)), [], sorted(set(producer or [])))
        if (KeyRole.PRODUCER in role) != bool(producer):
            raise UserError(
                "a producer needs the names that it may use, and nobody else has them: --role "
                "producer goes with --producer NAME, or --producer 'PREFIX*'"
            )
        check_roles(name, entry, "--role")
        own = public or store.make(name).public
        entries[name] = msgspec.structs.replace(entry, public=[own])
    where = f"; its secret is {store.path_of(name)}" if not public else ""
    typer.echo(f"{name} ({fingerprint(own)}) is allowed as {_roles(entries[name])}{where}.")
    _tell_spread(store)


@app.command("list")
def list_keys(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List who is allowed: names, roles, fingerprints, and whose secrets are on this machine."""
    store = KeyStore(load_config(config))
    ring = store.ring()
    if as_json:
        found = [_told(store, name, entry) for name, entry in sorted(ring.entries.items())]
        print_json({"list": str(store.ring_path), "digest": ring.digest, "keys": found})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "roles", "producers", "fingerprint", "secret here", box=None)
    for name, entry in sorted(ring.entries.items()):
        secret = "yes" if store.has_secret(name) else ""
        prints = "\n".join(fingerprint(public) for public in entry.public)
        table.add_row(name, _roles(entry), " ".join(entry.producers), prints, secret)
    console = Console(soft_wrap=True)
    console.print(table)
    console.print(f"{store.ring_path}: {len(ring.by_key)} keys, list {ring.digest}", markup=False)


@app.command("show")
def show(name: KeyName, config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show one key: its public part, fingerprint and roles. The secret is never shown."""
    store = KeyStore(load_config(config))
    entry = store.ring().entries.get(name)
    own = read_pair(store.path_of(name)) if store.has_secret(name) else None
    if entry is None and own is None:
        raise UserError(f"neither {store.ring_path} nor {store.folder} has a key {name!r}")
    if as_json:
        print_json(_told(store, name, entry))
        return
    typer.echo(f"name         {name}")
    typer.echo(f"roles        {_roles(entry) if entry else 'none: it is not in the list'}")
    if entry and entry.producers:
        typer.echo(f"producers    {' '.join(entry.producers)}")
    for public in entry.public if entry else []:
        used = "  (used here)" if own and own.public == public else ""
        typer.echo(f"public       {public}  {fingerprint(public)}{used}")
    if own and (entry is None or own.public not in entry.public):
        typer.echo(f"public       {own.public}  {fingerprint(own.public)}  (here, not allowed)")
    typer.echo(f"secret here  {store.path_of(name) if own else 'no'}")


@app.command("revoke")
def revoke(name: KeyName, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Allow a key no more. Nodes drop its sessions as soon as they see the changed list."""
    loaded = load_config(config)
    if name in loaded.nodes:
        raise UserError(
            f"{name} is a node of the pair, which would stop; replace its key with: interlock keys "
            f"rotate {name}"
        )
    store = KeyStore(loaded)
    entry = store.revoke(name)
    prints = " and ".join(fingerprint(public) for public in entry.public)
    typer.echo(f"{name} ({prints}) is not allowed any more.")
    if store.has_secret(name):
        typer.echo(f"Its secret is useless now and still here: rm {store.path_of(name)}")
    _tell_spread(store)


@app.command("rotate")
def rotate(
    name: KeyName,
    activate: Annotated[bool, typer.Option("--activate", help="Use the new key here.")] = False,
    finish: Annotated[bool, typer.Option("--finish", help="Allow the old key no more.")] = False,
    public: Annotated[
        str,
        typer.Option(help="The new key is this public one, which was made elsewhere."),
    ] = "",
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Replace a key while everything runs, in three steps: rotate, --activate, --finish.

    First the new key is allowed beside the old one. When every node and client has that list, the
    owner of the key uses it. When all have come over, the old one is allowed no more.
    """
    if bool(activate) + bool(finish) + bool(public) > 1:
        raise UserError("--activate, --finish and --public are of different steps: give one")
    if public and not is_public_key(public):
        raise UserError("--public: expected a public key of 40 characters (interlock keys show)")
    store = KeyStore(load_config(config))
    if activate:
        pair = store.activate(name)
        typer.echo(f"{name} uses {fingerprint(pair.public)} here from now on.")
        typer.echo(
            "A running node takes it within a second and drops all its connections once; clients "
            f"take it when they connect again. Then: interlock keys rotate {name} --finish"
        )
    elif finish:
        old = store.finish(name)
        typer.echo(f"{name}: {' and '.join(map(fingerprint, old))} is not allowed any more.")
        _tell_spread(store)
    else:
        if not public and not store.has_secret(name):
            raise UserError(
                f"the secret of {name} is not on this machine; rotate it where it is used, or make "
                f"a new one there and allow it here: interlock keys rotate {name} --public KEY"
            )
        made = store.prepare(name, public)
        typer.echo(f"{name}: {fingerprint(made)} is allowed too, and not used yet.")
        _tell_spread(store)
        then = "--finish, once the new key is used" if public else "--activate"
        typer.echo(f"When all have it: interlock keys rotate {name} {then}")


@app.command("reload")
def reload(
    node: Annotated[str, typer.Option(help="Only this node; otherwise both.")] = "",
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Have the nodes read their lists of allowed keys now, and tell what that changed.

    They also look each second by themselves; this says whether it worked.
    """
    from ..client.control import ControlClient
    from ..client.errors import ClientError

    loaded = load_config(config)
    if node:
        loaded.node(node)
    control = ControlClient(loaded)
    digests: dict[str, str] = {}
    failed = []
    for name in [node] if node else loaded.nodes:
        try:
            reply = control.reload_keys(name)
        except ClientError as error:
            failed.append(
                str(error) if str(error).startswith(f"node {name} ") else f"node {name}: {error}"
            )
            continue
        digests[name] = reply.digest
        if not as_json:
            what = "; ".join(reply.changes) or "nothing has changed"
            typer.echo(f"{name}: {reply.keys} keys, list {reply.digest}: {what}")
    if as_json:
        print_json({"digests": digests, "failed": failed})
    if failed:
        raise ClientError("; ".join(failed))
    if len(set(digests.values())) > 1:
        raise ClientError(
            "the nodes have different lists: copy allowed.toml from one to the other, and reload"
        )


def _roles(entry: Entry) -> str:
    return ", ".join(sorted(role.value for role in entry.roles))


def _told(store: KeyStore, name: str, entry: Entry | None) -> dict[str, object]:
    return {
        "name": name,
        "roles": sorted(role.value for role in entry.roles) if entry else [],
        "producers": entry.producers if entry else [],
        "public": entry.public if entry else [],
        "fingerprints": [fingerprint(public) for public in entry.public] if entry else [],
        "secret_here": store.has_secret(name),
    }


def _tell_spread(store: KeyStore) -> None:
    """The list has changed: who needs it."""
    typer.echo(
        f"Nodes on this machine take {store.ring_path} within a second; copy it to the other "
        "machines, and see with: interlock keys reload"
    )


def keys_of(config: Config) -> list[str]:
    """Makes the first keys of a configuration that has a [security] table."""
    return first_keys(KeyStore(config), config)
