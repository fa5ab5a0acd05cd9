"""Files of keys that keep no secret, or that others could change: nothing is started with them.

By the commands that a user types; each complaint is one sentence that says what to do.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from interlock import Consumer, Producer
from interlock.cli.init import FILE
from interlock.cli.keys import keys_of, security_text
from interlock.cli.main import app
from interlock.shared.config import SOCKETS, Config, load_config
from interlock.shared.credentials import ENVIRONMENT, credentials
from interlock.shared.errors import UserError
from support.pair import endpoint, write_config

NOBODY = 65_534


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A pair with keys that nobody has started."""
    path = tmp_path / FILE
    write_config(path)
    path.write_text(path.read_text("utf-8") + security_text("ab"), "utf-8")
    found = load_config(path)
    keys_of(found)
    return found


def folder(config: Config) -> Path:
    found = config.keys_folder()
    assert found is not None
    return found


def refusal(*arguments: object) -> str:
    """What `interlock ...` complains about: one sentence, exit code 2."""
    words = [str(argument) for argument in arguments]
    done = CliRunner().invoke(app, words, env={ENVIRONMENT: ""})  # which --key changes
    assert done.exit_code == 2, f"expected exit code 2, got {done.exit_code}: {done.output}"
    assert done.stdout == ""
    assert done.stderr.startswith("interlock: ")
    assert done.stderr.count("\n") == 1, f"expected one sentence, got {done.stderr}"
    return str(done.stderr).removeprefix("interlock: ").removesuffix("\n")


LOOSER: list[tuple[str, int, str]] = [
    ("{node}.key", 0o644, "can be used by others (mode 644), so it keeps no secret; mend it with:"),
    ("{node}.key", 0o640, "can be used by others (mode 640), so it keeps no secret; mend it with:"),
    ("{node}.key", 0o602, "can be used by others (mode 602), so it keeps no secret; mend it with:"),
    ("", 0o755, "can be used by others (mode 755), so it keeps no secret; mend it with: chmod 700"),
    ("", 0o710, "can be used by others (mode 710), so it keeps no secret; mend it with: chmod 700"),
    ("allowed.toml", 0o664, "can be changed by others (mode 664), so nobody knows who is allowed"),
    ("allowed.toml", 0o602, "can be changed by others (mode 602), so nobody knows who is allowed"),
]


@pytest.mark.parametrize(("command", "node"), [("primary", "a"), ("secondary", "b")])
@pytest.mark.parametrize(("file", "mode", "told"), LOOSER)
def test_a_node_does_not_start_with_files_that_are_looser(
    config: Config, command: str, node: str, file: str, mode: int, told: str
) -> None:
    path = folder(config) / file.format(node=node)
    path.chmod(mode)
    complaint = refusal(command, "-c", config.path)
    assert complaint.startswith(f"{path} {told}"), complaint
    assert f"chmod {'700' if not file else '644' if 'toml' in file else '600'} {path}" in complaint


def removed(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def of_another(path: Path) -> None:
    path.write_bytes(path.with_name("app.key").read_bytes())


def disowned(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, NOBODY, NOBODY)


@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        ("a.key", removed, "there is no key "),
        ("a.key", emptied, "is no key; expected name, public and secret"),
        ("a.key", cut_short, "is no key; expected name, public and secret"),
        ("a.key", of_another, "does not allow the key of node a"),
        ("a.key", disowned, f"belongs to another user (uid {NOBODY})"),
        ("allowed.toml", removed, "there is no list of allowed keys"),
        ("allowed.toml", emptied, "does not allow the key of node a"),
        ("allowed.toml", cut_short, "is not valid TOML"),
        ("allowed.toml", disowned, f"belongs to another user (uid {NOBODY})"),
    ],
)
def test_a_node_does_not_start_with_files_that_are_not_whole(
    config: Config, file: str, change: Callable[[Path], None], told: str
) -> None:
    """And what is told quotes nothing of the secret."""
    path = folder(config) / file
    secret = (folder(config) / "a.key").read_text("utf-8").split('secret = "')[1][:10]
    change(path)
    complaint = refusal("primary", "-c", config.path)
    assert told in complaint, complaint
    assert str(folder(config)) in complaint
    assert secret not in complaint, "expected nothing of the secret in what is told"


@pytest.mark.parametrize("mode", [0o644, 0o660])
def test_a_client_s_key_that_others_can_read_is_not_used(config: Config, mode: int) -> None:
    """Whether it is named by name, by path or by the configuration; by a tool or by the SDK."""
    path = folder(config) / "app.key"
    path.chmod(mode)
    told = f"{path} can be used by others (mode {mode:o})"
    for name in ("app", path):
        assert refusal("--key", name, "status", "-c", config.path).startswith(told)
    assert refusal("consume", "--count", 1, "-c", config.path).startswith(told)
    for make in (
        lambda: Producer("x", config),
        lambda: Consumer(config),
        lambda: credentials(config, key="app"),
    ):
        with pytest.raises(UserError) as error:
            make()
        assert str(error.value).startswith(told)


def test_a_key_that_is_not_there_is_named_with_the_command_that_makes_it(config: Config) -> None:
    told = refusal("--key", "nobody", "status", "-c", config.path)
    assert told.startswith(f"there is no key {folder(config) / 'nobody.key'}; make it with: ")


@pytest.mark.parametrize(("command", "node"), [("primary", "a"), ("secondary", "b")])
@pytest.mark.parametrize("socket", SOCKETS)
def test_without_keys_no_socket_is_opened_that_others_could_reach(
    tmp_path: Path, command: str, node: str, socket: str
) -> None:
    path = tmp_path / FILE
    write_config(path)
    right = endpoint(load_config(path), node, socket)
    wrong = "tcp://0.0.0.0:7000"
    path.write_text(path.read_text("utf-8").replace(f'"{right}"', f'"{wrong}"'), "utf-8")
    told = refusal(command, "-c", path)
    assert told == (
        f"{path}: nodes.{node}.{socket}: {wrong} can be reached from other machines, and this pair "
        f"has no keys, so anybody could command it; make keys with: interlock keys init -c {path} "
        "(or bind to 127.0.0.1)"
    )
