"""Bounds on waiting and on concurrency, each with the typed error that says which bound was hit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from alignfed.errors import AlignFedError, Draining, StoreUnreachable, UploadsBusy


@asynccontextmanager
async def within(seconds: float, error: Callable[[], AlignFedError]) -> AsyncIterator[None]:
    """Run the body for at most `seconds`.

    Raises:
        AlignFedError: What `error` makes, when the time is over.
    """
    timer = asyncio.timeout(seconds)
    try:
        async with timer:
            yield
    except TimeoutError:
        if not timer.expired():
            raise
        raise error() from None


def store_silent(seconds: float) -> StoreUnreachable:
    """Return the error for a store that did not answer in time."""
    return StoreUnreachable(
        f"the store did not answer within {seconds:g} s: try again; operators should check the store's load and network"
    )


class Slots:
    """A bounded number of transfers at a time, and a bounded line of those that wait.

    Args:
        active: Transfers served at a time.
        waiting: Transfers that may wait.
    """

    def __init__(self, *, active: int, waiting: int) -> None:
        self._free = asyncio.Semaphore(active)
        self._active = active
        self._room = waiting

    @asynccontextmanager
    async def hold(self, *, wait_seconds: float) -> AsyncIterator[None]:
        """Hold a slot while the body runs, waiting for it in order of arrival.

        Raises:
            UploadsBusy: None became free in time, or the line is full.
        """
        if self._free.locked() and self._room <= 0:
            raise self._busy("as many wait in line as may")
        self._room -= 1
        try:
            async with within(wait_seconds, lambda: self._busy(f"none ended within {wait_seconds:g} s")):
                await self._free.acquire()
        finally:
            self._room += 1
        try:
            yield
        finally:
            self._free.release()

    def _busy(self, why: str) -> UploadsBusy:
        return UploadsBusy(
            f"the coordinator serves {self._active} transfers at a time and {why}: try again after the given delay"
        )


class DrainSwitch:
    """Turned once, when the process starts to shut down."""

    def __init__(self) -> None:
        self._turned = asyncio.Event()

    @property
    def draining(self) -> bool:
        """Whether the process is shutting down."""
        return self._turned.is_set()

    def turn(self) -> None:
        """Start draining. Idempotent."""
        self._turned.set()

    def check(self) -> None:
        """Let work in unless the process is shutting down.

        Raises:
            Draining: It is.
        """
        if self.draining:
            raise Draining("this coordinator is shutting down: connect again, another one will answer")
