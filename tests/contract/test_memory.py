"""Port `Store`: how full it is."""

from __future__ import annotations

import pytest

from alignfed.errors import StoreUnreachable
from coordinator.backends.redis.address import parse_address
from coordinator.backends.redis.store import RedisStore
from coordinator.ports import Store
from tests.support.servers import free_port, running_redis
from tests.support.stores import seed_federation, store_blob


async def test_what_is_stored_shows_in_the_memory_used(store: Store) -> None:
    plan = await seed_federation(store)
    before = await store.memory()
    for _ in range(8):  # of a Cluster's three servers the fullest one counts, and the payloads spread
        await store_blob(store, plan.federation, bytes(1_000_000))
    after = await store.memory()
    grown_bytes = after.used_bytes - before.used_bytes
    if after.holds_payloads:
        assert grown_bytes >= 8_000_000 / 3
    else:  # the notes of eight thousand parts
        assert grown_bytes < 1_000_000
    assert after.limit_bytes == before.limit_bytes == 0


async def test_the_limit_is_the_servers() -> None:
    with running_redis({"maxmemory": "200mb"}) as server:
        store = RedisStore(parse_address(server.url))
        try:
            memory = await store.memory()
        finally:
            await store.close()
    assert memory.limit_bytes == 200 * 2**20
    assert 0 < memory.used_bytes < memory.limit_bytes


async def test_a_store_that_is_away_says_so() -> None:
    store = RedisStore(parse_address(f"redis://127.0.0.1:{free_port()}"))
    try:
        with pytest.raises(StoreUnreachable):
            await store.memory()
    finally:
        await store.close()
