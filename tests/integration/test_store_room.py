"""Uploads leave a part of the store free, so that what waits in it can still be merged."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

from coordinator.backends.redis.store import RedisStore
from coordinator.backends.urls import open_store
from coordinator.service.config import ServiceConfig
from coordinator.service.server import CoordinatorServer
from tests.support.raw_client import RawClient, WireDelta, refused, version_id, wire_plan
from tests.support.servers import RedisProcess, running_redis
from tests.support.stores import new_commit, seed_federation, take_lease
from tests.support.waiting import eventually

MIB = 1 << 20
PAYLOAD_COLUMNS = 1 << 17  # a megabyte each
CHUNK_BYTES = 1 << 16


@pytest.fixture
def server() -> Iterator[RedisProcess]:
    with running_redis({"appendonly": "yes", "maxmemory": "100mb", "maxmemory-policy": "noeviction"}) as process:
        yield process


@pytest.fixture
async def store(server: RedisProcess) -> AsyncIterator[RedisStore]:
    opened = open_store(server.url)
    assert isinstance(opened, RedisStore)
    yield opened
    await opened.close()


@pytest.fixture
async def client(store: RedisStore) -> AsyncIterator[RawClient]:
    config = ServiceConfig(
        agent_listen="127.0.0.1:0", operator_listen="127.0.0.1:0", store_reserve_ratio=0.5, queue_reread_seconds=0.05
    )
    coordinator = CoordinatorServer(store, config=config)
    await coordinator.start()
    raw = RawClient(agent_port=coordinator.agent_port, operator_port=coordinator.operator_port)
    yield raw
    await raw.close()
    await coordinator.stop()


async def test_uploads_stop_before_merges_have_to(store: RedisStore, client: RawClient) -> None:
    plan = await seed_federation(store, wire_plan("fed", columns=PAYLOAD_COLUMNS, chunk_bytes=CHUNK_BYTES))
    base = (await store.versions.head("fed")).id
    used_bytes = (await store.memory()).used_bytes
    limit_bytes = 2 * used_bytes + 8 * MIB  # of which uploads may have half
    await store._calls.command("CONFIG SET", "maxmemory", limit_bytes)
    sent = 0
    refusal = None
    while refusal is None and sent < 20:
        delta = WireDelta.of(plan, base, seed=sent)
        try:
            await client.submit(delta.messages())
            sent += 1
        except grpc.RpcError:
            refusal = await refused(client.query(delta, base_version=version_id(base)))
    assert refusal is not None, "uploads may fill the store to the brim"
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL")
    assert refusal.retry_seconds
    assert 1 <= sent <= 8

    token = await take_lease(store, "fed")
    await store.deltas.claim("fed", "worker-1", limit=100)
    commit = await new_commit(store, "fed", token, await store.deltas.reclaim("fed", "worker-1"))
    await store.versions.commit(commit)
    await store._calls.command("CONFIG SET", "maxmemory", 4 * limit_bytes)
    again = WireDelta.of(plan, base, seed=99)

    async def taken() -> bool:
        try:
            return (await client.query(again, base_version=version_id(base))).resume_offset == 0
        except grpc.RpcError:
            return False

    await eventually(taken, what="there is room again")
    await client.submit(again.messages())
