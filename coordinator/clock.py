"""The real clock; tests inject their own."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """Implements `coordinator.ports.Clock`."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Suspend the calling task."""
        await asyncio.sleep(seconds)
