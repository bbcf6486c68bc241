"""Port: time, injected."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Time, injected so that tests own it."""

    def now(self) -> float:
        """Return seconds since the Unix epoch. For people and metrics only: it may jump."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back; decisions rest on this one."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Suspend the calling task."""
        ...
