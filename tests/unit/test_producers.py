"""The producer table against a slow twin: a dict with one entry per message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.shared.errors import LocalError
from interlock.shared.limits import MAX_PRODUCER_RECORDS
from interlock.shared.producers import ProducerEntry, ProducerTable, Run

# (producer, messages, seqs that others take before them)
appends = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 5), st.integers(0, 3)), max_size=40
)


def build(script: list[tuple[str, int, int]]) -> tuple[ProducerTable, dict[str, dict[int, int]]]:
    table = ProducerTable()
    twin: dict[str, dict[int, int]] = {}
    seq = 1
    for name, count, others in script:
        seq += others
        places = twin.setdefault(name, {})
        table.append(name, len(places) + 1, seq, count)
        for index in range(count):
            places[len(places) + 1] = seq + index
        seq += count
    return table, twin


def spread(runs: list[Run]) -> dict[int, int]:
    return {run.producer_seq + i: run.seq + i for run in runs for i in range(run.count)}


@given(appends, st.integers(0, 60), st.integers(0, 60))
def test_find_tells_where_each_message_is(
    script: list[tuple[str, int, int]], first: int, last: int
) -> None:
    table, twin = build(script)
    assert set(table) == set(twin)
    assert len(table) == len(twin)
    for name, places in twin.items():
        entry = table.get(name)
        assert entry is not None
        assert name in table
        assert entry.last_producer_seq == max(places)
        expected = {number: seq for number, seq in places.items() if first <= number <= last}
        assert spread(entry.find(first, last)) == expected


@given(appends, st.integers(0, 300))
def test_released_up_to_counts_own_messages_at_or_below_a_seq(
    script: list[tuple[str, int, int]], released_seq: int
) -> None:
    table, twin = build(script)
    for name, places in twin.items():
        entry = table.get(name)
        assert entry is not None
        released = [number for number, seq in places.items() if seq <= released_seq]
        assert entry.released_up_to(released_seq) == max(released, default=0)


@given(appends)
def test_a_dump_loads_to_the_same_table(script: list[tuple[str, int, int]]) -> None:
    table, _ = build(script)
    loaded = ProducerTable.load(table.dump())
    assert loaded.dump() == table.dump()
    table.append("new", 1, 1000, 1)
    assert "new" not in loaded


@pytest.mark.parametrize("number", [0, 3, 5, 2**63])
def test_a_number_that_is_not_the_next_is_refused(number: int) -> None:
    entry = ProducerEntry()
    entry.append(1, 10, 3)
    with pytest.raises(LocalError, match=f"producer_seq {number} in the log after 3"):
        entry.append(number, 13, 1)
    assert entry.last_producer_seq == 3


def test_only_the_latest_runs_are_remembered() -> None:
    """The bound that keeps a checkpoint small: what can still be submitted again is kept."""
    entry = ProducerEntry()
    for number in range(1, MAX_PRODUCER_RECORDS + 11):
        entry.append(number, 2 * number, 1)
    runs = entry.find(1, 10**9)
    assert len(runs) == MAX_PRODUCER_RECORDS
    assert runs[0] == Run(11, 22, 1)
    assert entry.released_up_to(10) == 10  # everything older than what is remembered
