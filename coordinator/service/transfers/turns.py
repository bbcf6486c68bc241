"""Taking turns: a few uploads at a time have a chunk in memory, and none is held up by an agent that sends slowly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

PATIENCE_SECONDS = 0.1
"""How long an upload keeps its turn while it waits for its agent: a chunk over a fast link, in a busy process."""


class Turns:
    """Makes turns: at most `active` uploads move a chunk from their agent to the store at a time.

    The upload of an agent on a slow link gives its turn back while a chunk is on the way, and takes one again to store
    it. So chunks of slow agents are in memory beside those of `active` fast ones; `UploadGate` bounds them all.
    """

    def __init__(self, active: int) -> None:
        self._free = asyncio.Semaphore(active)

    def turn(self) -> Turn:
        """Return the turn of one upload, which it takes and gives back chunk by chunk. Use it as a context manager."""
        return Turn(self._free)


class Turn:
    """One upload's turn."""

    def __init__(self, free: asyncio.Semaphore) -> None:
        self._free = free
        self._held = False
        self._prompt = True  # its last chunk came within the patience

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._give_back()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Wait for the agent's next chunk in the body, in turn unless the last one was slow."""
        loop = asyncio.get_running_loop()
        if self._prompt:
            await self._take()
        began = loop.time()
        lapse = loop.call_later(PATIENCE_SECONDS, self._give_back)
        try:
            yield
        finally:
            lapse.cancel()
            self._prompt = loop.time() - began < PATIENCE_SECONDS

    @asynccontextmanager
    async def storing(self) -> AsyncIterator[None]:
        """Store the chunk in the body, and give the turn back."""
        await self._take()
        try:
            yield
        finally:
            self._give_back()

    async def _take(self) -> None:
        if not self._held:
            await self._free.acquire()
            self._held = True

    def _give_back(self) -> None:
        if self._held:
            self._held = False
            self._free.release()
