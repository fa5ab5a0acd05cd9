"""What the benchmark makes of what it saw: which messages count, percentiles, scenarios."""

from __future__ import annotations

import pytest

from interlock.bench.collect import Collector, Span
from interlock.bench.latency import Histogram
from interlock.bench.raw import STAMP, Submission
from interlock.bench.scenario import Load, Scenario, parse
from interlock.shared.errors import UserError
from interlock.shared.messages import Submit
from interlock.shared.nodeio import intake_requests
from interlock.shared.wire import decode_messages

MS = 1_000_000
SPAN = Span(1_000 * MS, 2_000 * MS)


def latency_us(encoded: bytes) -> tuple[int, float, float]:
    found = Histogram(encoded).latency()
    return found.count, found.p50, found.max


def test_percentiles_are_those_of_the_values() -> None:
    histogram = Histogram()
    histogram.record_all(number * 1_000 for number in range(1, 1_001))
    found = histogram.latency()
    assert found.count == 1_000
    assert found.p50 == pytest.approx(500, rel=0.01)
    assert found.p99 == pytest.approx(990, rel=0.01)
    assert found.max == pytest.approx(1_000, rel=0.01)
    assert found.curve[-1][1] <= found.max


def test_nothing_recorded_is_no_error() -> None:
    assert Histogram().latency().count == 0


def test_the_messages_of_a_record_have_waited_since_each_was_due() -> None:
    """Four messages, 10 us apart, confirmed 100 us after the last of them was due."""
    histogram = Histogram()
    histogram.record_span(100_000, 10_000, 4)
    found = histogram.latency()
    assert found.count == 4
    assert found.max == pytest.approx(130, rel=0.01)
    assert found.p50 == pytest.approx(110, rel=0.01)


def test_a_large_record_counts_whole() -> None:
    histogram = Histogram()
    histogram.record_span(1_000, 1_000, 1_003)
    assert histogram.latency().count == 1_003


def test_what_was_due_in_the_span_counts_however_late_it_came() -> None:
    """A stall that outlasts the span must show: this is what coordinated omission hides."""
    collector = Collector()
    collector.take(1_500 * MS, 5_500 * MS, 1)
    report = collector.report(SPAN)
    assert report.confirmed == 0  # within the span nothing was
    assert latency_us(report.latency) == (1, pytest.approx(4e6, rel=0.01), pytest.approx(4e6, 0.01))
    slices = [latency_us(part)[0] for part in report.slices]
    assert slices == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0]


def test_what_was_due_before_the_span_does_not_count_for_latency() -> None:
    collector = Collector()
    collector.take(999 * MS, 1_001 * MS, 16)
    report = collector.report(SPAN)
    assert (report.confirmed, report.records) == (16, 1)
    assert latency_us(report.latency)[0] == 0


def test_a_raw_record_is_one_that_a_node_takes() -> None:
    """Written over for each record: the number, and the stamp of the first message only."""
    submission = Submission(session=7, count=3, size=32)
    submission.prepare(1, 11)
    message = intake_requests.decode(bytes(submission.prepare(1_000_000, 12)))
    assert isinstance(message, Submit)
    assert (message.session, message.producer_seq, message.count) == (7, 1_000_000, 3)
    bodies = decode_messages(message.messages)
    assert [len(body) for body in bodies] == [32, 32, 32]
    assert [STAMP.unpack_from(body)[0] for body in bodies] == [12, 0, 0]


def test_a_scenario_from_words() -> None:
    found = parse("load=open, rate=2.5e4,size=256,ack_level=synced,transport=ipc")
    assert (found.load, found.rate, found.size) == (Load.OPEN, 25_000.0, 256)
    assert (found.ack_level.value, found.transport.value) == ("synced", "ipc")
    assert parse("") == Scenario()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("size", "expected key=value"),
        ("size=1,size=2", "given twice"),
        ("size=x", "size: expected"),
        ("size=4", "size: expected"),
        ("colour=red", "unknown field"),
        ("load=open", "needs a rate"),
        ("client=raw", "fixed size"),
        ("client=raw,record=4096,size=1024", "do not fit"),
        ("producers=100", "take raw ones"),
    ],
)
def test_a_scenario_that_is_none_is_told_in_one_sentence(text: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        parse(text)


def test_records_in_flight_follow_the_window() -> None:
    assert Scenario(record=256, window=4_096).records_in_flight == 16
    assert Scenario(record=256, window=1).records_in_flight == 1
    assert Scenario(record=1, window=100_000).records_in_flight == 256  # more is refused as busy
