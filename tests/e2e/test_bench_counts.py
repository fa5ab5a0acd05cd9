"""A record's cost in counts: a guard against what creeps into the hot path, on any machine.

The bounds are what was counted when they were written, and no more: an extra system call or copy
for each record breaks them, which is a reason to look, and to raise one only for something that is
worth it. `python -m interlock.bench.counts` tells the counts by name. Times are no test's business.
"""

from __future__ import annotations

import shutil
import sys

import pytest

from interlock.bench.counts import COPY_BYTES, GROUP, NodeCounts, copies, system_calls

# For a record that comes alone: system calls of the node's thread, and how often libzmq looks into
# its mailboxes at least: about 12, and 5 or 6, by when its own threads run, and more if each record
# takes so long that the node looks around meanwhile. So these bounds see only what is gross.
CALLS_ALONE = {"primary": 7, "secondary": 4}
LOOKS_ALONE = {"primary": 16, "secondary": 9}
# For each of a group: what is done for the group, shared by 64. One call for each record is 1 more.
CALLS_GROUPED = {"primary": 0.5, "secondary": 0.5}
# Allocations in sizes of the record. The secondary: the frame that it receives. The primary: that,
# the messages decoded, the record, and what the link sends in a buffer that grew. One copy more is
# 1 more.
COPIES = {"primary": 4.7, "secondary": 1.2}


@pytest.fixture(scope="module")
def calls() -> dict[str, NodeCounts]:
    if shutil.which("strace") is None or not sys.platform.startswith("linux"):
        pytest.skip("counting system calls takes strace")
    return system_calls()


@pytest.mark.parametrize("role", ["primary", "secondary"])
def test_system_calls_for_a_record_that_comes_alone(
    calls: dict[str, NodeCounts], role: str
) -> None:
    found = calls[role]
    assert found.calls, "nothing was counted"
    assert found.calls_alone <= CALLS_ALONE[role], found.calls
    assert found.looks <= LOOKS_ALONE[role], found.calls


@pytest.mark.parametrize("role", ["primary", "secondary"])
def test_system_calls_are_for_groups_and_not_for_records(
    calls: dict[str, NodeCounts], role: str
) -> None:
    """With one more call for each record it would be at least 1 more."""
    assert 0 < calls[role].calls_grouped <= CALLS_GROUPED[role], f"for each of {GROUP} records"


def test_copies_of_a_record() -> None:
    found = copies()
    for role, bound in COPIES.items():
        told = f"of {COPY_BYTES} bytes: {found[role].copies} by {found[role].where}"
        assert 1 <= found[role].copies <= bound, told
