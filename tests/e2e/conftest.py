"""What the attacks on a pair with keys share: the pair, and that it goes on after each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.attackers import Guarded, guarded_pair


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A pair with keys, under good traffic all the time; at its end everything must be there."""
    with guarded_pair(tmp_path_factory.mktemp("pair")) as made:
        yield made


@pytest.fixture
def the_pair_goes_on(guarded: Guarded) -> Iterator[None]:
    """After a test both nodes are the same processes, the pair is gated, and messages pass."""
    yield
    guarded.assert_goes_on()
