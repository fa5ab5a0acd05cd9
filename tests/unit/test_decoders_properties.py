"""Any bytes give a value or the one error that is documented, wherever bytes are decoded.

Held against well-formed inputs that are changed here and there; fuzzing (`make fuzz`) looks deeper
into the same targets, and what it finds is kept in its corpus.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.targets import TARGETS, corpus, mended, seeds
from golden import records as golden_records
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.shared.errors import RemoteError
from interlock.shared.wire import HEADER_BYTES, parse_records

KEPT = [(target, file) for target in TARGETS for file in corpus(target)]


@pytest.mark.parametrize(("target", "file"), KEPT, ids=[file.name for _, file in KEPT])
def test_what_is_kept_in_the_corpus(target: str, file: Path) -> None:
    TARGETS[target](file.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_any_bytes(target: str, data: st.DataObject) -> None:
    """Of a well-formed input some bytes are overwritten, mostly; or pieces are cut out or put in,
    which moves all that follows."""
    whole = bytearray(data.draw(st.sampled_from(seeds(target))))
    for _ in range(data.draw(st.integers(0, 3))):
        head = min(len(whole), HEADER_BYTES)
        start = data.draw(st.integers(0, head) | st.integers(0, len(whole)))
        new = data.draw(st.binary(min_size=1, max_size=4))
        gone = data.draw(st.sampled_from((len(new), len(new), len(new), 0, 9)))
        whole[start : start + gone] = new
    TARGETS[target](bytes(whole))


def test_mended_records_are_what_they_were() -> None:
    """Without this the targets would never reach what stands behind the hash."""
    log = b"".join(bytes.fromhex(one["record_hex"]) for one in golden_records.build())
    assert b"".join(mended(log)) == log
    broken = bytearray(log)
    broken[16] ^= 0xFF  # the seq of the first
    with pytest.raises(RemoteError, match="hash"):
        parse_records(bytes(broken))
    assert len(parse_records(b"".join(mended(bytes(broken))))) == len(golden_records.build())
