"""The Redis store: its ports around one set of connections."""

from __future__ import annotations

import dataclasses

from coordinator.backends.objects.claim import check_place
from coordinator.backends.objects.objects import Objects
from coordinator.backends.objects.parts import ObjectParts
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
from coordinator.backends.redis.parts import RecordParts
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
        objects: Where payloads go; None for into the server, with everything else.
        observe: Told the name and the seconds of every call to the server; for metrics.
    """

    def __init__(
        self, address: StoreAddress, *, objects: Objects | None = None, observe: Observer | None = None
    ) -> None:
        self._connections = Connections(address)
        self._calls = Calls(self._connections.client, wait_replicas=address.wait_replicas, observe=observe)
        self.federations: Federations = RedisFederations(self._calls)
        self.agents: Agents = RedisAgents(self._calls)
        self._objects = objects
        parts = RecordParts(self._calls) if objects is None else ObjectParts(self._calls, objects, observe=observe)
        self.blobs: Blobs = RedisBlobs(self._calls, parts)
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
        await check_place(self._calls, self._objects)

    async def memory(self) -> StoreMemory:
        """See the port."""
        memory = await read_memory(self._calls)
        return dataclasses.replace(memory, holds_payloads=self._objects is None)

    async def inspect(self) -> list[StoreServer]:
        """See the port."""
        servers = await inspect_servers(self._calls)
        if self._objects is None:
            return servers
        place = self._objects.place
        return [dataclasses.replace(server, software=f"{server.software}, payloads in {place}") for server in servers]

    async def close(self) -> None:
        """See the port."""
        await self._connections.close()
        if self._objects is not None:
            await self._objects.close()
