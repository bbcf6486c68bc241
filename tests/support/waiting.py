"""Waiting for something to become true, with a message that says what did not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

POLL_SECONDS = 0.02


async def eventually(condition: Callable[[], Awaitable[bool]], *, what: str, timeout_seconds: float = 20.0) -> None:
    """Return as soon as `condition()` is true; fail the test naming `what` when it does not become so in time."""
    deadline = time.monotonic() + timeout_seconds
    while not await condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_seconds:.0f} s in vain until {what}")
        await asyncio.sleep(POLL_SECONDS)


def wait_until(condition: Callable[[], bool], *, what: str, timeout_seconds: float = 20.0) -> None:
    """Return as soon as `condition()` is true; fail the test naming `what` when it does not become so in time."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_seconds:.0f} s in vain until {what}")
        time.sleep(POLL_SECONDS)
