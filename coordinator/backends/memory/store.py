"""The memory store: its ports around one shared state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from coordinator.backends.memory.agents import MemoryAgents
from coordinator.backends.memory.backups import MemoryBackups
from coordinator.backends.memory.blobs import MemoryBlobs
from coordinator.backends.memory.deltas import MemoryDeltas
from coordinator.backends.memory.federations import MemoryFederations
from coordinator.backends.memory.identities import MemoryIdentities
from coordinator.backends.memory.leases import MemoryLeases
from coordinator.backends.memory.state import MemoryState, Subscriber
from coordinator.backends.memory.upkeep import MemoryUpkeep
from coordinator.backends.memory.versions import MemoryVersions
from coordinator.clock import SystemClock
from coordinator.domain import StoreMemory, StoreServer
from coordinator.ports import (
    Agents,
    Backups,
    Blobs,
    Clock,
    Deltas,
    Federations,
    HeadFeed,
    Identities,
    Leases,
    Upkeep,
    Versions,
)


class MemoryFeed:
    """Implements `coordinator.ports.HeadFeed`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[AsyncIterator[str]]:
        """See the port."""
        subscriber = Subscriber()
        self._state.subscribers.add(subscriber)
        try:
            yield _changes(subscriber)
        finally:
            self._state.subscribers.discard(subscriber)


async def _changes(subscriber: Subscriber) -> AsyncIterator[str]:
    while True:
        yield await subscriber.next()


class MemoryStore:
    """Implements `coordinator.ports.Store`.

    Args:
        clock: Its monotonic time ends leases; the real clock unless a test brings its own.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        state = self._state = MemoryState(clock or SystemClock())
        self.federations: Federations = MemoryFederations(state)
        self.agents: Agents = MemoryAgents(state)
        self.blobs: Blobs = MemoryBlobs(state)
        self.deltas: Deltas = MemoryDeltas(state)
        self.versions: Versions = MemoryVersions(state)
        self.leases: Leases = MemoryLeases(state)
        self.identities: Identities = MemoryIdentities(state)
        self.feed: HeadFeed = MemoryFeed(state)
        self.backups: Backups = MemoryBackups(state)
        self.upkeep: Upkeep = MemoryUpkeep(state)

    async def check(self) -> None:
        """See the port: memory is always there, and never safe; only tests and simulations use it."""

    async def memory(self) -> StoreMemory:
        """See the port: the payloads' bytes, which are nearly everything, and no limit."""
        used_bytes = sum(len(part) for parts in self._state.parts.values() for part in parts.values())
        return StoreMemory(used_bytes=used_bytes, limit_bytes=0)

    async def inspect(self) -> list[StoreServer]:
        """See the port."""
        now = self._state.clock.now()
        return [StoreServer(software="memory of this process", now=now, eviction_policy="noeviction")]

    async def close(self) -> None:
        """See the port."""
