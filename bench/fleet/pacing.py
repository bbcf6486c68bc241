"""How fast agents train: one factor for all, which may change while they do."""

from __future__ import annotations

import asyncio


class Pacing:
    """Lets virtual training time pass `factor` times as fast as the clock."""

    def __init__(self) -> None:
        self._factor = 1.0
        self._changed = asyncio.Event()

    def set(self, factor: float) -> None:
        """Change the factor, also for those who train now."""
        self._factor = factor
        self._changed.set()
        self._changed = asyncio.Event()

    async def train(self, seconds: float) -> None:
        """Sleep until so much virtual time has passed."""
        loop = asyncio.get_running_loop()
        while seconds > 0:
            factor, changed, began = self._factor, self._changed, loop.time()
            try:
                async with asyncio.timeout(seconds / factor):
                    await changed.wait()
            except TimeoutError:
                return
            seconds -= (loop.time() - began) * factor
