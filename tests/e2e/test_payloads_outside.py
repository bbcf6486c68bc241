"""Payloads in files and in a bucket of a real S3 server, stored by coordinators that are killed in mid-upload."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from alignfed.v1 import types_pb2 as pb
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.redis.store import RedisStore
from coordinator.backends.urls import open_store
from coordinator.backup.checking import opened_backup
from coordinator.backup.progress import Progress
from coordinator.backup.restoring import restore_backup
from coordinator.backup.writing import write_backup
from coordinator.clock import SystemClock
from coordinator.local.cluster import free_ports
from coordinator.worker.payloads import fetch
from tests.e2e.processes import RunningCommand, running
from tests.support.owners import search_for_orphans, stored_folders
from tests.support.raw_client import RawClient, WireDelta, wire_plan
from tests.support.s3 import CREDENTIALS, running_s3
from tests.support.stores import seed_federation, unique
from tests.support.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

CHUNK_BYTES = 65_536
PLAN = wire_plan(columns=131_072, chunk_bytes=CHUNK_BYTES)
SILENT = Progress(lambda _line: None, SystemClock())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """A store with payloads outside, the federation in it, and where coordinators for it run."""

    store: RedisStore
    store_url: str
    blob_url: str
    folder: Path

    def coordinator(self, name: str) -> tuple[AbstractContextManager[RunningCommand], RawClient]:
        """Return a coordinator to enter, and its client."""
        agents, operators = free_ports(2)
        listen = ["--agent-listen", f"127.0.0.1:{agents}", "--operator-listen", f"127.0.0.1:{operators}"]
        command = ["alignfed", "coordinator", *listen, "--metrics-listen", "", "--drain-seconds", "0"]
        settings = {"ALIGNFED_STORE_URL": self.store_url, "ALIGNFED_BLOB_URL": self.blob_url}
        started = running(command, self.folder, name=name, settings=settings)
        return started, RawClient(agent_port=agents, operator_port=operators)


@pytest.fixture(scope="module")
def bucket_url() -> Iterator[str]:
    with running_s3() as server:
        yield server.new_bucket("payloads")


@pytest.fixture(params=["files", "s3"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    if request.param == "s3":
        blob_url = request.getfixturevalue("bucket_url").replace("some/prefix", unique("prefix"))
        assert set(CREDENTIALS) <= set(os.environ)
    else:
        blob_url = (tmp_path / "payloads").as_uri()
    with EmbeddedValkey(tmp_path / "valkey") as server:
        store = open_store(server.url, blob_url=blob_url)
        assert isinstance(store, RedisStore)
        await seed_federation(store, PLAN, agents=("agent-1",))
        yield Place(store=store, store_url=server.url, blob_url=blob_url, folder=tmp_path)
        await store.close()


async def wait_ready(command: RunningCommand) -> None:
    await asyncio.to_thread(command.wait_for, "serving agents_port")


async def new_delta(place: Place) -> WireDelta:
    head = await place.store.versions.head(PLAN.federation)
    return WireDelta.of(PLAN, head.id, seed=len(place.folder.name))


async def cut_by_a_kill(place: Place, delta: WireDelta, *, chunks: int) -> None:
    """Send some chunks to a coordinator, which is then killed."""
    started, client = place.coordinator("killed")
    with started as command:
        await wait_ready(command)
        call = client.agents.SubmitDelta(timeout=60)
        await call.write(delta.header())
        for message in delta.chunks()[:chunks]:
            await call.write(message)

        async def stored() -> bool:
            return (await client.query(delta)).resume_offset >= (chunks - 1) * CHUNK_BYTES

        await eventually(stored, what=f"{chunks - 1} of {chunks} chunks are stored", timeout_seconds=60)
        command.process.send_signal(signal.SIGKILL)
        call.cancel()
        await client.close()


async def test_an_upload_goes_on_at_another_coordinator_where_the_killed_one_stopped(place: Place) -> None:
    delta = await new_delta(place)
    await cut_by_a_kill(place, delta, chunks=9)
    started, client = place.coordinator("successor")
    with started as command:
        await wait_ready(command)
        held = (await client.query(delta)).resume_offset
        assert held in (8 * CHUNK_BYTES, 9 * CHUNK_BYTES)
        response = await client.submit(delta.messages(held), timeout=60)
        assert response.receipt.state == pb.DELTA_STATE_QUEUED
        await client.close()
    queued = await place.store.deltas.place(PLAN.federation, delta.delta_id)
    assert queued is not None
    assert bytes(await fetch(place.store.blobs, queued.delta.payload)) == delta.payload
    await search_for_orphans(place.store)
    assert bytes(await fetch(place.store.blobs, queued.delta.payload)) == delta.payload


async def test_an_upload_that_nobody_goes_on_with_leaves_nothing_after_its_lifetime(place: Place) -> None:
    assert place.store._objects is not None
    before = {name async for name in stored_folders(place.store._objects)}
    delta = await new_delta(place)
    await cut_by_a_kill(place, delta, chunks=5)
    assert {name async for name in stored_folders(place.store._objects)} > before

    lifetime_over = time.time() + 1
    assert await place.store.blobs.sweep(PLAN.federation, unclaimed_before=lifetime_over) == 1
    await search_for_orphans(place.store)
    assert {name async for name in stored_folders(place.store._objects)} == before


async def test_a_backup_brings_the_payloads_into_another_place(place: Place, tmp_path: Path) -> None:
    started, client = place.coordinator("only")
    delta = await new_delta(place)
    with started as command:
        await wait_ready(command)
        await client.submit(delta.messages(), timeout=60)
        await client.close()
    file = tmp_path / "backup"
    await write_backup(place.store, [PLAN.federation], file, clock=SystemClock(), progress=SILENT)
    elsewhere = place.blob_url.replace("prefix", "other") if "s3:" in place.blob_url else (tmp_path / "other").as_uri()
    with EmbeddedValkey(tmp_path / "other-valkey") as server, opened_backup(file, SILENT) as backup:
        restored = open_store(server.url, blob_url=elsewhere)
        await restored.check()
        await restore_backup(restored, backup, [PLAN.federation], clock=SystemClock(), progress=SILENT)
        queued = await restored.deltas.place(PLAN.federation, delta.delta_id)
        assert queued is not None
        assert bytes(await fetch(restored.blobs, queued.delta.payload)) == delta.payload
        await restored.close()
