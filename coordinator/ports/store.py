"""Port: all ports together."""

from __future__ import annotations

from typing import Protocol

from coordinator.domain import StoreMemory, StoreServer
from coordinator.ports.agents import Agents
from coordinator.ports.backups import Backups
from coordinator.ports.blobs import Blobs
from coordinator.ports.deltas import Deltas
from coordinator.ports.federations import Federations
from coordinator.ports.feed import HeadFeed
from coordinator.ports.identities import Identities
from coordinator.ports.leases import Leases
from coordinator.ports.upkeep import Upkeep
from coordinator.ports.versions import Versions


class Store(Protocol):
    """All ports of one store, and its lifecycle."""

    federations: Federations
    agents: Agents
    blobs: Blobs
    deltas: Deltas
    versions: Versions
    leases: Leases
    identities: Identities
    feed: HeadFeed
    backups: Backups
    upkeep: Upkeep

    async def check(self) -> None:
        """Check that the store answers and is safe to keep deltas in. Called once at start.

        Raises:
            StoreUnsafe: Its eviction policy could lose data, or its version is too old; says what to set.
        """
        ...

    async def memory(self) -> StoreMemory:
        """Return how full the store is; of several servers, the fullest one, because it refuses to grow first.

        Cheap: one command per server. Changes nothing.
        """
        ...

    async def inspect(self) -> list[StoreServer]:
        """Return how each server of the store describes itself; for people, never to decide anything."""
        ...

    async def close(self) -> None:
        """Release connections. Idempotent."""
        ...
