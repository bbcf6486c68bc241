"""Downloads: the bytes are the version's, from any offset, read from the store once for the whole fleet."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import grpc
import pytest

from alignfed.chunk_frames import read_frame
from alignfed.chunks import ChunkData, ChunkReceiver, sha256_of
from alignfed.errors import StoreCorrupt
from alignfed.plan import FederationPlan, Retention
from alignfed.v1 import agent_service_pb2 as pb
from alignfed.v1 import operator_service_pb2 as op
from alignfed.v1 import types_pb2
from coordinator.domain import BlobRef, VersionRecord
from coordinator.service.transfers.parts import ENTRY_BYTES, PartCache
from tests.service.conftest import Running, Start
from tests.support.raw_client import CHUNK_BYTES, refused, wire_plan
from tests.support.stores import new_commit, publish, seed_federation, store_blob, submit, take_lease
from tests.support.waiting import eventually
from tests.support.watched_store import WatchedStore

TRAINING = types_pb2.ADAPTER_KIND_TRAINING
SERVED = types_pb2.ADAPTER_KIND_SERVED


async def payload_of(store: WatchedStore, blob: BlobRef) -> bytes:
    return b"".join([await store.blobs.get_part(blob.blob_id, index) for index in range(blob.parts)])


async def download(running: Running, **fields: Any) -> tuple[types_pb2.AdapterHeader, list[types_pb2.Chunk]]:
    fields = {"federation": "fed", "number": 0} | fields
    call = running.client.agents.DownloadAdapter(pb.DownloadAdapterRequest(**fields), timeout=20)
    parts = [part async for part in call]
    assert [part.WhichOneof("part") for part in parts] == ["header"] + ["chunk"] * (len(parts) - 1)
    return parts[0].header, [part.chunk for part in parts[1:]]


@pytest.fixture
async def version(store: WatchedStore, plan: FederationPlan) -> VersionRecord:
    """A merged version whose served adapter differs from the one to train from."""
    return await publish(store, "fed")


async def test_a_download_is_the_version_that_was_asked_for(
    coordinator: Running, store: WatchedStore, version: VersionRecord
) -> None:
    header, chunks = await download(coordinator, number=1)
    assert (header.version.number, header.version.epoch) == (1, version.id.epoch)
    assert (header.version.digest, header.sha256) == (version.id.digest, version.adapter.sha256)
    receiver = ChunkReceiver(total_bytes=header.total_bytes, sha256=header.sha256, chunk_bytes=CHUNK_BYTES)
    for chunk in chunks:
        receiver.receive(ChunkData(offset=chunk.offset, data=chunk.data, crc32c=chunk.crc32c))
    receiver.finish()
    assert b"".join(chunk.data for chunk in chunks) == await payload_of(store, version.adapter)
    sent = coordinator.metric("alignfed_download_bytes_total", federation="fed")
    assert sent == header.total_bytes


@pytest.mark.parametrize(("kind", "name"), [(TRAINING, "adapter"), (0, "adapter"), (SERVED, "average")])
async def test_training_and_served_adapter_are_told_apart(
    kind: int, name: str, coordinator: Running, version: VersionRecord
) -> None:
    header, _ = await download(coordinator, number=1, kind=kind)
    blob: BlobRef = getattr(version, name)
    assert header.sha256 == blob.sha256
    assert header.version.digest == version.id.digest


async def test_a_download_resumes_at_any_part_and_at_the_end(
    coordinator: Running, store: WatchedStore, version: VersionRecord
) -> None:
    whole = await payload_of(store, version.adapter)
    for offset in (0, CHUNK_BYTES, len(whole)):
        header, chunks = await download(coordinator, number=1, offset=offset)
        assert header.total_bytes == len(whole)
        assert b"".join(chunk.data for chunk in chunks) == whole[offset:]


@pytest.mark.parametrize("offset", [1, CHUNK_BYTES - 1, 1 << 40])
async def test_an_offset_within_a_part_is_refused(offset: int, coordinator: Running, version: VersionRecord) -> None:
    refusal = await refused(download(coordinator, number=1, offset=offset))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")


@pytest.mark.parametrize("number", [7, 2**63])
async def test_a_version_that_does_not_exist_is_refused(
    number: int, coordinator: Running, version: VersionRecord
) -> None:
    refusal = await refused(download(coordinator, number=number))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "VERSION_NOT_FOUND")
    assert (await refused(download(coordinator, federation="nowhere"))).reason == "FEDERATION_UNKNOWN"


async def test_a_version_out_of_retention_is_refused(coordinator: Running, store: WatchedStore) -> None:
    await seed_federation(store, wire_plan("short", retention=Retention(versions=2)))
    for _ in range(2):
        await publish(store, "short")
    refusal = await refused(download(coordinator, federation="short", number=0))
    assert refusal.reason == "VERSION_NOT_FOUND"
    assert refusal.metadata["oldest_retained"] == "1"


async def test_a_version_that_falls_out_of_retention_in_mid_download_ends_clearly(
    start: Start, store: WatchedStore
) -> None:
    """The coordinator has not heard of the newer versions yet when it finds the parts gone."""
    running = await start(head_reread_seconds=60.0, download_cache_bytes=0)
    await seed_federation(store, wire_plan("short", retention=Retention(versions=2)))
    await download(running, federation="short")
    store.muted = True
    for _ in range(2):
        await publish(store, "short")
    await store.blobs.sweep("short", unclaimed_before=0.0)
    refusal = await refused(download(running, federation="short", number=0))
    assert (refusal.reason, refusal.metadata["oldest_retained"]) == ("VERSION_NOT_FOUND", "1")


async def test_a_part_that_must_be_there_and_is_not_is_reported_as_corruption(
    coordinator: Running, store: WatchedStore, version: VersionRecord
) -> None:
    store.failures["blobs.get_part"] = StoreCorrupt("part 0 is gone")
    refusal = await refused(download(coordinator, number=1))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.DATA_LOSS, "STORE_CORRUPT")


async def test_a_fleet_that_pulls_the_same_version_reads_each_part_once(
    coordinator: Running, store: WatchedStore, version: VersionRecord
) -> None:
    store.calls.clear()
    answers = await asyncio.gather(*(download(coordinator, number=1) for _ in range(50)))
    assert len({header.sha256 for header, _ in answers}) == 1
    assert store.calls["blobs.get_part"] == version.adapter.parts
    assert store.calls["versions.get"] == 1


async def test_operators_export_the_head_unless_they_name_a_version(
    coordinator: Running, version: VersionRecord
) -> None:
    for fields, kind, number, blob in (
        ({}, SERVED, 1, version.average),
        ({"number": 1}, TRAINING, 1, version.adapter),
        ({"number": 0}, SERVED, 0, None),
    ):
        call = coordinator.client.operators.ExportAdapter(
            op.ExportAdapterRequest(federation="fed", kind=kind, **fields), timeout=20
        )
        header, *chunks = [part async for part in call]
        assert header.header.version.number == number
        assert sum(len(part.chunk.data) for part in chunks) == header.header.total_bytes
        if blob is not None:
            assert header.header.sha256 == blob.sha256


async def test_a_reader_that_takes_nothing_is_cut_and_its_slot_is_free_again(start: Start, store: WatchedStore) -> None:
    running = await start(progress_timeout_seconds=0.3, max_active_downloads=1)
    await seed_federation(store, wire_plan("big", chunk_bytes=1 << 20))
    blob = await store_big_version(store, "big", part_bytes=1 << 20, parts=16)
    deaf = running.client.agents.DownloadAdapter(pb.DownloadAdapterRequest(federation="big", number=1))
    await deaf.read()

    async def others_are_served() -> bool:
        call = running.client.agents.DownloadAdapter(
            pb.DownloadAdapterRequest(federation="big", number=1, offset=blob.total_bytes), timeout=10
        )
        return len([part async for part in call]) == 1

    await eventually(others_are_served, what="the slot of the silent reader is free", timeout_seconds=10)
    refusal = await refused(read_on(deaf))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "UPLOAD_STALLED")


async def read_on(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def store_big_version(store: WatchedStore, federation: str, *, part_bytes: int, parts: int) -> BlobRef:
    """Publish a version whose adapter does not fit into any socket buffer."""
    payload = bytes(part_bytes * parts)
    blob = BlobRef(blob_id="big-adapter", total_bytes=len(payload), part_bytes=part_bytes, sha256=sha256_of(payload))
    await store.blobs.begin(federation, blob.blob_id, at=1.0)
    for index in range(parts):
        await store.blobs.put_part(blob.blob_id, index, payload[:part_bytes])
    await submit(store, federation)
    token = await take_lease(store, federation)
    claimed = await store.deltas.claim(federation, "worker-1", limit=10)
    commit = await new_commit(store, federation, token, claimed)
    version = dataclasses.replace(
        commit.version, adapter=blob, id=dataclasses.replace(commit.version.id, digest=blob.sha256)
    )
    await store.versions.commit(dataclasses.replace(commit, version=version))
    return blob


async def test_the_cache_stays_within_its_budget_and_drops_what_was_used_least_recently(store: WatchedStore) -> None:
    blob = await store_blob(store, "fed", bytes(range(256)) * 40)  # ten parts
    budget_bytes = 3 * (CHUNK_BYTES + ENTRY_BYTES)
    cache = PartCache(store.blobs, budget_bytes=budget_bytes)
    for index in (0, 1, 2, 0, 3):
        chunk = read_frame((await cache.get(blob, index)).frame)
        assert chunk is not None
        assert chunk.offset == index * CHUNK_BYTES
        assert cache.held_bytes <= budget_bytes
    store.calls.clear()
    await cache.get(blob, 0)
    assert store.calls["blobs.get_part"] == 0
    await cache.get(blob, 1)
    assert store.calls["blobs.get_part"] == 1


async def test_an_agent_that_gives_up_does_not_fail_the_others_that_wait_for_the_same_part(store: WatchedStore) -> None:
    blob = await store_blob(store, "fed")
    cache = PartCache(store.blobs, budget_bytes=1 << 20)
    gate = store.hold("blobs.get_part")
    first, second = (asyncio.create_task(cache.get(blob, 0)) for _ in range(2))

    async def asked() -> bool:
        return store.calls["blobs.get_part"] == 1

    await eventually(asked, what="the part is asked for")
    first.cancel()
    gate.set()
    assert (await second).data_bytes == CHUNK_BYTES
    assert first.cancelled()


async def test_a_failed_read_is_tried_again_by_the_next_one_who_asks(store: WatchedStore) -> None:
    blob = await store_blob(store, "fed")
    cache = PartCache(store.blobs, budget_bytes=1 << 20)
    store.failures["blobs.get_part"] = StoreCorrupt("gone")
    with pytest.raises(StoreCorrupt):
        await cache.get(blob, 0)
    del store.failures["blobs.get_part"]
    assert (await cache.get(blob, 0)).data_bytes == CHUNK_BYTES
