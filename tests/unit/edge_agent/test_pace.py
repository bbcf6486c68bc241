"""What the coordinator asks is kept, spread, bounded, and replaced by what it asks next."""

from __future__ import annotations

import random

import pytest

from edge_agent.pace import JITTER, LONGEST_SECONDS, Pace


class Watch:
    """A clock that stands."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_a_wait_is_spread_and_ends() -> None:
    waits = []
    for seed in range(200):
        watch = Watch()
        pace = Pace(random.Random(seed), monotonic=watch)
        assert pace.remaining_seconds() == 0
        pace.advised(40.0)
        waits.append(pace.remaining_seconds())
        watch.seconds += 40 * (1 + JITTER) + 0.001
        assert pace.remaining_seconds() == 0
    assert min(waits) >= 40
    assert max(waits) > 40 * (1 + JITTER / 2)
    assert max(waits) <= 40 * (1 + JITTER)


def test_the_newest_advice_counts() -> None:
    pace = Pace(random.Random(1), monotonic=Watch())
    pace.advised(40.0)
    pace.advised(0.0)
    assert pace.remaining_seconds() == 0


@pytest.mark.parametrize(("advice", "waited"), [(-5.0, 0.0), (1e12, LONGEST_SECONDS)])
def test_absurd_advice_does_not_stop_the_agent(advice: float, waited: float) -> None:
    pace = Pace(random.Random(1), monotonic=Watch())
    pace.advised(advice)
    assert waited <= pace.remaining_seconds() <= waited * (1 + JITTER)
