"""Stores with replicas: what an agent is told, and what a worker commits with, is what a failover cannot take back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from alignfed.errors import RequestInvalid, StoreUnreachable
from coordinator.backends.redis.address import parse_address
from coordinator.backends.redis.keys import FederationKeys
from coordinator.backends.redis.store import RedisStore
from coordinator.backends.urls import open_store
from coordinator.domain import DeltaState
from coordinator.ports import Store
from tests.support.servers import RedisProcess, free_port, running_redis
from tests.support.stores import new_commit, seed_federation, submit, take_lease
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[RedisProcess, RedisProcess]]:
    """A primary and its one replica."""
    settings = {"appendonly": "yes", "repl-diskless-sync-delay": "0"}
    with (
        running_redis(settings, port=free_port()) as primary,
        running_redis({**settings, "replicaof": f"127.0.0.1 {primary.port}"}) as replica,
    ):
        wait_until(lambda: "state=online" in primary.command("INFO", "replication"), what="the replica follows")
        yield primary, replica


@pytest.fixture
async def store(pair: tuple[RedisProcess, RedisProcess]) -> AsyncIterator[Store]:
    opened = open_store(f"{pair[0].url}?wait_replicas=1")
    yield opened
    await opened.close()


async def test_an_outcome_is_told_once_a_replica_has_it(store: Store, pair: tuple[RedisProcess, RedisProcess]) -> None:
    federation = (await seed_federation(store)).federation
    token = await take_lease(store, federation)
    delta = await submit(store, federation)
    claimed = await store.deltas.claim(federation, "worker-1", limit=10)
    with pair[1].frozen():
        receipt = await store.deltas.receipt(federation, delta.delta_id)  # its agent keeps it: nobody need wait
        assert receipt is not None
        assert receipt.state is DeltaState.QUEUED
        await store.versions.commit(await new_commit(store, federation, token, claimed))
        with pytest.raises(StoreUnreachable, match="0 of 1 replicas"):
            await store.deltas.receipt(federation, delta.delta_id)
        with pytest.raises(StoreUnreachable, match="0 of 1 replicas"):
            await store.deltas.accept(delta)
    receipt = await store.deltas.receipt(federation, delta.delta_id)
    assert receipt is not None
    assert receipt.state is DeltaState.MERGED
    assert await store.deltas.accept(delta) == receipt


async def test_a_fencing_token_is_used_once_a_replica_has_it(
    store: Store, pair: tuple[RedisProcess, RedisProcess]
) -> None:
    federation = (await seed_federation(store)).federation
    first = await take_lease(store, federation)
    with pair[1].frozen(), pytest.raises(StoreUnreachable, match="0 of 1 replicas"):
        await store.leases.acquire(federation, "worker-1", ttl_seconds=60)
    second = await take_lease(store, federation)
    assert second > first


async def test_a_primary_that_was_made_a_replica_is_no_witness(
    store: Store, pair: tuple[RedisProcess, RedisProcess]
) -> None:
    federation = (await seed_federation(store)).federation
    opened = open_store(f"{pair[1].url}?wait_replicas=1")
    assert isinstance(opened, RedisStore)
    try:
        with pytest.raises(StoreUnreachable, match="fails over"):
            await opened._calls.read_replicated(federation, ("GET", "whatever"))
    finally:
        await opened.close()


async def test_a_lease_from_before_the_servers_clock_went_back_ends_all_the_same(
    store: Store, pair: tuple[RedisProcess, RedisProcess]
) -> None:
    federation = (await seed_federation(store)).federation
    assert await store.leases.acquire(federation, "worker-1", ttl_seconds=2) is not None
    lease = FederationKeys(federation).lease
    pair[0].command("PEXPIRE", lease, str(86_400_000))  # what it has left when the clock goes back by a day
    assert await store.leases.acquire(federation, "worker-2", ttl_seconds=60) is None
    left = int(pair[0].command("PTTL", lease).strip().removeprefix(":"))
    assert left <= 2_000
    wait_until(lambda: ":0" in pair[0].command("EXISTS", lease), what="the lease has run out")
    assert await store.leases.acquire(federation, "worker-2", ttl_seconds=60) is not None


async def test_a_store_whose_replicas_nobody_waits_for_is_used_with_a_warning(
    pair: tuple[RedisProcess, RedisProcess], caplog: pytest.LogCaptureFixture
) -> None:
    for url, warned in ((pair[0].url, True), (f"{pair[0].url}?wait_replicas=1", False)):
        opened = open_store(url)
        caplog.clear()
        await opened.check()
        assert ("wait_replicas=1" in caplog.text) == warned
        await opened.close()


def test_a_cluster_has_no_replicas_to_wait_for() -> None:
    assert parse_address("redis+sentinel://a,b/main?wait_replicas=2").wait_replicas == 2
    with pytest.raises(RequestInvalid, match="not for a Cluster"):
        parse_address("redis+cluster://a?wait_replicas=1")
