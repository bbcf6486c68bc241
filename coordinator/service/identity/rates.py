"""How much one caller may ask of this process: requests, bytes and deltas, each a bucket that fills again with time."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict

from alignfed.errors import RateExceeded
from coordinator.ports import Clock
from coordinator.service.config import ServiceConfig

CAPACITY = 50_000
"""Callers remembered; those not seen for longest are forgotten, and by then their buckets are full."""
HOUR_SECONDS = 3600.0


@dataclasses.dataclass(slots=True)
class Bucket:
    """Room for `burst`, of which `per_second` comes back."""

    burst: float
    per_second: float
    used: float = 0.0
    at: float = 0.0

    def take(self, amount: float, *, now: float) -> float:
        """Take an amount and return 0, or take nothing and return after how many seconds there may be room for it.

        An amount beyond the burst is let through when the bucket is untouched: it could never be taken otherwise.
        """
        self.used = max(0.0, self.used - (now - self.at) * self.per_second)
        self.at = now
        over = self.used + min(amount, self.burst) - self.burst
        if over > 0:
            return over / self.per_second
        self.used += amount
        return 0.0


class Rates:
    """Counts what callers with identities do; without identities nobody can be told from others.

    Each coordinator counts by itself: a fleet of n coordinators grants up to n times as much.

    Args:
        config: How much is granted; 0 for no bound.
        clock: Time.
    """

    def __init__(self, config: ServiceConfig, clock: Clock) -> None:
        self._clock = clock
        self._grants = {
            "requests": (config.max_agent_requests_per_second * 10, config.max_agent_requests_per_second),
            "deltas": (config.max_agent_deltas_per_hour, config.max_agent_deltas_per_hour / HOUR_SECONDS),
            "bytes": (config.max_agent_bytes_per_hour, config.max_agent_bytes_per_hour / HOUR_SECONDS),
        }
        self._buckets: OrderedDict[tuple[str, str], Bucket] = OrderedDict()

    def take(self, principal: str, what: str, amount: float = 1.0) -> None:
        """Count `amount` of `requests`, `deltas` or `bytes` against a caller.

        Raises:
            RateExceeded: It has no room for it now; nothing was counted.
        """
        burst, per_second = self._grants[what]
        if burst <= 0:
            return
        now = self._clock.monotonic()
        key = (principal, what)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(burst=burst, per_second=per_second, at=now)
            if len(self._buckets) > CAPACITY:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        wait_seconds = bucket.take(amount, now=now)
        if wait_seconds > 0:
            raise RateExceeded(
                f"more {what} than this caller may have: it may go on in {wait_seconds:.1f} s",
                retry_after_seconds=wait_seconds,
                limit=what,
            )
