"""The authentication handler (ZAP) of a node and the list that it goes by.

Whatever happens to the handler or to its list, the answer to a doubt is no: and the node goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from zmq.utils import z85

from interlock.shared.commands import KeysReloaded
from interlock.shared.config import SOCKETS
from interlock.shared.doorkeeper import ZAP_ENDPOINT
from interlock.shared.errors import UserError
from interlock.shared.keyring import KeyRing
from interlock.shared.keys import KeyPair, fingerprint, new_pair, write_private
from interlock.shared.limits import MAX_BAD_FRAMES, MAX_KEY_CHANGES, MAX_MISBEHAVING, MAX_TEXT_CHARS
from interlock.shared.messages import Codec, encode
from interlock.tests.unit.keys_kit import SECOND, House, Keys
from support.nodes import pair_config


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    made = Keys(tmp_path)
    made.allow("feed", "producer", producers=("mm-*",))
    made.allow("ann", "operator")
    return made


@pytest.fixture
def house(keys: Keys) -> Iterator[House]:
    made = House(keys.config)
    yield made
    made.close()


def request(domain: str, public: str, mechanism: bytes = b"CURVE") -> list[bytes]:
    """As libzmq asks the handler (RFC 27): version, request, domain, address, identity, mechanism,
    and the key."""
    key = z85.decode(public.encode("ascii"))
    return [b"1.0", b"1", domain.encode("ascii"), b"127.0.0.1", b"", mechanism, key]


def ask(house: House, *frames: bytes) -> list[bytes]:
    """What the handler answers: version, request, status, text, user, metadata. [] is nothing."""
    socket = house.context.socket(zmq.DEALER)
    socket.connect(ZAP_ENDPOINT)
    try:
        socket.send_multipart([b"", *frames])
        house.turn()
        house.turn()
        if not socket.poll(0):
            return []
        delimiter, *answer = socket.recv_multipart()
        assert delimiter == b""
        return answer
    finally:
        socket.close(linger=0)


def status(house: House) -> str:
    """What the node's status says to be wrong."""
    found = house.keeper.status(house.now)
    assert found is not None
    return found.error


def refused(house: House, door: str) -> dict[str, int]:
    """How often each reason was counted at a door."""
    return {
        reason.removeprefix(f"{door}."): number
        for reason, number in house.counters.refused_by_reason.items()
        if reason.startswith(f"{door}.")
    }


# What the handler answers ---------------------------------------------------------------------


def test_a_known_key_is_let_in_under_its_own_name(house: House, keys: Keys) -> None:
    """The user id is what each message is judged by: it must be the key, and this very key."""
    public = keys.pairs["feed"].public
    answer = ask(house, *request("intake", public))
    assert answer == [b"1.0", b"1", b"200", b"", public.encode("ascii"), b""]
    assert house.notes == []


@pytest.mark.parametrize("door", SOCKETS)
def test_an_unknown_key_is_not_let_in(house: House, door: str) -> None:
    public = new_pair("eve").public
    assert ask(house, *request(door, public)) == [b"1.0", b"1", b"400", b"", b"", b""]
    assert refused(house, door) == {"unknown-key": 1}
    (note,) = house.notes
    assert f"an unknown key ({fingerprint(public)}) from 127.0.0.1 was not let in at {door}" in note
    assert public not in note


@pytest.mark.parametrize("door", [socket for socket in SOCKETS if socket != "intake"])
def test_a_key_is_let_in_at_its_own_doors_only(house: House, keys: Keys, door: str) -> None:
    assert ask(house, *request(door, keys.pairs["feed"].public))[2:5] == [b"400", b"", b""]
    assert refused(house, door) == {"not-allowed": 1}
    assert "key feed (SHA256:" in house.notes[0]
    assert "with the role producer" in house.notes[0]


@pytest.mark.parametrize("mechanism", [b"NULL", b"PLAIN", b"GSSAPI", b"curve", b""])
def test_no_other_mechanism_is_let_in(house: House, keys: Keys, mechanism: bytes) -> None:
    """With NULL and no key at all, a handler that forgets to look would let everybody in."""
    frames = request("intake", keys.pairs["feed"].public, mechanism)
    assert ask(house, *frames)[2:5] == [b"400", b"", b""]
    assert ask(house, *frames[:-1])[2:5] == [b"400", b"", b""]


def test_a_banned_key_is_not_let_in_until_its_time_is_over(house: House, keys: Keys) -> None:
    public = keys.pairs["feed"].public
    for _ in range(MAX_BAD_FRAMES):
        house.keeper.conduct.bad(public, house.now)
    assert ask(house, *request("intake", public))[2] == b"400"
    assert refused(house, "intake") == {"banned": 1}
    found = house.keeper.status(house.now)
    assert found is not None
    assert found.banned == [f"key feed ({fingerprint(public)})"]
    house.now += 3_600 * SECOND
    assert ask(house, *request("intake", public))[2] == b"200"
    found = house.keeper.status(house.now)
    assert found is not None
    assert found.banned == []


# The handler fails: nobody gets in, the status says so, the node goes on -----------------------


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([b"1.0"], id="cut-short"),
        pytest.param([*request("intake", new_pair("x").public)[:-1], b"k" * 31], id="short-key"),
        pytest.param(
            [b"1.0", b"1", b"\xff", b"::1", b"", b"CURVE", b"k" * 32], id="domain-is-no-text"
        ),
        pytest.param(
            [b"1.0", b"1", b"intake", b"\xff", b"", b"CURVE", b"k" * 32], id="address-is-no-text"
        ),
    ],
)
def test_a_request_that_breaks_the_handler_is_not_answered(
    house: House, keys: Keys, frames: list[bytes]
) -> None:
    assert ask(house, *frames) == []
    assert house.counters.counts["handshake-errors"] == 1
    assert "the authentication handler failed" in house.notes[-1]
    assert status(house)
    assert ask(house, *request("intake", keys.pairs["feed"].public))[2] == b"200"


def test_a_domain_that_is_none_lets_nobody_in(house: House, keys: Keys) -> None:
    for domain in ("lobby", "", "INTAKE", "intake "):
        assert ask(house, *request(domain, keys.pairs["feed"].public)) == []
        assert ask(house, *request(domain, new_pair("eve").public))[2] == b"400"
    assert house.counters.counts["handshake-errors"] == 4


def test_a_handler_that_raises_lets_nobody_in_and_the_node_goes_on(
    house: House, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pyzmq's own authenticator did not: its thread died of the first error, and for good."""
    door = house.door("intake")
    public = keys.pairs["feed"].public

    def fail(_: str) -> None:
        raise RuntimeError("the list is upside down")

    monkeypatch.setattr(house.keeper, "who", fail)
    unlucky = house.client(door, keys.pairs["feed"])
    unlucky.socket.send(b"unlucky")
    house.until(lambda: house.counters.counts["handshake-errors"])
    assert not unlucky.is_in
    unlucky.close()
    assert status(house) == "RuntimeError: the list is upside down"
    monkeypatch.undo()
    lucky = house.client(door, keys.pairs["feed"])
    lucky.socket.send(b"lucky")
    house.until(lambda: house.heard(b"lucky"))
    assert not house.heard(b"unlucky")
    assert house.arrived[0][1].public == public


def test_without_its_handler_a_node_lets_nobody_in_and_says_so(house: House, keys: Keys) -> None:
    """CURVE alone takes any key: it is ZAP_ENFORCE_DOMAIN that makes a missing handler a no."""
    door = house.door("intake")
    old = house.client(door, keys.pairs["feed"])
    old.socket.send(b"before")
    house.until(lambda: house.heard(b"before"))
    assert status(house) == ""
    assert house.keeper.socket is not None
    house.waiter.remove(house.keeper.socket)
    house.keeper.socket.close()
    new = house.client(door, keys.pairs["feed"])
    new.socket.send(b"new")
    house.until(lambda: new.failed)
    old.socket.send(b"after")  # who was in, stays
    house.until(lambda: house.heard(b"after"))
    assert not new.is_in
    assert not house.heard(b"new")
    assert "the authentication handler is gone" in status(house)


def test_real_clients_meet_the_same_answers(house: House, keys: Keys) -> None:
    intake, control = house.door("intake"), house.door("control")
    cases: list[tuple[Any, KeyPair | None]] = [
        (intake, keys.pairs["feed"]),
        (intake, new_pair("eve")),
        (control, keys.pairs["feed"]),
        (control, keys.pairs["ann"]),
        (intake, None),
    ]
    clients = [house.client(door, pair) for door, pair in cases]
    for index, client in enumerate(clients):
        client.socket.send(b"%d" % index)
    house.until(lambda: house.heard(b"0") and house.heard(b"3"))
    house.until(lambda: clients[1].denied and clients[2].denied and clients[4].failed)
    assert sorted(frames[0] for _, _, frames in house.arrived) == [b"0", b"3"]
    assert {who.name for _, who, _ in house.arrived} == {"feed", "ann"}


def test_a_node_that_cannot_prove_its_key_is_not_talked_to(house: House, keys: Keys) -> None:
    """Somebody else listens at the node's address: the client must not tell him anything."""
    door = house.door("intake")
    client = house.client(door, keys.pairs["feed"], server=keys.pairs["b"].public)
    client.socket.send(b"secret")
    house.until(lambda: client.failed)
    assert not client.is_in
    assert house.arrived == []


# Notes ----------------------------------------------------------------------------------------


def test_who_knocks_all_day_is_noted_once_a_minute_for_each_door(house: House) -> None:
    """The log is for people: one who tries again each second would be all of it."""
    one, two = new_pair("x").public, new_pair("x").public
    for seconds in range(180):
        house.now += SECOND
        house.keeper.look(house.now)
        ask(house, *request("intake", one))
        if seconds == 90:
            ask(house, *request("control", one))
            ask(house, *request("intake", two))
    assert refused(house, "intake") == {"unknown-key": 181}
    assert sum(fingerprint(one) in note and "at intake" in note for note in house.notes) == 3
    assert sum(fingerprint(one) in note and "at control" in note for note in house.notes) == 1
    assert sum(fingerprint(two) in note for note in house.notes) == 1


def test_notes_of_a_minute_ago_are_noted_again_without_keys_too() -> None:
    """Bans and crowds are noted by the same clock, and there are those without keys."""
    house = House(pair_config())
    for _ in range(3):
        house.now += 61 * SECOND
        house.keeper.look(house.now)
        house.keeper.note_denied("", "intake", "too many")
        house.keeper.note_denied("", "intake", "too many")
    assert house.notes == ["too many"] * 3
    house.close()


def test_what_is_known_of_those_who_knock_is_bounded(house: House) -> None:
    for number in range(3 * MAX_MISBEHAVING):
        house.keeper.note_denied(f"{number}", "intake", "no")
    assert len(house.keeper._noted_ns) <= MAX_MISBEHAVING


# The list changes -----------------------------------------------------------------------------


def look(house: House) -> Any:
    """A second later."""
    house.now += SECOND
    return house.keeper.look(house.now)


def test_a_changed_list_counts_within_a_second(house: House, keys: Keys) -> None:
    assert look(house) is None
    before = house.keeper.ring.digest
    bob = keys.allow("bob", "observer")
    house.now += SECOND - 1
    assert house.keeper.look(house.now) is None, "not at each turn: it costs system calls"
    house.now += 1
    changed = house.keeper.look(house.now)
    assert changed is not None
    assert changed.changes == [f"allowed key bob ({fingerprint(bob.public)}): observer"]
    assert changed.by == "a change of the file"
    assert changed.digest == house.keeper.ring.digest != before
    assert not changed.renewed
    assert look(house) is None, "once"
    assert ask(house, *request("telemetry", bob.public))[2] == b"200"


def test_a_revoked_key_counts_at_once_when_an_operator_asks(house: House, keys: Keys) -> None:
    public = keys.pairs["feed"].public
    keys.revoke("feed")
    assert ask(house, *request("intake", public))[2] == b"200"
    changed = house.keeper.reload("ann")
    assert changed.by == "ann"
    assert changed.changes == [f"removed key feed ({fingerprint(public)})"]
    assert ask(house, *request("intake", public))[2] == b"400"
    assert house.keeper.who(public) is None
    assert not changed.may(public, "mm-1")
    assert look(house) is None
    assert any("keys, by ann: removed key feed" in note for note in house.notes)


def test_a_list_that_says_the_same_in_other_words_changes_nothing(house: House, keys: Keys) -> None:
    write_private(keys.path, "# by hand\n" + keys.path.read_text("utf-8"), mode=0o644)
    changed = look(house)
    assert changed is not None
    assert changed.changes == []
    assert changed.digest == house.keeper.ring.digest


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("text", "is not valid TOML"),
        ("empty", "does not allow the key of node a"),
        ("removed", "there is no list of allowed keys"),
        ("writable", "can be changed by others"),
        ("stranger", "does not allow the key of node a"),
        ("key-removed", "there is no key"),
        ("key-readable", "can be used by others (mode 644)"),
        ("key-damaged", "is no key"),
        ("key-of-another", "does not allow the key of node a"),
    ],
)
@pytest.mark.parametrize("asked", [False, True], ids=["looked", "asked"])
def test_a_damaged_list_or_key_changes_nothing_until_it_is_mended(
    house: House, keys: Keys, damage: str, told: str, asked: bool
) -> None:
    """Who was allowed stays allowed, and nobody else is; the status says it, whether the node found
    it by itself or an operator asked; and a mended file is taken by itself."""
    ring, pair = house.keeper.ring, house.keeper.pair
    list_before = keys.path.read_text("utf-8")
    own = keys.secret_path("a")
    own_before = own.read_text("utf-8")
    match damage:
        case "text":
            keys.path.write_text("[keys", "utf-8")
        case "empty":
            keys.path.write_text("", "utf-8")
        case "removed":
            keys.path.unlink()
        case "writable":
            keys.path.chmod(0o666)
        case "stranger":
            keys.allow("a", "peer")  # the file a.key still has the old one
        case "key-removed":
            own.unlink()
        case "key-readable":
            own.chmod(0o644)
        case "key-damaged":
            own.write_text("secret", "utf-8")
        case "key-of-another":
            write_private(own, keys.secret_path("b").read_text("utf-8"), mode=0o600)
            keys.change("b", "observer")
    if asked:
        with pytest.raises(UserError) as caught:
            house.keeper.reload("ann")
        assert told in str(caught.value)
    assert look(house) is None
    assert told in status(house)
    assert look(house) is None
    assert sum("the keys stay as they were" in note for note in house.notes) == 1
    assert (house.keeper.ring, house.keeper.pair) == (ring, pair)
    assert ask(house, *request("intake", keys.pairs["feed"].public))[2] == b"200"
    assert house.keeper.to_reopen == frozenset()

    write_private(keys.path, list_before, mode=0o644)
    write_private(own, own_before, mode=0o600)
    changed = look(house)
    assert changed is not None
    assert changed.changes == []
    assert status(house) == ""


def test_a_start_is_refused_by_what_is_wrong(keys: Keys) -> None:
    """At a start there is no older list to go by."""
    keys.revoke("a")
    with pytest.raises(UserError, match=r"does not allow the key of node a .* as a peer"):
        House(keys.config)
    keys.change("b", "peer")
    keys.path.unlink()
    with pytest.raises(UserError, match="there is no list of allowed keys"):
        House(keys.config)


def test_a_new_key_of_the_node_is_taken_and_all_doors_open_anew(house: House, keys: Keys) -> None:
    new = new_pair("a")
    entry = keys.entries["a"]
    keys.entries["a"] = msgspec.structs.replace(entry, public=[*entry.public, new.public])
    keys.change("b", "peer")
    changed = look(house)
    assert changed is not None
    assert not changed.renewed
    assert house.keeper.to_reopen == frozenset()
    secret = f'name = "a"\npublic = "{new.public}"\nsecret = "{new.secret}"\n'
    write_private(keys.secret_path("a"), secret, mode=0o600)
    changed = look(house)
    assert changed is not None
    assert changed.renewed
    assert changed.changes == [f"node a has the key {fingerprint(new.public)} from now on"]
    assert house.keeper.pair == new
    assert house.keeper.to_reopen == set(SOCKETS)
    assert not any(new.secret in note for note in house.notes)


def test_a_revoked_listener_has_its_door_opened_anew(house: House, keys: Keys) -> None:
    """It only listens, so nothing of its could be refused; and until that is done it stays noted,
    whatever changes meanwhile."""
    keys.allow("eye", "observer")
    look(house)
    keys.revoke("eye")
    look(house)
    assert house.keeper.to_reopen == {"telemetry"}
    keys.allow("bob", "consumer")
    look(house)
    assert house.keeper.to_reopen == {"telemetry"}


def test_an_answer_about_many_changes_can_be_read(house: House, keys: Keys) -> None:
    """It is a message with bounds: one that breaks them would be taken for damaged."""
    for number in range(MAX_KEY_CHANGES + 20):
        keys.entries[f"n{number}"] = keys.entries["ann"]
    many = tuple(f"producer-{number}-*" for number in range(200))
    keys.entries = {
        name: msgspec.structs.replace(entry, public=[new_pair("x").public])
        if name.startswith("n")
        else entry
        for name, entry in keys.entries.items()
    }
    keys.change("feed", "producer", producers=many)
    changed = house.keeper.reload("ann")
    assert len(changed.changes) == MAX_KEY_CHANGES
    assert changed.changes[-1] == "and 22 more"
    assert all(len(text) <= MAX_TEXT_CHARS for text in changed.changes)
    reply = KeysReloaded(changed.digest, len(house.keeper.ring.by_key), changed.changes)
    codec: Codec[KeysReloaded] = Codec(KeysReloaded)
    assert codec.decode(encode(reply)) == reply


# At a start -----------------------------------------------------------------------------------


def test_a_list_that_changed_while_the_node_was_stopped_is_told_at_its_start(
    house: House,
) -> None:
    started = house.keeper.started("")
    assert started is not None
    assert started.digest == house.keeper.ring.digest
    assert started.by == "a start of the node"
    assert "1 of a, 1 of ann, 1 of b, 1 of feed" in started.changes[0]
    assert house.keeper.started(started.digest) is None
    assert house.keeper.started("0" * 16) is not None


# Who may go on --------------------------------------------------------------------------------


def test_a_session_may_go_on_while_its_key_may_use_the_name(house: House, keys: Keys) -> None:
    """An operator's session brings a quarantined tail back, under any name: it is not ended because
    somebody else's key has changed."""
    may = house.keeper.may_produce
    feed, ann = keys.pairs["feed"].public, keys.pairs["ann"].public
    assert may(feed, "mm-1")
    assert not may(feed, "other")
    assert may(ann, "mm-1")
    assert not may(new_pair("eve").public, "mm-1")
    assert not may("", "mm-1")


# Without keys ---------------------------------------------------------------------------------


def test_without_keys_there_is_no_handler_and_anybody_is_everything() -> None:
    house = House(pair_config())
    keeper = house.keeper
    assert (keeper.on, keeper.socket, keeper.pair) == (False, None, None)
    assert keeper.who("") is not None
    assert keeper.may_produce("", "anything")
    assert keeper.look(house.now + SECOND) is None
    assert keeper.started("") is None
    assert keeper.status(house.now) is None
    keeper.serve({None}, house.now)
    with pytest.raises(UserError, match="uses no keys"):
        keeper.reload("ann")
    house.close()


def test_an_empty_key_is_nobodys_where_keys_are_used(house: House) -> None:
    """A message without a proven key comes with an empty one; that must not find anybody."""
    assert house.keeper.who("") is None
    assert KeyRing({}).by_key.get("") is None
