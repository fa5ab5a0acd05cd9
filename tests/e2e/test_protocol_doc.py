"""`docs/protocol.md`, tried out: clients that were written from that page alone, on a real pair."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock.cli.embedded import EmbeddedPair
from interlock.shared.config import Config
from support import by_the_page
from support.by_the_page import GIVE_UP_S, DocConsumer, DocOperator, DocProducer

BODIES = [b"message %d" % number + b"." * (number % 90) for number in range(1_000)]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[EmbeddedPair]:
    with EmbeddedPair(tmp_path / "pair") as pair:
        pair.start("a")
        pair.start("b")
        pair.wait_until_gated()
        yield pair


def test_the_clients_of_the_page_do_not_know_interlock() -> None:
    source = Path(by_the_page.__file__).read_text("utf-8")
    assert "class DocProducer" in source
    assert not re.findall(r"^\s*(?:import|from) (?:interlock|support|\.)", source, re.MULTILINE)


def doc_producer(config: Config, name: str = "doc") -> DocProducer:
    """Knows the secondary's intake first: it has to be sent on."""
    intakes = [config.node(node).intake for node in ("b", "a")]
    return DocProducer(intakes, config.cluster, name)


def doc_consumer(config: Config, from_seq: int = 1) -> DocConsumer:
    feeds = [config.node(node).feed for node in ("a", "b")]
    replays = [config.node(node).replay for node in ("b", "a")]
    return DocConsumer(feeds, replays, config.cluster, from_seq)


def doc_operator(config: Config) -> DocOperator:
    controls = {name: node.control for name, node in config.nodes.items()}
    return DocOperator(controls, config.cluster)


def test_what_is_submitted_by_the_page_is_read_by_the_page(pair: EmbeddedPair) -> None:
    """The first half comes by replay, the second by the feed; both are one log."""
    producer = doc_producer(pair.config)
    producer.publish(*BODIES[:500])
    consumer = doc_consumer(pair.config)
    while consumer.next <= max(producer.seqs.values()):
        consumer.replay()  # the standby may not know at once that all of it is released
    assert consumer.taken == {"feed": 0, "replay": 500}
    assert consumer.feed.poll(5_000), "no head was published"  # the subscription stands
    producer.publish(*BODIES[500:])
    consumer.follow(max(producer.seqs.values()))
    assert consumer.taken["feed"] > 0
    assert consumer.messages == [
        (producer.seqs[number], "doc", number, body) for number, body in enumerate(BODIES, 1)
    ]
    producer.close()
    consumer.close()


def test_the_session_outlives_its_node(pair: EmbeddedPair) -> None:
    """The primary is killed and started again: the producer resumes, the consumer goes on."""
    producer, consumer = doc_producer(pair.config), doc_consumer(pair.config)
    producer.publish(*BODIES[:300])
    pair.kill("a")
    pair.start("a")
    producer.publish(*BODIES[300:])
    assert producer.welcomes > 1
    consumer.follow(max(producer.seqs.values()))
    assert [message[2:] for message in consumer.messages] == list(enumerate(BODIES, 1))
    assert [message[0] for message in consumer.messages] == sorted(producer.seqs.values())
    producer.close()
    consumer.close()


def test_what_is_submitted_again_gets_the_seqs_that_it_has(pair: EmbeddedPair) -> None:
    """Another session submits from number 1 on, in other records, and beyond what is there."""
    first = doc_producer(pair.config)
    first.publish(*BODIES[:100])
    again = doc_producer(pair.config)
    again.hello(by_position=True)
    assert again.start == 100, "by position only what follows would be submitted"
    again.start = again.confirmed = 0
    again.go_back(1)
    again.publish(*BODIES[:120], per_record=11)
    assert {number: again.seqs[number] for number in first.seqs} == first.seqs
    consumer = doc_consumer(pair.config)
    consumer.follow(again.seqs[120])
    assert [body for *_, body in consumer.messages] == BODIES[:120]
    again.close()
    consumer.close()


def test_reading_may_begin_within_a_record(pair: EmbeddedPair) -> None:
    producer = doc_producer(pair.config)
    producer.publish(*BODIES[:50], per_record=50)
    seq = producer.seqs[20]
    consumer = doc_consumer(pair.config, seq)
    consumer.follow(producer.seqs[50])
    assert consumer.messages[0] == (seq, "doc", 20, BODIES[19])
    assert len(consumer.messages) == 31
    producer.close()
    consumer.close()


def test_an_operation_is_refused_by_the_page(pair: EmbeddedPair) -> None:
    """A guard that fails gives no token; a token alone is not enough; nothing is changed by it."""
    operator = doc_operator(pair.config)
    before = operator.status("a")
    assert operator.leader() == "a"
    failing = operator.preflight("promote", "b")
    (guard, *_) = [guard for guard in failing["guards"] if not guard["passed"]]
    assert "switchover" in guard["remedy"]
    assert (failing["token"], failing["expires_ms"]) == ("", 0)
    elsewhere = operator.ask(
        "a", "get-preflight", pair.config.cluster, {"operation": "promote", "node": "b"}
    )
    assert elsewhere[:2] == ["refused", "wrong-node"]
    passing = operator.preflight("switchover", "a")
    assert (passing["confirm"], passing["attestation"], passing["approvals"]) == ("a", "", 1)
    token = passing["token"]
    for wrong, reason in (
        ((token, "b"), "not-confirmed"),
        ((token, "a", "b is stopped"), "not-confirmed"),
        (("0123456789abcdef", "a"), "unknown-token"),
    ):
        name, told, text, *_ = operator.execute("a", *wrong)
        assert (name, told) == ("refused", reason)
        assert text
    assert operator.ask("b", "approve", pair.config.cluster, token, "x")[1] == "unknown-token"
    assert operator.ask("a", "get-operation", token)[:2] == ["refused", "unknown-operation"]
    assert operator.ask("a", "get-quarantine") == ["quarantine", []]
    after = operator.status("a")
    for key in ("epoch", "role", "state", "why", "operation", "promised_epoch"):
        assert after[key] == before[key], key
    assert operator.leader() == "a"


def test_a_switchover_by_the_page(pair: EmbeddedPair) -> None:
    """Producer and consumer find the new leader, and the log tells how it came about."""
    operator = doc_operator(pair.config)
    producer, consumer = doc_producer(pair.config), doc_consumer(pair.config)
    producer.publish(*BODIES[:200])
    first_epoch = producer.epoch
    preflight = operator.preflight("switchover", "a")
    approved = operator.ask("a", "approve", pair.config.cluster, preflight["token"], "another")
    assert approved[0] == "approved"
    assert approved[3] == ["another"]
    name, receipt = operator.execute("a", preflight["token"], preflight["confirm"])
    assert (name, receipt["result"]) == ("outcome", "done"), receipt
    assert (receipt["id"], receipt["approvers"]) == (preflight["token"], ["another"])
    assert all(check["passed"] for check in receipt["checks"])
    assert operator.ask("a", "get-operation", preflight["token"]) == ["outcome", receipt]
    assert operator.leader() == "b"
    producer.publish(*BODIES[200:400])
    assert producer.epoch > first_epoch
    consumer.follow(max(producer.seqs.values()))
    assert [message[2:] for message in consumer.messages] == list(enumerate(BODIES[:400], 1))
    assert [message[0] for message in consumer.messages] == sorted(producer.seqs.values())
    end = time.monotonic() + GIVE_UP_S
    while not (logged := [payload for kind, _, payload in consumer.control if kind == 7]):
        assert time.monotonic() < end, "the receipt was not logged"
        consumer.replay()
    assert logged == [receipt]
    (closed,) = (payload for kind, _, payload in consumer.control if kind == 3)
    assert (closed["number"], closed["leader"], closed["successor"]) == (first_epoch, "a", "b")
    assert (closed["handover"], closed["operation"]) == (True, receipt["id"])
    *_, opened = (payload for kind, _, payload in consumer.control if kind == 2)
    assert (opened["number"], opened["leader"], opened["mode"]) == (producer.epoch, "b", "gated")
    assert (opened["operator"], opened["operation"]) == ("doc", receipt["id"])
    producer.close()
    consumer.close()
