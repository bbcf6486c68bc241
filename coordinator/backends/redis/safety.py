"""Refuses servers that could lose deltas as they are configured."""

from __future__ import annotations

import logging
from typing import Any

from redis.asyncio.cluster import RedisCluster

from alignfed.errors import StoreUnsafe
from coordinator.backends.redis.calls import Calls
from coordinator.backends.redis.translation import translated

_LOG = logging.getLogger(__name__)

MIN_REDIS = (7, 0)
MIN_VALKEY = (8, 0)


async def check_server(calls: Calls) -> None:
    """Check every server behind `calls`.

    Raises:
        StoreUnreachable: One does not answer.
        StoreUnsafe: One is too old, evicts keys, or is not the kind of server that the URL says.
    """
    client = calls.client
    if not isinstance(client, RedisCluster):
        await _check_one(calls, {})
        return
    with translated():
        await client.initialize()
    for node in client.get_primaries():
        await _check_one(calls, {"target_nodes": node})


async def _check_one(calls: Calls, target: dict[str, Any]) -> None:
    await calls.command("PING", **target)
    info = await calls.command("INFO", **target)
    check_version(info)
    clustered = info.get("redis_mode") == "cluster" or info.get("server_mode") == "cluster"
    if clustered and not target:
        raise StoreUnsafe("the store is a Cluster: write its URL as redis+cluster://host:port")
    if info.get("role") == "slave":
        raise StoreUnsafe("the store is a replica: give the primary's address, or the Sentinels' by redis+sentinel://")
    policy = await _eviction_policy(calls, info, target)
    if policy != "noeviction":
        raise StoreUnsafe(
            f"the store's eviction policy is {policy!r}, which would delete deltas and adapters when memory is short: "
            "set `maxmemory-policy noeviction` in its configuration"
        )
    if not info.get("aof_enabled"):
        _LOG.warning(
            "the store keeps no append-only file: a crash of it loses deltas that agents believe delivered; "
            "set `appendonly yes` in its configuration"
        )
    if info.get("connected_slaves") and not calls.wait_replicas and not target:
        _LOG.warning(
            "the store has replicas and nobody waits for them: a failover can take merges back of which agents were "
            "told already, and their deltas are lost then; write ?wait_replicas=1 behind the store URL"
        )


def check_version(info: dict[str, Any]) -> None:
    """Check the version that a server's INFO tells. Valkey also tells the Redis version it is compatible with.

    Raises:
        StoreUnsafe: It is too old.
    """
    valkey = info.get("valkey_version")
    name, version, least = ("Valkey", valkey, MIN_VALKEY) if valkey else ("Redis", info["redis_version"], MIN_REDIS)
    numbers = tuple(int(part) for part in str(version).split(".")[:2])
    if numbers < least:
        needed = ".".join(map(str, least))
        raise StoreUnsafe(f"the store is {name} {version}: AlignFed needs {name} {needed} or newer")


async def _eviction_policy(calls: Calls, info: dict[str, Any], target: dict[str, Any]) -> str:
    """Return the policy. INFO tells it without the right to read the configuration, unless a proxy shortens it."""
    if "maxmemory_policy" in info:
        return str(info["maxmemory_policy"])
    setting = await calls.command("CONFIG GET", "maxmemory-policy", **target)
    return str(setting["maxmemory-policy"])
