"""Keys and roles that are taken away while their owner is connected, and a list that is damaged.

What is taken away ends at once, for that key alone. A list that cannot be read changes nothing.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator

import msgspec
import pytest

from interlock import ClientError, Consumer, Producer, RefusedError
from interlock.client.errors import OperationRefused
from interlock.shared.commands import GetPreflight
from interlock.shared.errors import Reason
from interlock.shared.journal import JournalReader
from interlock.shared.keyring import Entry, KeyRole
from interlock.shared.keys import fingerprint
from interlock.shared.messages import (
    PROTOCOL_VERSION,
    Confirmed,
    ProducerHello,
    ProducerWelcome,
    Refused,
    ReplayChunk,
    Submit,
)
from interlock.shared.operations import Operation, Receipt, Request, decode_receipt
from interlock.shared.telemetry import SecurityStatus
from interlock.shared.wire import Kind, encode_messages
from support.attackers import DENIED, GOOD, IN, Caller, Guarded
from support.pair import PATIENCE_S, status, wait_for

pytestmark = pytest.mark.usefixtures("the_pair_goes_on")


def said_hello(one: Caller, producer: str, session: int) -> Caller:
    reply = one.ask("intake", ProducerHello(PROTOCOL_VERSION, "", producer, session, False))
    assert isinstance(reply, ProducerWelcome), f"expected {producer} to be welcome, got {reply}"
    return one


def submit(session: int, number: int) -> Submit:
    return Submit(session, 1, number, 1, msgspec.Raw(encode_messages([b"%d" % number])))


def confirmed(one: Caller, session: int, number: int) -> None:
    reply = one.ask("intake", submit(session, number))
    assert isinstance(reply, Confirmed), f"expected a confirmation of {number}, got {reply}"


def security(guarded: Guarded, node: str) -> SecurityStatus:
    found = status(guarded.pair, node).security
    assert found is not None, f"expected node {node} to tell of its keys"
    return found


# Revoked while connected ----------------------------------------------------------------------


def test_a_producer_s_session_ends_and_nothing_more_of_it_is_taken(guarded: Guarded) -> None:
    pair = guarded.allow("prod", KeyRole.PRODUCER, producers=["prod-*"])
    with guarded.call("a", "intake", pair) as one:
        said_hello(one, "prod-1", 11)
        confirmed(one, 11, 1)
        guarded.change({"prod": None})
        reply = one.answer("intake")
        assert isinstance(reply, Refused), f"expected the session to be ended, got {reply}"
        assert (reply.reason, reply.session) == (Reason.NOT_ALLOWED, 11)
        assert "may not submit as prod-1 any more" in reply.text
        with guarded.counted("a", "intake", Reason.UNKNOWN_KEY, 2):
            one.send(submit(11, 2))
            one.send(GOOD["intake"])
        guarded.traffic.wait_for_more()
        assert one.hears() is None, "expected no answer to a key that is not allowed any more"
    with guarded.call("a", "intake", pair) as again:
        assert again.outcome() == DENIED, "expected a revoked key not to be let in again"
    assert len(guarded.traffic.others["prod-1"]) == 1, "expected no message after the revocation"


def test_a_producer_of_the_sdk_is_told(guarded: Guarded) -> None:
    guarded.allow("sdk", KeyRole.PRODUCER, producers=["sdk"])
    producer = Producer("sdk", guarded.pair.config, key="sdk")
    producer.send(b"good").result(PATIENCE_S)
    guarded.change({"sdk": None})
    with pytest.raises(RefusedError, match="may not submit as sdk any more") as told:
        producer.send(b"too late").result(PATIENCE_S)
    producer.close()
    assert told.value.reason is Reason.NOT_ALLOWED


def test_a_consumer_s_stream_ends(guarded: Guarded) -> None:
    """The feed is not published to it any more, and replay gives it nothing."""
    pair = guarded.allow("cons", KeyRole.CONSUMER)
    with guarded.call("a", "feed", pair) as feed, guarded.call("b", "replay", pair) as replay:
        assert feed.outcome() == IN
        assert feed.hears(PATIENCE_S), "expected the feed"
        assert isinstance(replay.ask("replay", GOOD["replay"]), ReplayChunk)
        guarded.change({"cons": None})
        feed.wait_until_gone()
        assert feed.outcome() == DENIED, "expected the feed not to take the key again"
        while feed.hears():
            pass
        with guarded.counted("b", "replay", Reason.UNKNOWN_KEY):
            replay.send(GOOD["replay"])
        guarded.traffic.wait_for_more()
        assert replay.hears() is None, "expected no answer to a key that is not allowed any more"
        assert feed.hears() is None, "expected nothing of what was released since"


def test_a_consumer_of_the_sdk_is_told(guarded: Guarded) -> None:
    guarded.allow("reads", KeyRole.CONSUMER)
    with Consumer(guarded.pair.config, key="reads") as consumer:
        assert consumer.next(PATIENCE_S).seq
        guarded.change({"reads": None})
        with pytest.raises(ClientError, match=r"does not let key reads .* in at"):
            list(consumer)


@pytest.mark.parametrize("node", ["a", "b"])
def test_an_observer_s_stream_ends(guarded: Guarded, node: str) -> None:
    pair = guarded.allow(f"obs-{node}", KeyRole.OBSERVER)
    with guarded.call(node, "telemetry", pair) as one:
        assert one.outcome() == IN
        assert one.hears(PATIENCE_S), "expected telemetry"
        guarded.change({f"obs-{node}": None})
        one.wait_until_gone()
        assert one.outcome() == DENIED, "expected telemetry not to take the key again"
        while one.hears():
            pass
        guarded.traffic.wait_for_more()
        assert one.hears() is None, "expected no status after the revocation"


def test_an_operator_commands_no_more(guarded: Guarded) -> None:
    pair = guarded.allow("oper", KeyRole.OPERATOR)
    with guarded.call("a", "control", pair) as one:
        assert one.ask("control", GOOD["control"]).status.node == "a"
        guarded.change({"oper": None})
        with guarded.counted("a", "control", Reason.UNKNOWN_KEY):
            one.send(GOOD["control"])
        guarded.traffic.wait_for_more()
        assert one.hears() is None, "expected no answer to a key that is not allowed any more"
        guarded.wait_for_event("a", "at control: this key is not allowed here any more")


def test_the_log_tells_who_changed_which_key(guarded: Guarded) -> None:
    """By name and fingerprint, and by whom: the owner of the key that asked for the reload."""
    pair = guarded.allow("told", KeyRole.CONSUMER)
    guarded.change({"told": None})

    def receipts() -> list[Receipt]:
        records = JournalReader(guarded.pair.config.data_dir("b")).records()
        found = [decode_receipt(one) for one in records if one.kind is Kind.OPERATION]
        return [each for each in found if "told" in each.reason]

    wait_for("both changes, as both nodes took them", lambda: len(receipts()) >= 4)
    prints = fingerprint(pair.public)
    for receipt in receipts():
        assert receipt.request.operation is Operation.KEYS
        assert prints in receipt.reason, f"expected the fingerprint {prints} in {receipt.reason}"
        assert pair.public not in receipt.reason, "expected the fingerprint, not the key"
    # A node that looks at the file by itself may be quicker than the operator, but not each time.
    assert any(each.operator == guarded.operator for each in receipts()), receipts()


# A role taken away ----------------------------------------------------------------------------


def test_a_role_that_is_taken_away_ends_what_it_was_for(guarded: Guarded) -> None:
    """The key stays allowed: what its other role is for goes on."""
    pair = guarded.allow("both", KeyRole.CONSUMER, KeyRole.PRODUCER, producers=["both"])
    with (
        guarded.call("a", "feed", pair) as feed,
        guarded.call("a", "replay", pair) as replay,
        guarded.call("a", "intake", pair) as intake,
    ):
        assert feed.outcome() == IN
        assert isinstance(replay.ask("replay", GOOD["replay"]), ReplayChunk)
        said_hello(intake, "both", 12)
        guarded.change({"both": Entry([KeyRole.PRODUCER], [pair.public], ["both"])})
        feed.wait_until_gone()
        assert feed.outcome() == DENIED, "expected a producer not to be let in at the feed"
        with guarded.counted("a", "replay", Reason.NOT_ALLOWED):
            replay.send(GOOD["replay"])
        confirmed(intake, 12, 1)
        assert replay.hears() is None, "expected no answer to a key without the role"
        guarded.wait_for_event("a", "key both", "role producer", "replay needs the role consumer")


def test_a_producer_name_that_is_taken_away_ends_its_session_only(guarded: Guarded) -> None:
    pair = guarded.allow("names", KeyRole.PRODUCER, producers=["n-1", "n-2"])
    with (
        guarded.call("a", "intake", pair) as one,
        guarded.call("a", "intake", pair) as two,
    ):
        said_hello(one, "n-1", 13)
        said_hello(two, "n-2", 14)
        guarded.change({"names": Entry([KeyRole.PRODUCER], [pair.public], ["n-2"])})
        ended = one.answer("intake")
        assert (ended.reason, ended.session) == (Reason.NOT_ALLOWED, 13)
        assert two.ask("intake", submit(14, 1)).session == 14
        one.refusal("intake", submit(13, 1), Reason.NO_SESSION)
        one.refusal(
            "intake", ProducerHello(PROTOCOL_VERSION, "", "n-1", 15, False), Reason.NOT_ALLOWED
        )


def test_an_operator_who_became_an_observer_commands_no_more(guarded: Guarded) -> None:
    """On the connection that stays: the status is answered, a command is not obeyed."""
    pair = guarded.allow("former", KeyRole.OPERATOR)
    with guarded.call("a", "control", pair) as one:
        assert one.outcome() == IN
        guarded.change({"former": Entry([KeyRole.OBSERVER], [pair.public])})
        assert one.ask("control", GOOD["control"]).status.node == "a"
        order = GetPreflight(
            PROTOCOL_VERSION, guarded.pair.config.cluster, Request(Operation.PAUSE, "a")
        )
        text = one.refusal("control", order, Reason.NOT_ALLOWED)
        assert "role observer; GetPreflight needs the role operator" in text


# The list -------------------------------------------------------------------------------------


@pytest.fixture
def _list_is_mended(guarded: Guarded) -> Iterator[None]:
    path = guarded.store.ring_path
    text, mode = path.read_text("utf-8"), stat.S_IMODE(path.stat().st_mode)
    yield
    path.write_text(text, "utf-8")
    path.chmod(mode)
    for node in "ab":
        wait_for(
            f"node {node} to have no error", lambda node=node: not security(guarded, node).error
        )


def wait_for_error(guarded: Guarded, part: str) -> None:
    for node in "ab":
        wait_for(
            f"node {node} to say {part!r} as the error of its keys",
            lambda node=node: part in security(guarded, node).error,
        )
        guarded.wait_for_event(node, "the keys stay as they were", part)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("[keys.alice\n", "is not valid TOML"),
        ('[keys.x]\nroles = ["root"]\npublic = ["y"]\n', "keys.x: Invalid enum value 'root'"),
    ],
)
@pytest.mark.usefixtures("_list_is_mended")
def test_a_list_that_is_damaged_changes_nothing(guarded: Guarded, damage: str, told: str) -> None:
    """The nodes find it by themselves, say so, and go on with the last good one; asked to reload,
    they refuse with the reason."""
    digests = [security(guarded, node).ring for node in "ab"]
    peer = guarded.own("a")
    guarded.store.ring_path.write_text(damage, "utf-8")
    wait_for_error(guarded, told)
    assert [security(guarded, node).ring for node in "ab"] == digests
    with pytest.raises(OperationRefused, match="the keys stay as they were") as refusal:
        guarded.control.reload_keys("a")
    assert refusal.value.reason is Reason.GUARD
    with guarded.call("b", "control", peer) as one:
        assert one.outcome() == IN, "expected who was allowed to be let in as before"


@pytest.mark.usefixtures("_list_is_mended")
def test_a_list_that_others_may_change_is_not_taken(guarded: Guarded) -> None:
    guarded.store.ring_path.chmod(0o666)
    wait_for_error(guarded, "can be changed by others (mode 666)")


@pytest.mark.usefixtures("_list_is_mended")
def test_a_list_that_is_gone_changes_nothing(guarded: Guarded) -> None:
    guarded.store.ring_path.unlink()
    wait_for_error(guarded, "there is no list of allowed keys")
