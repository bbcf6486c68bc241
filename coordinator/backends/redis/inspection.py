"""How a server describes itself, for operators who look for what is wrong."""

from __future__ import annotations

from typing import Any

from redis.asyncio.cluster import RedisCluster

from alignfed.errors import StoreCorrupt, StoreUnreachable
from coordinator.backends.redis.calls import Calls
from coordinator.backends.redis.translation import translated
from coordinator.domain import StoreServer


async def inspect_servers(calls: Calls) -> list[StoreServer]:
    """Return how every primary behind `calls` describes itself.

    Raises:
        StoreUnreachable: One does not answer.
    """
    client = calls.client
    if not isinstance(client, RedisCluster):
        return [await _inspect_one(calls, {})]
    with translated():
        await client.initialize()
    return [await _inspect_one(calls, {"target_nodes": node}) for node in client.get_primaries()]


async def _inspect_one(calls: Calls, target: dict[str, Any]) -> StoreServer:
    info = await calls.command("INFO", **target)
    seconds, microseconds = await calls.command("TIME", **target)
    valkey = info.get("valkey_version")
    return StoreServer(
        software=f"Valkey {valkey}" if valkey else f"Redis {info['redis_version']}",
        now=int(seconds) + int(microseconds) / 1e6,
        eviction_policy=str(info.get("maxmemory_policy", "")),
        append_only=bool(info.get("aof_enabled")),
        append_fsync=await _append_fsync(calls, target),
        append_failing=info.get("aof_last_write_status", "ok") != "ok",
        memory_used_bytes=int(info.get("used_memory", 0)),
        memory_limit_bytes=int(info.get("maxmemory", 0)),
    )


async def _append_fsync(calls: Calls, target: dict[str, Any]) -> str:
    """Return the setting, which INFO leaves out; empty where the login may not read the configuration."""
    try:
        setting = await calls.command("CONFIG GET", "appendfsync", **target)
    except (StoreCorrupt, StoreUnreachable):  # managed services forbid CONFIG; what is not known is shown as not known
        return ""
    return str(setting.get("appendfsync", ""))
