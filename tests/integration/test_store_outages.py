"""The Redis store when things go wrong: server gone, restarted, full, unsafe, forgetful; calls cancelled half-way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from alignfed.errors import StoreCorrupt, StoreFull, StoreUnreachable, StoreUnsafe
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.redis import feed
from coordinator.backends.redis.safety import check_version
from coordinator.backends.urls import open_store
from coordinator.domain import CommitOutcome, DeltaState, Rejection
from coordinator.ports import Store
from tests.support.servers import RedisProcess, free_port, running_redis
from tests.support.stores import (
    NOW,
    PART_BYTES,
    has_blob,
    new_agent,
    new_commit,
    new_delta,
    receipt_of,
    seed_federation,
    store_blob,
    submit,
    take_lease,
    unique,
)
from tests.support.waiting import eventually


@pytest.fixture
def server() -> Iterator[RedisProcess]:
    with running_redis({"appendonly": "yes"}, port=free_port()) as process:
        yield process


@pytest.fixture
async def store(server: RedisProcess) -> AsyncIterator[Store]:
    opened = open_store(f"redis://127.0.0.1:{server.port}")
    yield opened
    await opened.close()


@pytest.fixture
async def impatient_store(server: RedisProcess) -> AsyncIterator[Store]:
    opened = open_store(f"redis://127.0.0.1:{server.port}?timeout_seconds=0.2")
    yield opened
    await opened.close()


async def test_a_server_that_is_gone_is_unreachable_for_every_call_and_soon(store: Store, server: RedisProcess) -> None:
    federation = (await seed_federation(store)).federation
    delta = await new_delta(store, federation)
    server.kill()
    started = time.monotonic()
    results = await asyncio.gather(
        store.check(),
        store.federations.names(),
        store.agents.register(federation, new_agent()),
        store.blobs.put_part("blob", 0, b"x"),
        store.deltas.accept(delta),
        store.deltas.claim(federation, "worker-1", limit=1),
        store.versions.head(federation),
        store.leases.acquire(federation, "worker-1", ttl_seconds=1),
        return_exceptions=True,
    )
    assert {type(result) for result in results} == {StoreUnreachable}
    assert time.monotonic() - started < 5


async def test_a_subscription_ends_with_an_error_when_the_server_goes(store: Store, server: RedisProcess) -> None:
    await seed_federation(store)
    async with store.feed.subscribe() as changes:
        server.kill()
        with pytest.raises(StoreUnreachable):
            await asyncio.wait_for(anext(changes), timeout=5)


async def test_a_silent_subscription_stays_alive_by_pings(
    store: Store, server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "PING_SECONDS", 0.05)
    federation = (await seed_federation(store)).federation
    async with store.feed.subscribe() as changes:
        waiting = asyncio.ensure_future(anext(changes))
        done, _ = await asyncio.wait({waiting}, timeout=0.5)
        assert not done
        await store.federations.set_paused(federation, True)
        assert await asyncio.wait_for(waiting, timeout=5) == federation


async def test_a_subscription_to_a_frozen_server_ends_with_an_error(
    store: Store, server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "PING_SECONDS", 0.05)
    async with store.feed.subscribe() as changes:
        with server.frozen(), pytest.raises(StoreUnreachable, match="ping"):
            await asyncio.wait_for(anext(changes), timeout=5)


async def test_subscribing_to_a_server_that_is_gone_is_an_error(store: Store, server: RedisProcess) -> None:
    server.kill()
    with pytest.raises(StoreUnreachable):
        async with store.feed.subscribe():
            raise AssertionError("there is nothing to subscribe to")


async def test_a_short_restart_goes_unnoticed_and_loses_nothing() -> None:
    port = free_port()
    with running_redis({"appendonly": "yes", "appendfsync": "always"}, port=port) as server:
        store = open_store(f"redis://127.0.0.1:{port}")
        federation = (await seed_federation(store)).federation
        delta = await new_delta(store, federation)
        server.kill()
        acceptance = asyncio.create_task(store.deltas.accept(delta))
        await asyncio.wait({acceptance}, timeout=0.1)
        assert not acceptance.done()
        server.start()
        server.wait_until_ready()

        assert (await acceptance).state is DeltaState.QUEUED
        assert (await receipt_of(store, delta)).delta_id == delta.delta_id
        await store.close()


async def test_a_claim_whose_answer_was_lost_is_found_by_reclaim_and_not_repeated(
    impatient_store: Store, server: RedisProcess
) -> None:
    store = impatient_store
    federation = (await seed_federation(store)).federation
    deltas = [await submit(store, federation) for _ in range(3)]
    await store.deltas.claim(federation, "worker-1", limit=1)  # from here on the server knows the script
    with server.frozen(), pytest.raises(StoreUnreachable):
        await store.deltas.claim(federation, "worker-1", limit=1)  # the server reads it once it runs again

    async def claimed_by_the_lost_call() -> bool:
        return (await store.deltas.depth(federation)).pending == 2

    await eventually(claimed_by_the_lost_call, what="the server had run the claim that timed out", timeout_seconds=5)
    assert [queued.delta for queued in await store.deltas.reclaim(federation, "worker-1")] == deltas[:2]


async def test_scripts_survive_an_emptied_script_cache(store: Store, server: RedisProcess) -> None:
    federation = (await seed_federation(store)).federation
    server.command("SCRIPT", "FLUSH")
    delta = await submit(store, federation)
    server.command("SCRIPT", "FLUSH")
    assert await store.deltas.accept(delta) == await receipt_of(store, delta)


async def test_a_full_store_refuses_uploads_and_recovers_by_merging_and_sweeping(
    store: Store, server: RedisProcess
) -> None:
    federation = (await seed_federation(store)).federation
    await submit(store, federation)
    await submit(store, federation)
    token = await take_lease(store, federation)
    merged, rejected = await store.deltas.claim(federation, "worker-1", limit=2)
    commit = await new_commit(store, federation, token, [merged])
    waiting = await new_delta(store, federation)
    filler = await store_blob(store, federation, b"x" * PART_BYTES, at=NOW - 1)
    for index in range(1, 21):
        await store.blobs.put_part(filler.blob_id, index, b"x" * 2**20)
    server.command("CONFIG", "SET", "maxmemory", "12mb")

    with pytest.raises(StoreFull, match="more memory"):
        await store.blobs.put_part(filler.blob_id, 21, b"x")
    with pytest.raises(StoreFull):
        await store.deltas.accept(waiting)
    assert await store.deltas.receipt(federation, waiting.delta_id) is None
    await store.deltas.reject(federation, token, [Rejection(queued=rejected, reason="NON_FINITE", detail="NaN")])
    assert await store.versions.commit(commit) is CommitOutcome.COMMITTED
    # the filler, the rejected payload, and the merged one, which nobody keeps for replay
    assert await store.blobs.sweep(federation, unclaimed_before=NOW) == 3

    async def accepted() -> bool:  # the server frees memory in the background
        with contextlib.suppress(StoreFull):
            return (await store.deltas.accept(waiting)).state is DeltaState.QUEUED
        return False

    await eventually(accepted, what="the swept store accepts deltas again", timeout_seconds=5)
    assert await has_blob(store, waiting.payload)


async def test_an_embedded_store_with_a_limit_refuses_to_grow_beyond_it(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path, maxmemory_bytes=16 * 2**20) as limited:
        store = open_store(limited.url)
        await store.blobs.begin("fed", "filler", at=NOW)
        with pytest.raises(StoreFull):
            for index in range(20):
                await store.blobs.put_part("filler", index, b"x" * 2**20)
        await store.close()


async def test_a_store_that_may_evict_is_refused_with_the_setting_to_change() -> None:
    with running_redis({"maxmemory-policy": "allkeys-lru"}) as server:
        store = open_store(server.url)
        with pytest.raises(StoreUnsafe, match=r"allkeys-lru.*maxmemory-policy noeviction"):
            await store.check()
        await store.close()


async def test_a_store_without_persistence_is_accepted_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with running_redis() as server, caplog.at_level(logging.WARNING):
        store = open_store(server.url)
        await store.check()
        await store.close()
    assert "appendonly yes" in caplog.text


async def test_a_replica_is_refused(server: RedisProcess) -> None:
    with running_redis({"replicaof": f"127.0.0.1 {server.port}"}) as replica:
        store = open_store(replica.url)
        with pytest.raises(StoreUnsafe, match="primary"):
            await store.check()
        await store.close()


@pytest.mark.parametrize(
    ("info", "safe"),
    [
        ({"redis_version": "7.0.0"}, True),
        ({"redis_version": "8.2.1"}, True),
        ({"redis_version": "6.2.14"}, False),
        ({"redis_version": "7.2.4", "valkey_version": "8.0.1"}, True),
        ({"redis_version": "7.2.4", "valkey_version": "7.2.5"}, False),
    ],
)
def test_old_servers_are_refused(info: dict[str, str], safe: bool) -> None:
    if safe:
        check_version(info)
    else:
        with pytest.raises(StoreUnsafe, match="or newer"):
            check_version(info)


async def test_cancelled_calls_leave_no_answers_behind_for_others(store: Store) -> None:
    federation = (await seed_federation(store)).federation
    blob_id = unique("blob")
    await store.blobs.begin(federation, blob_id, at=NOW)
    for index in range(10):
        await store.blobs.put_part(blob_id, index, bytes([index]) * 100_000)
    chance = random.Random(7)
    for _ in range(20):
        doomed = [asyncio.create_task(store.blobs.get_part(blob_id, index)) for index in range(10)]
        await asyncio.wait(doomed, timeout=chance.uniform(0.0001, 0.003))
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)
        parts = await asyncio.gather(*(store.blobs.get_part(blob_id, index) for index in range(10)))
        assert [part[0] for part in parts] == list(range(10))


async def test_records_that_are_not_ours_stop_the_reader(store: Store, server: RedisProcess) -> None:
    federation = (await seed_federation(store)).federation
    server.command("HSET", f"alignfed:{{{federation}}}:versions", "0", '{"kind":"merge"}')
    with pytest.raises(StoreCorrupt, match="VersionRecord"):
        await store.versions.get(federation, 0)
    server.command("HSET", f"alignfed:{{{federation}}}:agents", "agent-1", "garbage")
    with pytest.raises(StoreCorrupt, match="JSON"):
        await store.agents.get(federation, "agent-1")
    server.command("SET", f"alignfed:{{{federation}}}:dead", "text")
    with pytest.raises(StoreCorrupt, match="refused a command"):
        await store.deltas.dead_letters(federation)


async def test_every_call_is_reported_to_the_observer(server: RedisProcess) -> None:
    seen: dict[str, float] = {}
    store = open_store(f"redis://127.0.0.1:{server.port}", observe=seen.__setitem__)
    federation = (await seed_federation(store)).federation
    await store_blob(store, federation)
    await store.close()
    assert {"create", "begin", "put_part", "register"} <= seen.keys()
    assert all(0 <= seconds < 5 for seconds in seen.values())
