"""An event loop whose time is made up: whenever everybody sleeps, it is at once the time of whoever wakes first.

Hours of timeouts, leases and polls take as long as the work between them, and the same seed gives the same run. Work
for threads is done on the spot, by the loop itself: it must not wait for the loop.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import selectors
from collections.abc import Callable
from typing import Any

START_SECONDS = 1_000_000.0


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time."""

    def __init__(self) -> None:
        self._now = START_SECONDS
        super().__init__(_SkippingSelector(self))
        self.set_default_executor(_OnTheSpot())

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def skip(self, seconds: float) -> None:
        """Move the time forward."""
        self._now += seconds


class _SkippingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        """Never wait: move the time to when the wait would have ended."""
        if timeout is None:
            raise AssertionError("everybody waits for something that will never happen")
        if timeout > 0:
            self._loop.skip(timeout)
        return super().select(0)


class _OnTheSpot(concurrent.futures.ThreadPoolExecutor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 (it is the caller's to see)
            future.set_exception(error)
        return future


class VirtualClock:
    """Implements `coordinator.ports.Clock` by the time of the running loop."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
