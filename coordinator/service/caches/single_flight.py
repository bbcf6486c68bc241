"""Reads that many want at once, done once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class SingleFlight(Generic[KeyT, ValueT]):
    """Runs at most one read per key at a time; whoever asks meanwhile gets the same answer, or the same error."""

    def __init__(self) -> None:
        self._running: dict[KeyT, asyncio.Task[ValueT]] = {}

    async def run(self, key: KeyT, read: Callable[[], Coroutine[Any, Any, ValueT]]) -> ValueT:
        """Return what `read()`, or the read of `key` that runs already, returns."""
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(read())
            task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(task)  # whoever asked first may go away; the others still wait

    def _forget(self, key: KeyT, done: asyncio.Task[ValueT]) -> None:
        del self._running[key]
        if not done.cancelled():
            done.exception()  # marks it as seen, should nobody be left to see it
