"""How long to wait before trying again: exponential back-off with full jitter. Pure: the caller sleeps."""

from __future__ import annotations

import random
from collections.abc import Iterator

from alignfed.errors import AlignFedError

BASE_SECONDS = 0.5
"""Ceiling of the first wait: a restarting coordinator is back within a second or two."""
CAP_SECONDS = 30.0
"""No wait is longer: after an outage a fleet is back within half a minute, spread evenly over it."""
LONGEST_HINT_SECONDS = 3600.0
"""A hint beyond an hour is taken for a mistake and cut."""
RETRY_AFTER = "retry_after_seconds"
"""Key under which an error carries the coordinator's hint."""


def delays(
    rng: random.Random, *, base_seconds: float = BASE_SECONDS, cap_seconds: float = CAP_SECONDS
) -> Iterator[float]:
    """Yield waits in seconds for ever: the n-th is uniform in [0, min(cap, base * 2**n)].

    Source: "full jitter", Brooker, Exponential Backoff And Jitter, 2015.

    Args:
        rng: Where the jitter comes from.
        base_seconds: Ceiling of the first wait.
        cap_seconds: Ceiling of every wait.
    """
    ceiling = min(base_seconds, cap_seconds)
    while True:
        yield rng.uniform(0, ceiling)
        ceiling = min(2 * ceiling, cap_seconds)


def wait_seconds(delay: float, error: AlignFedError) -> float:
    """Return how long to wait after `error`: `delay`, on top of the coordinator's hint when it gave one.

    The jitter comes on top, so that agents that were all told the same do not come back at the same moment.
    """
    try:
        hint = float(error.metadata.get(RETRY_AFTER, "0"))
    except ValueError:
        hint = 0.0
    return delay + max(0.0, min(hint, LONGEST_HINT_SECONDS))
