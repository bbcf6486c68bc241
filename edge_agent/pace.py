"""When the coordinator wants the next delta: its newest advice, kept for whoever is about to begin one."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

LONGEST_SECONDS = 3600.0
"""Advice beyond an hour is taken for a mistake and cut."""
JITTER = 0.25
"""Up to this fraction is added to each wait, so that agents that were told the same do not come back together."""


class Pace:
    """Remembers how long the coordinator asked to wait; safe for several threads.

    Args:
        rng: Jitter.
        monotonic: Time in seconds.
    """

    def __init__(self, rng: random.Random, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._rng = rng
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._until = -float("inf")

    def advised(self, come_back_after_seconds: float) -> None:
        """Take the newest advice; 0 for none, which ends an earlier one."""
        seconds = min(max(come_back_after_seconds, 0.0), LONGEST_SECONDS)
        with self._lock:
            self._until = self._monotonic() + seconds * (1 + self._rng.uniform(0, JITTER))

    def remaining_seconds(self) -> float:
        """Return how long not to begin another delta; 0 when one may begin."""
        with self._lock:
            return max(0.0, self._until - self._monotonic())
