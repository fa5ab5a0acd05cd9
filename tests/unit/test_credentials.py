"""Who we are to a node, which of its keys we expect, and what a failed handshake is told as."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from socket import create_server
from typing import Any

import msgspec
import pytest
import zmq

from interlock.client.channel import same_place
from interlock.client.dealer import Dealer
from interlock.client.errors import DeniedError
from interlock.shared import credentials as module
from interlock.shared.config import SOCKETS
from interlock.shared.credentials import (
    DENIED,
    ENVIRONMENT,
    PLAIN,
    Credentials,
    Watch,
    credentials,
    owners_of,
)
from interlock.shared.errors import UserError
from interlock.shared.keyring import KeyRing, write_ring
from interlock.shared.keys import KeyPair, fingerprint, new_pair, write_pair, write_private
from interlock.shared.sockets import make_socket
from interlock.tests.unit.keys_kit import House, Keys
from support.nodes import pair_config

FAILED = int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    made = Keys(tmp_path)
    write_pair(made.secret_path("app"), made.allow("app", "producer", producers=("*",)))
    write_pair(made.secret_path("operator"), made.allow("operator", "operator"))
    write_pair(made.secret_path("bob"), made.allow("bob", "observer"))
    return made


@pytest.fixture
def context() -> Iterator[zmq.Context[Any]]:
    made: zmq.Context[Any] = zmq.Context()
    yield made
    made.destroy(linger=0)


def of(pair: KeyPair | None, keys: Keys) -> Credentials:
    """Credentials that always know what is in memory."""
    return Credentials(lambda: (pair, KeyRing(keys.entries)), owners_of(keys.config))


def rotating(keys: Keys, node: str = "a") -> KeyPair:
    """The node's next key, allowed beside its present one."""
    new = new_pair(node)
    entry = keys.entries[node]
    keys.entries[node] = msgspec.structs.replace(entry, public=[*entry.public, new.public])
    write_ring(keys.path, keys.entries)
    return new


# Which key is ours ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "environment", "operator", "name"),
    [
        ("", "", False, "app"),
        ("", "", True, "operator"),
        ("", "bob", False, "bob"),
        ("", "bob", True, "bob"),
        ("app", "bob", True, "app"),
        ("{folder}/bob.key", "app", True, "bob"),
    ],
)
def test_the_key_is_the_one_that_was_named_last(
    keys: Keys,
    monkeypatch: pytest.MonkeyPatch,
    given: str,
    environment: str,
    operator: bool,
    name: str,
) -> None:
    monkeypatch.setenv(ENVIRONMENT, environment)
    found = credentials(
        keys.config, operator=operator, key=given.replace("{folder}", str(keys.folder))
    )
    assert found.used
    assert found.own == keys.pairs[name].public
    assert found.name == name


def test_a_key_may_lie_where_one_says(keys: Keys, tmp_path: Path) -> None:
    """On a machine that has the list, and a secret on a stick."""
    stick = tmp_path / "stick"
    stick.mkdir(mode=0o700)
    eve = new_pair("eve")
    write_pair(stick / "mine.key", eve)
    assert credentials(keys.config, key=str(stick / "mine.key")).own == eve.public


def test_a_key_that_is_not_there_or_not_secret_is_told(keys: Keys) -> None:
    with pytest.raises(UserError, match=r"there is no key .*eve\.key; .*--key"):
        credentials(keys.config, key="eve")
    keys.secret_path("bob").chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        credentials(keys.config, key="bob")


def test_our_name_is_the_lists_word_and_not_the_files(keys: Keys) -> None:
    """Nodes go by the list: a file's `name` is what its owner likes to be called."""
    found = of(KeyPair("root", keys.pairs["bob"].public, keys.pairs["bob"].secret), keys)
    assert found.name == "bob"
    assert of(new_pair("eve"), keys).name == "eve"


def test_without_keys_all_is_plain(keys: Keys, context: zmq.Context[Any]) -> None:
    found = credentials(pair_config(), key="anything")
    for each in (found, PLAIN):
        assert not each.used
        assert (each.name, each.own) == ("", "")
        assert all(each.may_connect(door) for door in SOCKETS)
    socket = make_socket(context, zmq.DEALER)
    found.connect(socket, "tcp://127.0.0.1:1")
    assert socket.getsockopt(zmq.MECHANISM) == zmq.NULL


def test_what_is_not_for_us_is_known_beforehand(keys: Keys) -> None:
    """So that a tool does not knock where it is not let in."""
    app = of(keys.pairs["app"], keys)
    assert [door for door in SOCKETS if app.may_connect(door)] == ["intake"]
    stranger = of(new_pair("eve"), keys)
    assert not any(stranger.may_connect(door) for door in SOCKETS)


# Changed files --------------------------------------------------------------------------------


def test_a_changed_list_or_key_is_taken_when_it_is_whole(keys: Keys) -> None:
    """Half of a change, in an editor or on its way from the other machine, takes nothing away."""
    found = credentials(keys.config, key="bob")
    bob = keys.pairs["bob"]
    assert found.may_connect("telemetry")
    keys.change("bob", "consumer")
    assert not found.may_connect("telemetry")
    assert found.may_connect("feed")
    text = keys.path.read_text("utf-8")
    for damage in ("[keys", ""):
        write_private(keys.path, damage, mode=0o644)
        assert found.own == bob.public
        assert found.may_connect("feed") == (damage != "")
    keys.path.unlink()
    assert found.own == bob.public
    write_private(keys.path, text, mode=0o644)
    assert found.may_connect("feed")

    new = new_pair("bob")
    secret = f'name = "bob"\npublic = "{new.public}"\nsecret = "{new.secret}"\n'
    write_private(keys.secret_path("bob"), "half", mode=0o600)
    assert found.own == bob.public
    write_private(keys.secret_path("bob"), secret, mode=0o600)
    assert found.own == new.public


def test_files_are_read_once_for_many_clients(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand producers in one process ask each time that they connect."""
    read: list[Path] = []
    really = module.read_pair

    def noted(path: Path) -> KeyPair:
        read.append(path)
        return really(path)

    monkeypatch.setattr(module, "read_pair", noted)
    many = [credentials(keys.config, key="bob") for _ in range(10)]
    assert {each.own for each in many} == {keys.pairs["bob"].public}
    assert len(read) == 1


# Which key of the node is expected ------------------------------------------------------------


def test_each_endpoint_is_known_by_its_node(keys: Keys) -> None:
    owners = owners_of(keys.config)
    assert len(owners) == 12
    found = of(keys.pairs["bob"], keys)
    for name, node in keys.config.nodes.items():
        for socket in SOCKETS:
            assert owners[getattr(node, socket)] == name
            assert found.expected(getattr(node, socket)) == keys.pairs[name].public


def test_while_a_node_rotates_its_keys_are_tried_in_turn(keys: Keys) -> None:
    new, old = rotating(keys), keys.pairs["a"].public
    found = of(keys.pairs["bob"], keys)
    a, b = keys.config.node("a").control, keys.config.node("b").control
    tried = []
    for _ in range(4):
        tried.append(found.expected(a))
        found.failed(a)
    assert tried == [old, new.public, old, new.public]
    assert found.expected(b) == keys.pairs["b"].public, "the other node is another matter"
    assert found.still_expects(a, old)
    assert found.still_expects(a, new.public)
    keys.entries["a"] = msgspec.structs.replace(keys.entries["a"], public=[new.public])
    assert not found.still_expects(a, old)
    assert not found.still_expects(b, new.public)


def test_a_node_without_a_key_is_not_talked_to(keys: Keys, context: zmq.Context[Any]) -> None:
    """Whoever sits at its address could say that he is the node."""
    found = of(keys.pairs["bob"], keys)
    socket = make_socket(context, zmq.DEALER)
    keys.change("a", "observer")
    with pytest.raises(UserError, match=r"node a has no key of role peer in allowed\.toml"):
        found.connect(socket, keys.config.node("a").control)
    del keys.entries["a"]
    with pytest.raises(UserError, match="node a has no key"):
        found.connect(socket, keys.config.node("a").control)
    with pytest.raises(UserError, match="no node is there by this configuration"):
        found.connect(socket, "tcp://127.0.0.1:9")


def test_an_endpoint_that_is_none_is_told(keys: Keys, context: zmq.Context[Any]) -> None:
    with pytest.raises(UserError, match=r"cannot connect to 'nowhere': .*expected tcp://HOST:PORT"):
        PLAIN.connect(make_socket(context, zmq.DEALER), "nowhere")


# What is told ---------------------------------------------------------------------------------


def test_a_failed_handshake_is_told_in_one_sentence(keys: Keys) -> None:
    a = keys.config.node("a").control
    bob = of(keys.pairs["bob"], keys)
    denied = bob.explain(DENIED, a)
    assert denied.startswith(f"node a does not let key bob ({fingerprint(bob.own)}) in at {a}")
    assert "allowed.toml" in denied
    unproven = bob.explain(FAILED, a)
    assert unproven.startswith(f"node a at {a} has not proven a key")
    assert "interlock keys list" in unproven
    plain = Credentials(PLAIN._known, owners_of(keys.config)).explain(FAILED, a)
    assert "uses keys, and this side has none" in plain
    assert bob.explain(FAILED, "tcp://127.0.0.1:9").startswith("the node at tcp://127.0.0.1:9")
    for text in (denied, unproven, plain):
        assert "\n" not in text
        assert keys.pairs["bob"].secret not in text
        assert bob.own not in text


@pytest.mark.parametrize(
    ("endpoint", "address", "same"),
    [
        ("tcp://127.0.0.1:7000", "tcp://127.0.0.1:7000", True),
        ("tcp://localhost:7000", "tcp://127.0.0.1:7000", True),
        ("tcp://localhost:7000", "tcp://[::1]:7000", True),
        ("tcp://127.0.0.1:7000", "tcp://127.0.0.1:700", False),
        ("tcp://127.0.0.1:7000", "tcp://127.0.0.1:17000", False),
        ("ipc:///run/a", "ipc:///run/a", True),
        ("ipc:///run/a", "ipc:///run/b", False),
    ],
)
def test_a_failure_is_known_by_its_place(endpoint: str, address: str, same: bool) -> None:
    assert same_place(endpoint, address) is same


# With a node ----------------------------------------------------------------------------------


@pytest.fixture
def house(keys: Keys) -> Iterator[House]:
    made = House(keys.config)
    yield made
    made.close()


def test_a_watch_sees_why_and_where_a_handshake_failed(
    house: House, keys: Keys, context: zmq.Context[Any]
) -> None:
    door = house.door("telemetry")
    found = Credentials(lambda: (keys.pairs["app"], KeyRing(keys.entries)), {door._endpoint: "a"})
    socket = make_socket(context, zmq.DEALER)
    watch = Watch(socket, keys=True)
    found.connect(socket, door._endpoint)
    seen: list[tuple[int, str]] = []

    def failed() -> bool:
        seen.extend(watch.failures())
        return bool(seen)

    house.until(failed)
    assert seen == [(DENIED, door._endpoint)]
    assert watch.failures() == []
    watch.close()


@pytest.mark.parametrize(
    ("keys", "events", "told"),
    [
        (True, ["NO_DETAIL"], True),
        (True, ["NO_DETAIL", "SUCCEEDED"], False),
        (True, ["SUCCEEDED", "NO_DETAIL"], True),
        (False, ["PROTOCOL"], True),
        (False, ["PROTOCOL", "SUCCEEDED"], False),
    ],
)
def test_a_failure_that_is_over_is_not_told(
    context: zmq.Context[Any], keys: bool, events: list[str], told: bool
) -> None:
    """A node that was just starting broke a handshake off, and the next one succeeded. Told later,
    the failure would end a good session: a restart of the primary then took two epochs."""
    socket = make_socket(context, zmq.DEALER)
    watch = Watch(socket, keys=keys)
    playing: zmq.Socket[Any] = context.socket(zmq.PAIR)
    playing.bind("inproc://played")
    watch.events.close()
    watch.events = context.socket(zmq.PAIR)
    watch.events.connect("inproc://played")
    for name in events:
        kind = "HANDSHAKE_" + (name if name == "SUCCEEDED" else f"FAILED_{name}")
        number = int(getattr(zmq, f"EVENT_{kind}"))
        playing.send_multipart([struct.pack("=HI", number, 0), b"tcp://127.0.0.1:1"])
    assert bool(watch.failures()) is told
    playing.close()
    watch.close()


def test_without_keys_a_handshake_that_is_broken_off_says_nothing(
    context: zmq.Context[Any],
) -> None:
    """The node may just be starting or ending: that is no word on keys."""
    with create_server(("127.0.0.1", 0)) as server:
        made = make_socket(context, zmq.DEALER)
        watch = Watch(made, keys=False)
        made.connect(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        for _ in range(3):
            caller, _ = server.accept()
            caller.recv(10)
            caller.close()
        assert watch.failures() == []
        watch.close()


class Patient:
    """A Dealer's `receive`, with turns of the house in between."""

    def __init__(self, house: House, dealer: Dealer) -> None:
        self.house, self.dealer = house, dealer

    def receive(self) -> bytes:
        found: list[bytes] = []

        def came() -> bool:
            frame = self.dealer.receive(0)
            if frame is not None:
                found.append(frame)
            return bool(found)

        self.house.until(came)
        return found[0]


def test_a_question_is_asked_again_of_the_nodes_other_key(house: House, keys: Keys) -> None:
    """The node is rotated: our list names its old key first, and it proves the new one. The
    question never left; it must not be lost with the handshake."""
    new = rotating(keys)
    secret = f'name = "a"\npublic = "{new.public}"\nsecret = "{new.secret}"\n'
    write_private(keys.secret_path("a"), secret, mode=0o600)
    house.keeper.reload("test")
    door = house.door("telemetry")
    found = Credentials(lambda: (keys.pairs["bob"], KeyRing(keys.entries)), {door._endpoint: "a"})
    with Dealer(door._endpoint, found) as dealer:
        dealer.send(b"question")

        def arrived() -> bool:
            assert dealer.receive(0) is None
            return house.heard(b"question")

        house.until(arrived)
        sender = house.arrived[0][0]
        door.socket.send_multipart([sender, b"answer"])
        assert Patient(house, dealer).receive() == b"answer"
    assert [frames for _, _, frames in house.arrived] == [[b"question"]], "once"


@pytest.mark.parametrize(
    ("who", "told"),
    [
        ("app", "node a does not let key app"),
        ("nobody", "node a does not let key nobody"),
        ("", "uses keys, and this side has none"),
        ("bob", "has not proven a key"),
    ],
)
def test_who_is_not_let_in_is_told_at_once(house: House, keys: Keys, who: str, told: str) -> None:
    """Waiting would not help. The last one expects another node's key."""
    door = house.door("telemetry")
    pair = keys.pairs.get(who) or (new_pair(who) if who else None)
    owner = "b" if who == "bob" else "a"
    found = Credentials(lambda: (pair, KeyRing(keys.entries)), {door._endpoint: owner})

    def refused() -> bool:
        dealer.receive(0)
        return False

    with Dealer(door._endpoint, found) as dealer:
        dealer.send(b"question")
        with pytest.raises(DeniedError, match=told):
            house.until(refused)
    assert house.arrived == []
