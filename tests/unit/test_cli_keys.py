"""`interlock keys`: what each command changes, in which order, and that no secret is ever shown."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from interlock.cli import keystore as keystore_module
from interlock.cli.keystore import KeyStore
from interlock.cli.main import app
from interlock.client.errors import ClientError
from interlock.shared.commands import KeysReloaded
from interlock.shared.config import Config, load_config
from interlock.shared.errors import UserError
from interlock.shared.keyring import Entry, KeyRole, read_ring
from interlock.shared.keys import fingerprint, new_pair, read_pair


class Desk:
    """A pair's folder and the commands run on it; whatever they print is looked through."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.secrets: set[str] = set()

    @property
    def config(self) -> Config:
        return load_config(self.directory)

    @property
    def store(self) -> KeyStore:
        return KeyStore(self.config)

    def invoke(self, *arguments: object) -> Result:
        command = [*map(str, arguments), "-c", str(self.directory)]
        result = CliRunner().invoke(app, command)
        for path in self.directory.rglob("*.key*"):
            self.secrets.add(path.read_text("utf-8").split('secret = "')[1][:12])
        text = result.stdout + result.stderr
        assert not any(secret in text for secret in self.secrets), "a secret was printed"
        return result

    def keys(self, *arguments: object) -> str:
        """What the command says. Fails unless it succeeds."""
        result = self.invoke("keys", *arguments)
        assert result.exit_code == 0, result.output
        return str(result.stdout)

    def refusal(self, *arguments: object, code: int = 2) -> str:
        """What the command complains about: one sentence, `code`, and nothing is changed."""
        before = self.files()
        result = self.invoke("keys", *arguments)
        assert result.exit_code == code, result.output
        assert result.stderr.startswith("interlock: ")
        assert result.stderr.count("\n") == 1
        assert self.files() == before
        return str(result.stderr)

    def files(self) -> dict[str, bytes]:
        return {
            str(each): each.read_bytes() for each in self.directory.rglob("*") if each.is_file()
        }

    def entries(self) -> dict[str, Entry]:
        return self.store.ring().entries


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr("getpass.getuser", lambda: "ann")
    made = Desk(tmp_path / "pair")
    result = CliRunner().invoke(app, ["init", str(made.directory)])
    assert result.exit_code == 0, result.output
    yield made
    for path in made.directory.rglob("keys/*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o644 if path.name == "allowed.toml" else 0o600), path
    assert stat.S_IMODE((made.directory / "keys").stat().st_mode) == 0o700


# The first keys -------------------------------------------------------------------------------


def test_init_makes_the_keys_of_a_first_start(desk: Desk) -> None:
    entries = desk.entries()
    assert {name: {role.value for role in entry.roles} for name, entry in entries.items()} == {
        "a": {"peer"},
        "b": {"peer"},
        "app": {"producer", "consumer"},
        "ann": {"operator", "observer"},
    }
    assert entries["app"].producers == ["*"]
    for name, entry in entries.items():
        assert [read_pair(desk.store.path_of(name)).public] == entry.public


@pytest.mark.parametrize(
    ("login", "operator"), [("app", "operator"), ("a", "operator"), ("dom\\eve", "operator")]
)
def test_a_login_that_cannot_name_a_key_is_called_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, login: str, operator: str
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: login)
    assert CliRunner().invoke(app, ["init", str(tmp_path)]).exit_code == 0
    security = load_config(tmp_path).security
    assert security is not None
    assert security.operator == operator
    assert operator in KeyStore(load_config(tmp_path)).ring().entries


@pytest.mark.parametrize("names", ["app,apps", "ann,b", "operator,ann", "a,operator", "A,1"])
def test_a_node_of_any_name_has_a_key_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: str
) -> None:
    """A node that shares its key's name with an application, or with the one who types, would not
    be allowed as a peer, and never start."""
    monkeypatch.setattr("getpass.getuser", lambda: "ann")
    result = CliRunner().invoke(app, ["init", str(tmp_path), "--node-names", names])
    assert result.exit_code == 0, result.output
    ring = KeyStore(load_config(tmp_path)).ring()
    assert len(ring.entries) == 4
    for node in names.split(","):
        assert len(ring.server_keys(node)) == 1


@pytest.mark.parametrize("names", ["_a,b", "a,-b"])
def test_a_node_whose_name_cannot_be_that_of_a_key_leaves_nothing_behind(
    tmp_path: Path, names: str
) -> None:
    """A configuration without keys would be in the way of the next try."""
    result = CliRunner().invoke(app, ["init", str(tmp_path), f"--node-names={names}"])
    assert result.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_pair_without_keys_gets_them_later(tmp_path: Path) -> None:
    made = Desk(tmp_path / "pair")
    CliRunner().invoke(app, ["init", str(made.directory), "--insecure-loopback"])
    assert not (made.directory / "keys").exists()
    assert "uses no keys" in made.refusal("list")
    before = made.config
    assert "Restart nodes that run without" in made.keys("init")
    after = made.config
    assert after.security is not None
    assert msgspec.structs.replace(after, security=None) == before
    assert len(made.entries()) == 4


def test_what_is_there_is_left_alone(desk: Desk) -> None:
    before = desk.files()
    assert "nothing was changed" in desk.keys("init")
    assert desk.files() == before


def test_first_keys_that_were_cut_short_are_completed(desk: Desk) -> None:
    """Killed after a secret was stored and before it was allowed: the same secret is used."""
    secret = desk.store.path_of("b").read_bytes()
    with desk.store.changing() as entries:
        del entries["b"]
    assert "Made in" in desk.keys("init")
    assert desk.store.path_of("b").read_bytes() == secret
    assert desk.entries()["b"].public == [read_pair(desk.store.path_of("b")).public]


# New ------------------------------------------------------------------------------------------


def test_a_new_key_is_made_and_allowed(desk: Desk) -> None:
    said = desk.keys(
        *("new", "feeds", "--role", "producer", "--role", "consumer"),
        *("--producer", "mm-*", "--producer", "feed-1"),
    )
    pair = read_pair(desk.store.path_of("feeds"))
    entry = desk.entries()["feeds"]
    assert entry == Entry([KeyRole.CONSUMER, KeyRole.PRODUCER], [pair.public], ["feed-1", "mm-*"])
    assert fingerprint(pair.public) in said
    assert "consumer, producer" in said
    assert str(desk.store.path_of("feeds")) in said
    assert "keys reload" in said


def test_a_key_that_was_made_elsewhere_is_allowed_without_a_secret(desk: Desk) -> None:
    public = new_pair("x").public
    said = desk.keys("new", "eye", "--role", "observer", "--public", public)
    assert desk.entries()["eye"] == Entry([KeyRole.OBSERVER], [public])
    assert not desk.store.has_secret("eye")
    assert "secret" not in said


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["app", "--role", "observer"], "interlock keys rotate app"),
        (["a/b", "--role", "observer"], "'a/b' is no name for a key"),
        (["../x", "--role", "observer"], "'../x' is no name for a key"),
        (["x", "--role", "producer", "--producer", "a b"], "--producer: 'a b'"),
        (["x", "--role", "producer"], "a producer needs the names"),
        (["x", "--role", "observer", "--producer", "p"], "a producer needs the names"),
        (["x", "--role", "peer", "--role", "operator"], "has the role peer and no other"),
        (["x", "--role", "producer", "--producer", 'q"]\n'], "--producer: "),
        (["x", "--role", "observer", "--public", "short"], "--public: expected a public key"),
        (["x", "--role", "observer", "--public", "~" * 40], "--public: expected a public key"),
    ],
)
def test_a_new_key_that_cannot_be_is_refused(desk: Desk, arguments: list[str], told: str) -> None:
    assert told in desk.refusal("new", *arguments)


def test_a_secret_that_is_not_allowed_any_more_is_not_used_again(desk: Desk) -> None:
    """It was revoked for a reason: perhaps somebody else has it."""
    desk.keys("revoke", "app")
    told = desk.refusal("new", "app", "--role", "observer")
    path = desk.store.path_of("app")
    assert f"rm {path}" in told
    revoked = read_pair(path).public
    path.unlink()
    desk.keys("new", "app", "--role", "observer")
    assert desk.entries()["app"].public != [revoked]


def test_a_key_that_somebody_has_is_not_given_another_name(desk: Desk) -> None:
    public = desk.entries()["ann"].public[0]
    told = desk.refusal("new", "eve", "--role", "approver", "--public", public)
    assert "keys.eve: the key is that of ann too" in told


def test_a_folder_that_others_can_enter_is_refused(desk: Desk) -> None:
    folder = desk.store.folder
    folder.chmod(0o750)
    told = desk.refusal("new", "eve", "--role", "observer")
    assert f"chmod 700 {folder}" in told
    folder.chmod(0o700)


# List and show --------------------------------------------------------------------------------


def test_the_list_shows_names_roles_fingerprints_and_whose_secret_is_here(desk: Desk) -> None:
    public = new_pair("x").public
    desk.keys("new", "eye", "--role", "observer", "--public", public)
    lines = {line.split()[0]: line for line in desk.keys("list").splitlines() if line.strip()}
    for name, entry in desk.entries().items():
        assert fingerprint(entry.public[0]) in lines[name]
        assert ("yes" in lines[name]) == (name != "eye")
    assert "operator" in lines["ann"]
    assert "*" in lines["app"]
    found = json.loads(desk.keys("list", "--json"))
    assert found["digest"] == desk.store.ring().digest
    assert [key["name"] for key in found["keys"]] == ["a", "ann", "app", "b", "eye"]
    (eye,) = (key for key in found["keys"] if key["name"] == "eye")
    assert eye == {
        "name": "eye",
        "roles": ["observer"],
        "producers": [],
        "public": [public],
        "fingerprints": [fingerprint(public)],
        "secret_here": False,
    }


def test_show_prints_what_is_to_be_brought_elsewhere(desk: Desk) -> None:
    pair = read_pair(desk.store.path_of("app"))
    said = desk.keys("show", "app")
    assert f"public       {pair.public}  {fingerprint(pair.public)}  (used here)" in said
    assert "consumer, producer" in said
    assert json.loads(desk.keys("show", "app", "--json"))["public"] == [pair.public]
    assert "has a key 'nobody'" in desk.refusal("show", "nobody")


def test_show_tells_a_key_that_is_here_and_not_allowed(desk: Desk) -> None:
    desk.keys("revoke", "app")
    said = desk.keys("show", "app")
    assert "none: it is not in the list" in said
    assert "(here, not allowed)" in said


def test_a_damaged_secret_is_refused_and_not_shown(desk: Desk) -> None:
    path = desk.store.path_of("app")
    secret = read_pair(path).secret
    path.write_text(path.read_text("utf-8").replace('secret = "', 'secret = "~'), "utf-8")
    result = CliRunner().invoke(app, ["keys", "show", "app", "-c", str(desk.directory)])
    assert result.exit_code == 2
    assert str(path) in result.stderr
    assert secret[:12] not in result.output
    path.unlink()


# Revoke ---------------------------------------------------------------------------------------


def test_a_revoked_key_is_out_of_the_list(desk: Desk) -> None:
    public = desk.entries()["app"].public[0]
    said = desk.keys("revoke", "app")
    assert fingerprint(public) in said
    assert f"rm {desk.store.path_of('app')}" in said
    assert "app" not in desk.entries()
    assert public not in desk.store.ring().by_key
    assert "has no key 'app'; it has: a, ann, b" in desk.refusal("revoke", "app")


def test_a_node_is_not_revoked(desk: Desk) -> None:
    """The pair would stop: a node whose key is not allowed does not start."""
    assert "interlock keys rotate a" in desk.refusal("revoke", "a")


# Rotate ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "app"])
def test_a_key_is_rotated_in_three_steps(desk: Desk, name: str) -> None:
    """At no moment is the key in use one that is not allowed."""
    before = desk.entries()[name]
    (old,) = before.public

    def used() -> str:
        public = read_pair(desk.store.path_of(name)).public
        assert public in desk.entries()[name].public
        return public

    said = desk.keys("rotate", name)
    assert "--activate" in said
    both = desk.entries()[name].public
    assert both[0] == old, "the newest is last"
    assert used() == old
    desk.keys("rotate", name, "--activate")
    assert used() == both[1]
    assert desk.entries()[name].public == both
    assert not desk.store.next_path_of(name).exists()
    said = desk.keys("rotate", name, "--finish")
    assert f"{name}: {fingerprint(old)} is not allowed any more" in said
    assert used() == both[1]
    assert desk.entries()[name] == msgspec.structs.replace(before, public=[both[1]])


def test_steps_out_of_order_are_refused_and_say_which_one_is_next(desk: Desk) -> None:
    assert "begin with: interlock keys rotate app" in desk.refusal("rotate", "app", "--activate")
    assert "is not being rotated" in desk.refusal("rotate", "app", "--finish")
    assert "give one" in desk.refusal("rotate", "app", "--activate", "--finish")
    desk.keys("rotate", "app")
    assert "rotated already" in desk.refusal("rotate", "app")
    assert "--activate" in desk.refusal("rotate", "app", "--finish")
    desk.keys("rotate", "app", "--activate")
    assert "activated already" in desk.refusal("rotate", "app", "--activate")
    assert "rotated already" in desk.refusal("rotate", "app")
    desk.keys("rotate", "app", "--finish")
    assert "is not being rotated" in desk.refusal("rotate", "app", "--finish")
    desk.keys("rotate", "app")


def test_a_rotation_that_was_cut_short_goes_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next secret was stored, and there was no space for the list."""

    def fail(*_: object) -> None:
        raise UserError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(keystore_module, "write_ring", fail)
        result = desk.invoke("keys", "rotate", "a")
        assert result.exit_code == 2
    next_key = read_pair(desk.store.next_path_of("a")).public
    assert "is not allowed by" in desk.refusal("rotate", "a", "--activate")
    desk.keys("rotate", "a")
    assert desk.entries()["a"].public[-1] == next_key
    desk.keys("rotate", "a", "--activate")
    desk.keys("rotate", "a", "--finish")
    assert desk.entries()["a"].public == [next_key]


def test_a_key_is_rotated_where_its_secret_is_or_by_its_public_part(desk: Desk) -> None:
    old, new = new_pair("eye").public, new_pair("eye").public
    desk.keys("new", "eye", "--role", "observer", "--public", old)
    assert "rotate eye --public KEY" in desk.refusal("rotate", "eye")
    assert "expected a public key" in desk.refusal("rotate", "eye", "--public", "short")
    assert "that of eye too" in desk.refusal("rotate", "eye", "--public", old)
    said = desk.keys("rotate", "eye", "--public", new)
    assert "--finish" in said
    assert desk.entries()["eye"].public == [old, new]
    desk.keys("rotate", "eye", "--finish")
    assert desk.entries()["eye"].public == [new]
    assert "has no key 'nobody'" in desk.refusal("rotate", "nobody", "--public", old)


def test_a_key_made_elsewhere_takes_the_place_of_a_rotation_that_was_cut_short(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The secret that was left behind would keep the next steps from being done."""
    with monkeypatch.context() as patch:
        patch.setattr(keystore_module, "write_ring", no_space)
        assert desk.invoke("keys", "rotate", "a").exit_code == 2
    elsewhere = new_pair("a").public
    desk.keys("rotate", "a", "--public", elsewhere)
    assert not desk.store.next_path_of("a").exists()
    desk.keys("rotate", "a", "--finish")
    assert desk.entries()["a"].public == [elsewhere]


def no_space(path: Path, entries: dict[str, Entry]) -> None:
    raise UserError(f"cannot write {path}: No space left on device")


def test_the_next_key_is_not_used_where_the_list_does_not_have_it(desk: Desk) -> None:
    """Another machine's list, older than the rotation: a node would lock itself out."""
    before = desk.store.ring_path.read_text("utf-8")
    desk.keys("rotate", "a")
    desk.store.ring_path.write_text(before, "utf-8")
    assert "is not allowed by" in desk.refusal("rotate", "a", "--activate")


# One command at a time ------------------------------------------------------------------------


def test_commands_at_once_do_not_lose_each_others_keys(desk: Desk) -> None:
    """Each reads the list, changes it and writes it: without a lock the last one wins."""
    store = desk.store

    def add(number: int) -> None:
        with store.changing() as entries:
            entries[f"n{number}"] = Entry([KeyRole.OBSERVER], [new_pair("x").public])

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(desk.entries()) == 4 + 8


def test_a_change_that_fails_is_not_stored_and_gives_the_lock_back(desk: Desk) -> None:
    before = desk.files()

    def fail() -> None:
        with desk.store.changing() as entries:
            entries.clear()
            raise UserError("changed its mind")

    for _ in range(2):
        with pytest.raises(UserError, match="changed its mind"):
            fail()
    assert desk.files() == before


def test_a_secret_is_stored_before_it_is_allowed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in between, nobody has a key that is allowed and whose secret is nowhere."""
    order: list[str] = []
    write_pair, write_ring = keystore_module.write_pair, keystore_module.write_ring

    def noted_pair(path: Path, *more: Any) -> None:
        order.append(path.name)
        write_pair(path, *more)

    def noted_ring(path: Path, *more: Any) -> None:
        order.append(path.name)
        write_ring(path, *more)

    monkeypatch.setattr(keystore_module, "write_pair", noted_pair)
    monkeypatch.setattr(keystore_module, "write_ring", noted_ring)
    desk.keys("new", "eye", "--role", "observer")
    desk.keys("rotate", "a")
    assert order == ["eye.key", "allowed.toml", "a.key.next", "allowed.toml"]


# Reload ---------------------------------------------------------------------------------------


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> dict[str, KeysReloaded | str]:
    """What each node answers; a text: it does not."""
    answers: dict[str, KeysReloaded | str] = {}

    class Control:
        def __init__(self, config: Config, **_: Any) -> None:
            pass

        def reload_keys(self, node: str) -> KeysReloaded:
            answer = answers[node]
            if isinstance(answer, str):
                raise ClientError(answer)
            return answer

    monkeypatch.setattr("interlock.client.control.ControlClient", Control)
    return answers


def test_reload_tells_what_each_node_has_taken(
    desk: Desk, nodes: dict[str, KeysReloaded | str]
) -> None:
    nodes.update(a=KeysReloaded("d1", 4, ["removed key eve"]), b=KeysReloaded("d1", 4, []))
    said = desk.keys("reload")
    assert "a: 4 keys, list d1: removed key eve" in said
    assert "b: 4 keys, list d1: nothing has changed" in said
    assert "b:" not in desk.keys("reload", "--node", "a")
    assert json.loads(desk.keys("reload", "--json")) == {
        "digests": {"a": "d1", "b": "d1"},
        "failed": [],
    }
    assert "no node 'c'" in desk.refusal("reload", "--node", "c")


def test_lists_that_differ_are_told(desk: Desk, nodes: dict[str, KeysReloaded | str]) -> None:
    """The other machine did not get the copy: a revoked key goes on there."""
    nodes.update(a=KeysReloaded("d1", 4, []), b=KeysReloaded("d2", 5, []))
    assert "the nodes have different lists" in desk.refusal("reload", code=1)


def test_a_node_that_kept_its_old_list_is_told(
    desk: Desk, nodes: dict[str, KeysReloaded | str]
) -> None:
    nodes.update(a="the keys stay as they were: no TOML", b=KeysReloaded("d2", 5, []))
    assert "node a: the keys stay as they were: no TOML" in desk.refusal("reload", code=1)
    result = desk.invoke("keys", "reload", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["failed"] == ["node a: the keys stay as they were: no TOML"]


def test_the_folder_holds_nothing_else(desk: Desk) -> None:
    assert read_ring(desk.store.ring_path).entries == desk.entries()
    assert {each.name for each in desk.store.folder.iterdir()} == {
        *("allowed.toml", "a.key", "b.key", "app.key", "ann.key")
    }
