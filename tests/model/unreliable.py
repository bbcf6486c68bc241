"""A process's way to the store: every call takes a while, and the process may be paused or die at any of them."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from alignfed.errors import StoreUnreachable
from coordinator.domain import StoreMemory, StoreServer
from coordinator.ports import Store

_PORTS = ("federations", "agents", "blobs", "deltas", "versions", "leases", "upkeep")
LONGEST_CALL_SECONDS = 0.05


class ProcessStore:
    """Implements `coordinator.ports.Store` for one life of one process.

    Each call waits a random time before and after it acts. Once the process is dead its calls do nothing, whatever
    clean-up its code still attempts; while it is paused they wait. A lost answer looks like an unreachable store.
    """

    def __init__(self, inner: Store, chances: random.Random, *, lost_answers: float = 0.0) -> None:
        self._inner = inner
        self._chances = chances
        self.lost_answers = lost_answers
        self._dead = False
        self._running = asyncio.Event()
        self._running.set()
        self.feed = inner.feed
        for name in _PORTS:
            setattr(self, name, _Port(self, getattr(inner, name)))

    def kill(self) -> None:
        """Let no further call of this process reach the store."""
        self._dead = True
        self._running.set()

    async def pause(self, seconds: float) -> None:
        """Stop the process in its tracks for a while, as SIGSTOP does."""
        self._running.clear()
        await asyncio.sleep(seconds)
        self._running.set()

    async def pass_on(self, method: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        await self._takes_a_while()
        answer = await method(*args, **options)
        await self._takes_a_while()
        if self._chances.random() < self.lost_answers:
            raise StoreUnreachable("the answer was lost: the call may or may not have happened")
        return answer

    async def _takes_a_while(self) -> None:
        await asyncio.sleep(self._chances.uniform(0, LONGEST_CALL_SECONDS))
        await self._running.wait()
        if self._dead:
            raise StoreUnreachable("this process is dead")

    async def check(self) -> None:
        await self._inner.check()

    async def memory(self) -> StoreMemory:
        return await self._inner.memory()

    async def inspect(self) -> list[StoreServer]:
        return await self._inner.inspect()

    async def close(self) -> None:
        await self._inner.close()


class _Port:
    def __init__(self, store: ProcessStore, inner: Any) -> None:
        self._store = store
        self._inner = inner

    def __getattr__(self, method: str) -> Any:
        async def call(*args: Any, **options: Any) -> Any:
            return await self._store.pass_on(getattr(self._inner, method), args, options)

        return call
