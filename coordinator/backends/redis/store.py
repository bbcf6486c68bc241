"""The Redis store: its ports around one set of connections."""

from __future__ import annotations

from coordinator.backends.redis.address import StoreAddress
from coordinator.backends.redis.agents import RedisAgents
from coordinator.backends.redis.backups import RedisBackups
from coordinator.backends.redis.blobs import RedisBlobs
from coordinator.backends.redis.calls import Calls, Observer
from coordinator.backends.redis.connect import Connections
from coordinator.backends.redis.deltas import RedisDeltas
from coordinator.backends.redis.federations import RedisFederations
from coordinator.backends.redis.feed import RedisFeed
from coordinator.backends.redis.identities import RedisIdentities
from coordinator.backends.redis.inspection import inspect_servers
from coordinator.backends.redis.leases import RedisLeases
from coordinator.backends.redis.memory import read_memory
from coordinator.backends.redis.safety import check_server
from coordinator.backends.redis.upkeep import RedisUpkeep
from coordinator.backends.redis.versions import RedisVersions
from coordinator.domain import StoreMemory, StoreServer
from coordinator.ports import (
    Agents,
    Backups,
    Blobs,
    Deltas,
    Federations,
    HeadFeed,
    Identities,
    Leases,
    Upkeep,
    Versions,
)


class RedisStore:
    """Implements `coordinator.ports.Store`. Belongs to one event loop.

    Args:
        address: Where the server is; see `coordinator.backends.redis.address`.
        observe: Told the name and the seconds of every call to the server; for metrics.
    """

    def __init__(self, address: StoreAddress, *, observe: Observer | None = None) -> None:
        self._connections = Connections(address)
        self._calls = Calls(self._connections.client, wait_replicas=address.wait_replicas, observe=observe)
        self.federations: Federations = RedisFederations(self._calls)
        self.agents: Agents = RedisAgents(self._calls)
        self.blobs: Blobs = RedisBlobs(self._calls)
        self.deltas: Deltas = RedisDeltas(self._calls)
        self.versions: Versions = RedisVersions(self._calls)
        self.leases: Leases = RedisLeases(self._calls)
        self.identities: Identities = RedisIdentities(self._calls)
        self.feed: HeadFeed = RedisFeed(self._connections)
        self.backups: Backups = RedisBackups(self._calls)
        self.upkeep: Upkeep = RedisUpkeep(self._calls)

    async def check(self) -> None:
        """See the port."""
        await check_server(self._calls)

    async def memory(self) -> StoreMemory:
        """See the port."""
        return await read_memory(self._calls)

    async def inspect(self) -> list[StoreServer]:
        """See the port."""
        return await inspect_servers(self._calls)

    async def close(self) -> None:
        """See the port."""
        await self._connections.close()
