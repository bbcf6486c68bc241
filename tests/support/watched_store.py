"""A store in front of a store: counts calls, and fails or holds them on demand. A port implementation, not a mock."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from alignfed.errors import StoreUnreachable
from coordinator.domain import StoreMemory, StoreServer
from coordinator.ports import Store

_PORTS = ("federations", "agents", "blobs", "deltas", "versions", "leases", "identities", "backups")


class WatchedStore:
    """Implements `coordinator.ports.Store` by passing every call on.

    `calls` counts by `port.method`. While `away`, every call raises StoreUnreachable and subscriptions break; while
    `muted`, subscriptions announce nothing. Calls named in `failures` raise, those named in `held` wait.
    """

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.calls: Counter[str] = Counter()
        self.away = False
        self.muted = False
        self.failures: dict[str, Exception] = {}
        self.held: dict[str, asyncio.Event] = {}
        self.open_feeds = 0
        self._broken = asyncio.Event()
        for name in _PORTS:
            setattr(self, name, _WatchedPort(self, name, getattr(inner, name)))
        self.feed = self

    def go_away(self) -> None:
        """Stop answering."""
        self.away = True
        self._broken.set()

    def come_back(self) -> None:
        """Answer again."""
        self.away = False
        self._broken = asyncio.Event()

    def hold(self, name: str) -> asyncio.Event:
        """Let calls of `port.method` wait until the returned event is set."""
        self.held[name] = asyncio.Event()
        return self.held[name]

    async def pass_on(self, name: str, method: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        self.calls[name] += 1
        self._check()
        if name in self.failures:
            raise self.failures[name]
        if name in self.held:
            await self.held[name].wait()
        return await method(*args, **options)

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[AsyncIterator[str]]:
        self.calls["feed.subscribe"] += 1
        self._check()
        async with self._inner.feed.subscribe() as names:
            self.open_feeds += 1
            try:
                yield self._until_broken(names)
            finally:
                self.open_feeds -= 1

    async def _until_broken(self, names: AsyncIterator[str]) -> AsyncIterator[str]:
        broken = asyncio.create_task(self._broken.wait())
        coming: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        try:
            while True:
                coming = asyncio.ensure_future(anext(names))
                done, _ = await asyncio.wait({coming, broken}, return_when=asyncio.FIRST_COMPLETED)
                if coming not in done:
                    self._check()
                name = coming.result()
                if not self.muted:
                    yield name
        finally:
            for task in (broken, coming):
                task.cancel()
            await asyncio.wait({broken, coming})

    async def check(self) -> None:
        self.calls["check"] += 1
        self._check()
        await self._inner.check()

    async def memory(self) -> StoreMemory:
        self.calls["memory"] += 1
        self._check()
        if "memory" in self.failures:
            raise self.failures["memory"]
        return await self._inner.memory()

    async def inspect(self) -> list[StoreServer]:
        self.calls["inspect"] += 1
        self._check()
        return await self._inner.inspect()

    async def close(self) -> None:
        await self._inner.close()

    def _check(self) -> None:
        if self.away:
            raise StoreUnreachable("the store was taken away: bring it back")


class _WatchedPort:
    def __init__(self, store: WatchedStore, port: str, inner: Any) -> None:
        self._store = store
        self._port = port
        self._inner = inner

    def __getattr__(self, method: str) -> Any:
        async def call(*args: Any, **options: Any) -> Any:
            return await self._store.pass_on(f"{self._port}.{method}", getattr(self._inner, method), args, options)

        return call
