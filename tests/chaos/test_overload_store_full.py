"""A full store, in memory and on disk: agents are told so and when to come back; it recovers, and nothing is lost."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.redis.store import RedisStore
from coordinator.backends.urls import open_store
from coordinator.cli.store_place import noted_store_url
from coordinator.ports import Store
from tests.chaos.load.full_store import CHUNK_BYTES, FEDERATION, FillingUp, fill_from, small_disk
from tests.chaos.load.overload import OverloadedCoordinator, coordinator_running
from tests.support.raw_client import RawClient, version_id
from tests.support.servers import running_redis
from tests.support.stores import new_commit, publish, take_lease
from tests.support.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

MIB = 1 << 20
MEMORY_BYTES = 40 * MIB
DISK_MEGABYTES = 40
BALLAST_BYTES = 12 * MIB
RECOVERY_SECONDS = 60.0


@contextmanager
def redis_url(_folder: Path) -> Iterator[str]:
    settings = {"appendonly": "yes", "maxmemory": str(MEMORY_BYTES), "maxmemory-policy": "noeviction"}
    with running_redis(settings) as server:
        yield server.url


@contextmanager
def valkey_url(folder: Path) -> Iterator[str]:
    with EmbeddedValkey(folder / "store", maxmemory_bytes=MEMORY_BYTES) as server:
        yield server.url


@asynccontextmanager
async def opened(url: str, coordinator: OverloadedCoordinator) -> AsyncIterator[tuple[Store, RawClient]]:
    store, client = open_store(url), RawClient(agent_port=coordinator.port, operator_port=coordinator.port)
    try:
        yield store, client
    finally:
        await client.close()
        await store.close()


async def set_memory(store: Store, limit_bytes: int) -> None:
    assert isinstance(store, RedisStore)
    await store._calls.command("CONFIG SET", "maxmemory", limit_bytes)


async def merge_everything(store: Store) -> int:
    """Merge what waits into one version, as a worker would, and let go of what nothing needs; return how many."""
    token = await take_lease(store, FEDERATION)
    await store.deltas.claim(FEDERATION, "worker-1", limit=10_000)
    claimed = await store.deltas.reclaim(FEDERATION, "worker-1")
    commit = await new_commit(store, FEDERATION, token, claimed)
    await store.versions.commit(commit)
    return len(claimed)


@pytest.mark.parametrize("server", [redis_url, valkey_url])
async def test_a_store_without_memory(server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    with server(tmp_path) as url, coordinator_running(tmp_path, url) as coordinator:
        async with opened(url, coordinator) as (store, client):
            agents = await fill_from(store, client)
            refused, refusal = await agents.until_refused()
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL")
            assert refusal.retry_seconds
            used = (await store.memory()).used_bytes
            assert used < MEMORY_BYTES, "uploads used up what is kept for merging"
            assert await agents.poll() == 0
            acknowledged = len(agents.acknowledged)

            await out_of_memory_in_mid_upload(store, client, agents)
            assert await merge_everything(store) == len(agents.acknowledged), "what is acknowledged can be merged"
            await store_less(store)

            async def taken() -> bool:
                return await agents.goes_through(refused)

            await eventually(taken, what="uploads go on", timeout_seconds=RECOVERY_SECONDS)
            assert await agents.missing(store) == []
            assert await agents.poll() >= 1
    with capsys.disabled():
        print(  # noqa: T201 - the run's figures
            f"\nstore full ({server.__name__}): acknowledged={acknowledged} used_mib={used / MIB:.1f} of "
            f"{MEMORY_BYTES / MIB:.0f} lost=0 restarts=0 seconds={time.monotonic() - began:.0f}"
        )


async def out_of_memory_in_mid_upload(store: Store, client: RawClient, agents: FillingUp) -> None:
    """Take all memory away while a delta is on its way: it is told so, and goes on from there when there is more."""
    await set_memory(store, 2 * MEMORY_BYTES)
    delta = agents.delta()

    async def begun() -> bool:
        try:
            asked = await client.query(delta, base_version=version_id(delta.base))
        except grpc.RpcError:
            return False
        return asked.resume_offset == 0

    await eventually(begun, what="there is room again", timeout_seconds=RECOVERY_SECONDS)
    call: Any = client.agents.SubmitDelta(timeout=60)
    for message in delta.messages()[:3]:
        await call.write(message)

    async def two_chunks() -> bool:
        return (await client.query(delta)).resume_offset == 2 * CHUNK_BYTES

    await eventually(two_chunks, what="two chunks are stored")
    await set_memory(store, MIB)
    await call.write(delta.messages()[3])
    with pytest.raises(grpc.aio.AioRpcError) as told:
        await call
    assert told.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await client.query(delta)).resume_offset == 2 * CHUNK_BYTES
    assert await agents.poll() == 0
    await set_memory(store, 2 * MEMORY_BYTES)

    async def finished() -> bool:
        return await agents.goes_through(delta)

    await eventually(finished, what="the upload is finished", timeout_seconds=RECOVERY_SECONDS)
    await set_memory(store, MEMORY_BYTES)


async def store_less(store: Store) -> None:
    """Publish as many versions as deltas are kept for, and sweep."""
    plan = (await store.federations.get(FEDERATION)).plan
    for _ in range(plan.retention.delta_versions + 1):
        await publish(store, FEDERATION)
    await store.blobs.sweep(FEDERATION, unclaimed_before=0.0)


async def test_a_disk_without_room(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(small_disk(tmp_path / "disk", megabytes=DISK_MEGABYTES))
        except (PermissionError, FileNotFoundError) as error:
            pytest.skip(f"no file system of a few megabytes can be mounted here ({error}): run it as root")
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(BALLAST_BYTES))
        data_dir = disk / "store"
        with coordinator_running(tmp_path, "", "--data-dir", str(data_dir)) as coordinator:
            async with opened(noted_store_url(data_dir), coordinator) as (store, client):
                agents = await fill_from(store, client)
                refused, refusal = await agents.until_refused()
                assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL")
                assert refusal.retry_seconds
                assert await agents.poll() == 0
                acknowledged = len(agents.acknowledged)
                ballast.unlink()

                async def taken() -> bool:
                    return await agents.goes_through(refused)

                await eventually(taken, what="uploads go on", timeout_seconds=RECOVERY_SECONDS)
                for _ in range(3):
                    await agents.upload(agents.delta())
                assert await agents.missing(store) == []
        # What was acknowledged while the disk was full is on it now: the process was killed, and a new one finds it.
        with coordinator_running(tmp_path, "", "--data-dir", str(data_dir), name="again") as coordinator:
            async with opened(noted_store_url(data_dir), coordinator) as (store, client):
                assert await agents.missing(store) == []
                assert (await store.deltas.depth(FEDERATION)).queued == len(agents.acknowledged)
                again = dataclasses.replace(agents.acknowledged[0])
                assert (await client.query(again)).HasField("receipt")
    with capsys.disabled():
        print(  # noqa: T201 - the run's figures
            f"\ndisk full: acknowledged_before={acknowledged} acknowledged={len(agents.acknowledged)} lost=0 "
            f"restarts_needed=0 seconds={time.monotonic() - began:.0f}"
        )
