"""Messages that are well formed and come from somebody who does not belong here: another version,
another cluster, another node, no session. They are told why, counted, and change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import msgspec
import pytest

from interlock.cli.embedded import EmbeddedPair
from interlock.shared.commands import ControlReply, GetStatus
from interlock.shared.errors import Reason
from interlock.shared.messages import (
    PROTOCOL_VERSION,
    Codec,
    IntakeReply,
    LinkAck,
    LinkBeat,
    LinkFromPrimary,
    LinkHello,
    LinkPromised,
    LinkTail,
    Message,
    ProducerBye,
    ProducerHello,
    ProducerPing,
    Refused,
    Submit,
)
from interlock.shared.wire import GENESIS, Position, encode_messages
from support.pair import (
    Raw,
    assert_serves,
    counted,
    endpoint,
    key,
    pair_of,
    status,
)

REPLIES: dict[str, Codec[Message]] = {
    "intake": Codec(IntakeReply),
    "link": Codec(LinkFromPrimary),
    "control": Codec(ControlReply),
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPair]:
    with pair_of(tmp_path_factory.mktemp("pair")) as started:
        yield started


@pytest.fixture(autouse=True)
def _the_pair_goes_on(pair: EmbeddedPair) -> Iterator[None]:
    yield
    assert_serves(pair)


def connected(pair: EmbeddedPair, node: str, socket: str) -> Raw:
    return Raw(endpoint(pair.config, node, socket))


def refusal(raw: Raw, socket: str, message: Message, reason: Reason) -> Refused:
    raw.send(message)
    reply = raw.receive(REPLIES[socket])
    assert isinstance(reply, Refused), reply
    assert reply.reason is reason
    assert reply.text
    return reply


def hello(**changes: object) -> ProducerHello:
    """A producer's hello that would be welcome, but for the changes."""
    return msgspec.structs.replace(ProducerHello(PROTOCOL_VERSION, "", "p", 7, False), **changes)


@pytest.mark.parametrize(
    ("said", "reason", "told"),
    [
        (hello(version=1), Reason.WRONG_VERSION, "speaks 3"),
        (hello(version=-1), Reason.WRONG_VERSION, "version -1"),
        (hello(cluster=str(uuid4())), Reason.WRONG_CLUSTER, "this is cluster"),
        (hello(cluster="c" * 1_000), Reason.WRONG_CLUSTER, "this is cluster"),
        (hello(producer=""), Reason.BAD_NAME, "''"),
        (hello(producer="seventeen-letters"), Reason.BAD_NAME, "16 printable"),
        (hello(producer="two words"), Reason.BAD_NAME, "without spaces"),
        (hello(producer="Zürich"), Reason.BAD_NAME, "ASCII"),
        (hello(producer="line\n"), Reason.BAD_NAME, "printable"),
        (hello(producer="n" * 1_000), Reason.BAD_NAME, "nnn"),
        (ProducerPing(7), Reason.NO_SESSION, "say hello"),
        (ProducerBye(2**64 - 1), Reason.NO_SESSION, "say hello"),
        (
            Submit(7, 1, 1, 1, msgspec.Raw(encode_messages([b"x"]))),
            Reason.NO_SESSION,
            "say hello",
        ),
    ],
)
def test_a_producer_that_does_not_fit_is_told_why(
    pair: EmbeddedPair, said: Message, reason: Reason, told: str
) -> None:
    with connected(pair, "a", "intake") as raw, counted(pair, "a", key("intake", reason)):
        reply = refusal(raw, "intake", said, reason)
        assert told in reply.text
        assert reply.session == said.session  # type: ignore[attr-defined]


@pytest.mark.parametrize("request_", [hello(), ProducerPing(7), ProducerBye(7)])
def test_the_standby_names_the_primary_to_a_producer(pair: EmbeddedPair, request_: Message) -> None:
    with (
        connected(pair, "b", "intake") as raw,
        counted(pair, "b", key("intake", Reason.NOT_PRIMARY)),
    ):
        reply = refusal(raw, "intake", request_, Reason.NOT_PRIMARY)
        assert reply.session == 7
        assert reply.leader == [pair.config.node("a").intake]


@pytest.mark.parametrize("node", ["a", "b"])
@pytest.mark.parametrize("version", [0, 1, PROTOCOL_VERSION + 1, -1, 2**63])
def test_a_command_of_another_version_is_refused(
    pair: EmbeddedPair, node: str, version: int
) -> None:
    wrong = key("control", Reason.WRONG_VERSION)
    with connected(pair, node, "control") as raw, counted(pair, node, wrong):
        reply = refusal(raw, "control", GetStatus(version), Reason.WRONG_VERSION)
        assert f"version {version}" in reply.text


def link_hello(pair: EmbeddedPair, **changes: object) -> LinkHello:
    """A hello as the standby could send it, after `changes`."""
    cluster, session = pair.config.cluster, 9 << 24
    made = LinkHello(PROTOCOL_VERSION, cluster, "b", 9, session, [], GENESIS, 0, "written")
    return msgspec.structs.replace(made, **changes)


@pytest.mark.parametrize(
    ("change", "reason", "told"),
    [
        ({"version": 1}, Reason.WRONG_VERSION, "speaks version 3"),
        ({"cluster": str(uuid4())}, Reason.WRONG_CLUSTER, "this is cluster"),
        ({"cluster": ""}, Reason.WRONG_CLUSTER, "this is cluster"),
        ({"cluster": "c" * 1_000}, Reason.WRONG_CLUSTER, "this is cluster"),
        ({"node": "a"}, Reason.WRONG_NODE, "the peer of this node is b"),
        ({"node": "c"}, Reason.WRONG_NODE, "the peer of this node is b"),
        ({"ack_level": "synced"}, Reason.WRONG_ACK_LEVEL, "the same pair.ack_level"),
    ],
)
def test_a_stranger_on_the_link_is_refused_and_the_standby_stays(
    pair: EmbeddedPair, change: dict[str, object], reason: Reason, told: str
) -> None:
    hellos = status(pair, "a").counters["hellos"]
    with connected(pair, "a", "link") as raw, counted(pair, "a", key("link", reason)):
        reply = refusal(raw, "link", link_hello(pair, **change), reason)
        assert told in reply.text
        assert reply.session == 9 << 24
    found = status(pair, "a")
    assert (found.state, found.counters["hellos"]) == ("GATED", hellos)


@pytest.mark.parametrize(
    "message",
    [
        LinkAck(1, 1, Position(1, 1)),
        LinkBeat(1, 1, 1, 1, 1, "IN_SYNC"),
        LinkPromised(1, 2**32 - 1),
        LinkTail(1, b""),
        Refused(Reason.DIFFERENT_HISTORY, "the logs differ", 1),
    ],
)
def test_without_a_session_nothing_on_the_link_counts(pair: EmbeddedPair, message: Message) -> None:
    """Neither with an unknown session, nor with that of the standby: it is not this connection."""
    standing = (status(pair, "b").incarnation << 24) + status(pair, "b").counters["dials"]
    no_session = key("link", Reason.NO_SESSION)
    with connected(pair, "a", "link") as raw, counted(pair, "a", no_session, 2):
        for session in (1, standing):
            said = msgspec.structs.replace(message, session=session)
            refusal(raw, "link", said, Reason.NO_SESSION)
    assert status(pair, "a").state == "GATED"
