"""Back-off: waits grow, are spread over their whole range, are capped, and respect hints."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignfed.errors import QueueFull
from edge_agent.wire.backoff import LONGEST_HINT_SECONDS, RETRY_AFTER, delays, wait_seconds


@given(st.integers(0, 2**32), st.floats(0.01, 5), st.floats(0.01, 100))
def test_each_wait_lies_between_zero_and_its_doubling_capped_ceiling(seed: int, base: float, cap: float) -> None:
    waits = delays(random.Random(seed), base_seconds=base, cap_seconds=cap)
    for number, wait in enumerate(itertools.islice(waits, 12)):
        assert 0 <= wait <= min(cap, base * 2**number)


def test_jitter_is_full_so_that_a_fleet_spreads() -> None:
    tenth = [next(itertools.islice(delays(random.Random(seed), base_seconds=1, cap_seconds=8), 9, None))
             for seed in range(500)]  # fmt: skip
    assert min(tenth) < 0.5
    assert max(tenth) > 7.5
    assert sum(tenth) / len(tenth) == pytest.approx(4, abs=0.5)


def test_a_hint_is_waited_for_and_the_jitter_comes_on_top() -> None:
    assert wait_seconds(0.5, QueueFull("full", **{RETRY_AFTER: 15})) == 15.5
    assert wait_seconds(0.5, QueueFull("full")) == 0.5


@pytest.mark.parametrize(("hint", "waited"), [("soon", 0), ("nan", 0), ("-5", 0), ("1e30", LONGEST_HINT_SECONDS)])
def test_an_absurd_hint_does_not_stop_the_agent(hint: str, waited: float) -> None:
    assert wait_seconds(0.5, QueueFull("full", **{RETRY_AFTER: hint})) == waited + 0.5
