"""A bound socket of a node: who is heard through it, and how it gets rid of all others.

Real sockets, in turns: libzmq lets somebody in once, and what he may send is looked at each time.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import zmq

from interlock.shared import door as door_module
from interlock.shared.door import CROWDED_NS, UNWELCOME_NS, Door
from interlock.shared.errors import UserError
from interlock.shared.keys import fingerprint, new_pair, write_private
from interlock.shared.limits import MAX_BAD_FRAMES, MAX_UNWELCOME_FRAMES
from interlock.tests.unit.keys_kit import SECOND, Client, House, Keys
from support.nodes import pair_config


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    made = Keys(tmp_path)
    made.allow("feed", "producer", producers=("*",))
    made.allow("other", "producer", producers=("*",))
    made.allow("eye", "observer")
    return made


@pytest.fixture
def house(keys: Keys) -> Iterator[House]:
    made = House(keys.config)
    yield made
    made.close()


@pytest.fixture
def plain() -> Iterator[House]:
    """The doors of a node without keys."""
    made = House(pair_config())
    yield made
    made.close()


def known(house: House, client: Client, body: bytes) -> None:
    """The client's message arrives."""
    client.socket.send(body)
    house.until(lambda: house.heard(body))


def comes_back(house: House, client: Client, body: bytes) -> None:
    """The client, whose connection was dropped, is heard again; what was on its way is lost."""

    def heard() -> bool:
        client.socket.send(body)
        return house.heard(body)

    house.until(heard)


def reload(house: House) -> None:
    """The changed list counts, as after a second."""
    house.now += SECOND
    house.keeper.look(house.now)


def port_of(door: Door) -> int:
    return int(door._endpoint.rpartition(":")[2])


def endpoint_of(door: Door) -> str:
    return str(door.socket.getsockopt_string(zmq.LAST_ENDPOINT))


# Messages -------------------------------------------------------------------------------------


def test_who_sent_what_is_known_by_the_key(house: House, keys: Keys) -> None:
    """The routing id is the sender's to choose: here it is that of somebody else's connection."""
    door = house.door("intake")
    feed = house.client(door, keys.pairs["feed"], routing_id=b"feed-conn")
    known(house, feed, b"mine")
    other = house.client(door, keys.pairs["other"], routing_id=b"other-conn")
    known(house, other, b"theirs")
    by_body = {frames[0]: (sender, who) for sender, who, frames in house.arrived}
    assert by_body[b"mine"][0] == b"feed-conn"
    assert by_body[b"mine"][1].name == "feed"
    assert by_body[b"theirs"][1].name == "other"
    assert by_body[b"theirs"][1].public == keys.pairs["other"].public


def test_a_message_of_several_frames_arrives_whole(house: House, keys: Keys) -> None:
    door = house.door("intake")
    client = house.client(door, keys.pairs["feed"])
    client.socket.send_multipart([b"one", b"", b"three"])
    house.until(lambda: house.arrived)
    assert house.arrived[0][2] == [b"one", b"", b"three"]


def test_a_key_that_was_revoked_after_it_connected_is_not_heard(house: House, keys: Keys) -> None:
    """Its connection lives on: libzmq asks once. Its next message is already too much."""
    door = house.door("intake")
    client, witness = (house.client(door, keys.pairs[name]) for name in ("feed", "other"))
    known(house, client, b"before")
    keys.revoke("feed")
    reload(house)
    client.socket.send(b"after")
    house.until(lambda: house.counters.refused_by_reason["intake.unknown-key"])
    known(house, witness, b"others")
    assert not house.heard(b"after")
    assert any("not allowed here any more" in note for note in house.notes)
    assert not client.gone, "it is not heard, though it is connected"


def test_a_key_that_lost_its_role_after_it_connected_is_not_heard(house: House, keys: Keys) -> None:
    door = house.door("intake")
    client = house.client(door, keys.pairs["feed"])
    known(house, client, b"before")
    keys.change("feed", "observer")
    reload(house)
    client.socket.send(b"after")
    house.until(lambda: house.counters.refused_by_reason["intake.not-allowed"])
    assert not house.heard(b"after")
    assert any("intake needs the role operator or producer" in note for note in house.notes)
    keys.change("feed", "producer", producers=("x",))
    reload(house)
    known(house, client, b"again")
    assert house.arrived[-1][1].producers == ("x",), "the list of now, not of the handshake"


def misbehave(house: House, door: Door, body: bytes) -> None:
    """The sender of a message is found to have sent too much that is none."""
    sender, who, _ = next(each for each in house.arrived if each[2] == [body])
    for _ in range(MAX_BAD_FRAMES):
        door.misbehaved(sender, who, house.now)


def test_a_banned_key_is_not_heard_for_a_while_on_any_connection(house: House, keys: Keys) -> None:
    door = house.door("intake")
    one, two = (house.client(door, keys.pairs["feed"]) for _ in range(2))
    witness = house.client(door, keys.pairs["other"])
    known(house, one, b"one")
    known(house, two, b"two")
    misbehave(house, door, b"one")
    assert house.counters.counts["bans"] == 1
    (note,) = house.notes
    assert note == (
        f"key feed ({fingerprint(keys.pairs['feed'].public)}) sent too many bad frames to intake: "
        "nothing is taken from it for a while"
    )
    one.socket.send(b"banned one")
    two.socket.send(b"banned two")
    house.until(lambda: door._unwelcome == 2)
    known(house, witness, b"others")
    house.now += 3_600 * SECOND
    known(house, two, b"again")
    assert not house.heard(b"banned one")
    assert not house.heard(b"banned two")


def test_without_keys_a_connection_is_banned_and_the_others_are_not(plain: House) -> None:
    door = plain.door("intake")
    one, two = (plain.client(door, None) for _ in range(2))
    known(plain, one, b"one")
    known(plain, two, b"two")
    assert {who.name for _, who, _ in plain.arrived} == {""}
    misbehave(plain, door, b"one")
    one.socket.send(b"banned")
    known(plain, two, b"others")
    plain.now += 3_600 * SECOND
    known(plain, one, b"again")
    assert not plain.heard(b"banned")


def test_a_bounded_read_leaves_the_rest_for_the_next(house: House, keys: Keys) -> None:
    door = house.door("intake")
    client = house.client(door, keys.pairs["feed"])
    known(house, client, b"first")
    house.doors.remove(door)  # so that the turns below take nothing
    for number in range(5):
        client.socket.send(b"%d" % number)
    found: list[bytes] = []
    while len(found) < 5:
        house.turn()
        took = [frames[0] for _, _, frames in door.arrivals(2, house.now)]
        assert len(took) <= 2
        found += took
    assert found == [b"0", b"1", b"2", b"3", b"4"]
    house.doors.append(door)


# Opened anew ----------------------------------------------------------------------------------


def test_a_door_opens_anew_on_its_own_port_and_drops_all(house: House, keys: Keys) -> None:
    """Those who may come back do so by themselves; the revoked one does not."""
    door = house.door("telemetry", zmq.PUB)
    keys.allow("eve", "observer")
    reload(house)
    eye, eve = (house.client(door, keys.pairs[name], kind=zmq.SUB) for name in ("eye", "eve"))
    before = endpoint_of(door)

    def published(body: bytes, *readers: Client) -> Callable[[], bool]:
        heard: set[Client] = set()

        def all_heard() -> bool:
            door.socket.send(body)
            for each in readers:
                while each.socket.poll(0):
                    if each.socket.recv() == body:
                        heard.add(each)
            return heard == set(readers)

        return all_heard

    house.until(published(b"before", eye, eve))
    keys.revoke("eve")
    reload(house)
    assert house.keeper.to_reopen == {"telemetry"}
    door.reopen()
    house.until(published(b"after", eye))
    house.until(lambda: eve.gone and eve.denied)
    while eve.socket.poll(0):
        assert eve.socket.recv() == b"before"
    assert endpoint_of(door) == before


def test_a_door_opens_anew_with_the_new_key_of_its_node(house: House, keys: Keys) -> None:
    door = house.door("intake")
    old, new = keys.pairs["a"], new_pair("a")
    client = house.client(door, keys.pairs["feed"])
    known(house, client, b"before")
    keys.entries["a"].public.append(new.public)
    keys.change("eye", "observer")
    secret = f'name = "a"\npublic = "{new.public}"\nsecret = "{new.secret}"\n'
    write_private(keys.secret_path("a"), secret, mode=0o600)
    reload(house)
    assert house.keeper.pair == new
    door.reopen()
    mistaken = house.client(door, keys.pairs["feed"], server=old.public)
    right = house.client(door, keys.pairs["feed"], server=new.public)
    mistaken.socket.send(b"to the old key")
    known(house, right, b"to the new key")
    house.until(lambda: mistaken.failed)
    assert not mistaken.is_in
    assert not house.heard(b"to the old key")


def test_a_door_whose_port_was_taken_meanwhile_says_so(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door_module, "REOPEN_SECONDS", 0.05)
    door = house.door("intake")
    really_close = door.close

    def taken(linger_ms: int = 0) -> None:
        really_close(linger_ms)
        thief = socket.socket()
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        while True:
            try:
                thief.bind(("127.0.0.1", port_of(door)))
                break
            except OSError:
                continue  # the old socket gives it back in the background
        thief.listen()
        thieves.append(thief)

    thieves: list[socket.socket] = []
    monkeypatch.setattr(door, "close", taken)
    with pytest.raises(UserError, match=rf"nodes\.a\.intake: .*{port_of(door)} is in use"):
        door.reopen()
    thieves[0].close()


# Floods ---------------------------------------------------------------------------------------


def flood(house: House, client: Client, frames: int) -> None:
    for number in range(frames):
        client.socket.send(b"%d" % number)
        if number % 100 == 99:
            house.turn(0)


def test_who_is_out_is_dropped_later_if_no_descriptor_was_left(
    house: House, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a revoked reader would be streamed to until its next accident."""
    door = house.door("telemetry", zmq.PUB)
    reader = house.client(door, keys.pairs["eye"], kind=zmq.SUB)
    house.until(lambda: reader.is_in)
    with monkeypatch.context() as patch:
        patch.setattr(door, "_open", no_descriptor)
        door.reopen()
        house.turn()
        assert not reader.gone
        assert house.counters.counts["doors-not-reopened"] >= 2
    house.until(lambda: reader.gone)
    house.turn()
    assert house.counters.counts["doors-not-reopened"] == 2


def no_descriptor() -> NoReturn:
    raise UserError("cannot open another socket")


def with_a_revoked_one(house: House, keys: Keys) -> tuple[Client, Client]:
    """Two producers at one door; the first one's key is not allowed any more."""
    door = house.door("intake")
    feed, other = (house.client(door, keys.pairs[name]) for name in ("feed", "other"))
    known(house, feed, b"feed")
    known(house, other, b"other")
    keys.revoke("feed")
    reload(house)
    return feed, other


def test_a_flood_of_a_revoked_key_is_cut_off_and_the_others_come_back(
    house: House, keys: Keys
) -> None:
    """Each of its frames would go on costing its receiving, for as long as it likes."""
    feed, other = with_a_revoked_one(house, keys)
    house.turn()
    flood(house, feed, MAX_UNWELCOME_FRAMES + 1)
    house.until(lambda: house.counters.counts["doors-reopened"])
    house.until(lambda: feed.gone and feed.denied)
    comes_back(house, other, b"again")
    assert house.counters.counts["doors-reopened"] == 1
    assert not any(who.name == "feed" for _, who, frames in house.arrived if frames != [b"feed"])


def test_some_frames_of_a_revoked_key_in_each_second_open_nothing_anew(
    house: House, keys: Keys
) -> None:
    """A forgotten client that tries now and then must not cost the others their connections."""
    feed, other = with_a_revoked_one(house, keys)
    counter = house.counters.refused_by_reason
    for turn in range(1, 4):
        house.now += UNWELCOME_NS
        house.turn()
        flood(house, feed, MAX_UNWELCOME_FRAMES)
        house.until(lambda turn=turn: counter["intake.unknown-key"] == turn * MAX_UNWELCOME_FRAMES)  # type: ignore[misc]
    house.turn()
    assert house.counters.counts["doors-reopened"] == 0
    assert not other.gone


def connect(port: int, count: int) -> list[socket.socket]:
    """So many TCP connections that never say a word."""
    return [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(count)]


def test_connections_are_counted_as_they_come_and_go(house: House, keys: Keys) -> None:
    """A count that leaks would close the door one day, though nobody is there."""
    door = house.door("intake")
    idle = connect(port_of(door), 5)
    house.until(lambda: door.connections == 5)
    client = house.client(door, keys.pairs["feed"])
    stranger = house.client(door, new_pair("eve"))
    plain = house.client(door, None)
    known(house, client, b"one")
    house.until(lambda: stranger.denied and plain.failed)
    for each in (stranger, plain):
        each.close()
    for each in idle:
        each.close()
    house.until(lambda: door.connections == 1)
    client.close()
    house.until(lambda: door.connections == 0)


def test_handshakes_without_a_key_are_counted(house: House) -> None:
    door = house.door("control")
    plain = house.client(door, None)
    house.until(lambda: plain.failed)
    house.until(lambda: house.counters.refused_by_reason["control.unknown-key"])


def test_too_many_connections_are_dropped_once_in_a_while(
    house: House, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2,000 idle connections must not use up the descriptors that the journal needs; and the good
    client, dropped with them, comes back."""
    monkeypatch.setattr(door_module, "connections_of_each", lambda sockets: 16)
    door = house.door("intake")
    client = house.client(door, keys.pairs["feed"])
    known(house, client, b"before")
    idle = connect(port_of(door), 40)
    house.until(lambda: house.counters.counts["doors-reopened"])
    assert door.connections <= 1
    assert "connections at intake: all are dropped" in house.notes[-1]
    comes_back(house, client, b"after")
    # Within the pause more of them change nothing: a door that opened anew all the time would be
    # closed to everybody.
    more = connect(port_of(door), 40)
    house.until(lambda: door.connections > 16)
    house.turn()
    assert house.counters.counts["doors-reopened"] == 1
    known(house, client, b"meanwhile")
    house.now += CROWDED_NS
    house.until(lambda: house.counters.counts["doors-reopened"] == 2)
    comes_back(house, client, b"at last")
    for each in (*idle, *more):
        each.close()


def test_a_door_that_cannot_be_bound_says_which(house: House) -> None:
    door = house.door("intake")
    with pytest.raises(UserError, match=r"nodes\.a\.link: .* is in use by another process"):
        Door(
            house.keeper,
            house.context,
            house.waiter,
            house.counters,
            "link",
            "nodes.a.link",
            endpoint_of(door),
            zmq.ROUTER,
        )
