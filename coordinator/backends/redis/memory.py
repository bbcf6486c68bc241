"""How full the server is."""

from __future__ import annotations

from typing import Any

from redis.asyncio.cluster import RedisCluster

from coordinator.backends.redis.calls import Calls
from coordinator.backends.redis.translation import translated
from coordinator.domain import StoreMemory


async def read_memory(calls: Calls) -> StoreMemory:
    """Return memory and limit of the server, or of the fullest primary of a Cluster.

    Raises:
        StoreUnreachable: One does not answer.
    """
    client = calls.client
    if not isinstance(client, RedisCluster):
        return _memory(await calls.command("INFO", "memory"))
    with translated():
        await client.initialize()
    servers = [_memory(await calls.command("INFO", "memory", target_nodes=node)) for node in client.get_primaries()]
    return max(servers, key=_fullness)


def _memory(info: dict[str, Any]) -> StoreMemory:
    return StoreMemory(used_bytes=int(info["used_memory"]), limit_bytes=int(info.get("maxmemory", 0)))


def _fullness(memory: StoreMemory) -> tuple[float, int]:
    return (memory.used_bytes / memory.limit_bytes if memory.limit_bytes else 0.0, memory.used_bytes)
