"""Uploads that are repeated or cut: one delta is counted once, and what arrived is never sent twice."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid

import grpc
import pytest

from alignfed.plan import FederationPlan
from alignfed.v1 import types_pb2 as pb
from coordinator.domain import VersionId
from tests.service.conftest import Running, Start
from tests.support.raw_client import CHUNK_BYTES, WireDelta, refused
from tests.support.stores import new_commit, take_lease
from tests.support.waiting import eventually
from tests.support.watched_store import WatchedStore


async def cut_upload(running: Running, delta: WireDelta, *, chunks: int) -> None:
    """Send the header and some chunks, then vanish."""
    call = running.client.agents.SubmitDelta(timeout=20)
    await call.write(delta.header())
    for message in delta.chunks()[:chunks]:
        await call.write(message)

    async def all_stored() -> bool:
        return (await running.client.query(delta)).resume_offset == chunks * CHUNK_BYTES

    await eventually(all_stored, what=f"{chunks} chunks are stored")
    call.cancel()


async def test_a_new_delta_is_accepted_once_it_is_whole(
    coordinator: Running, store: WatchedStore, delta: WireDelta
) -> None:
    before = await coordinator.client.query(delta)
    assert (before.WhichOneof("progress"), before.resume_offset) == ("resume_offset", 0)
    response = await coordinator.client.submit(delta.messages())
    assert response.receipt.delta_id == delta.delta_id
    assert response.receipt.state == pb.DELTA_STATE_QUEUED
    assert response.status.head.number == 0
    assert (await coordinator.client.query(delta)).receipt == response.receipt
    token = await take_lease(store, "fed")
    assert token
    (queued,) = await store.deltas.claim("fed", "worker-1", limit=10)
    assert (queued.delta.agent_id, queued.delta.base, queued.delta.examples) == ("agent-1", delta.base, 32)
    blob = queued.delta.payload
    stored = [await store.blobs.get_part(blob.blob_id, index) for index in range(blob.parts)]
    assert b"".join(stored) == delta.payload


async def test_the_same_delta_again_gets_the_first_receipt_without_its_payload(
    coordinator: Running, store: WatchedStore, delta: WireDelta
) -> None:
    first = await coordinator.client.submit(delta.messages())
    store.calls.clear()
    again = await coordinator.client.submit([delta.header()])
    assert again.receipt == first.receipt
    assert store.calls["blobs.put_part"] == store.calls["deltas.accept"] == 0
    assert (await coordinator.client.submit(delta.messages())).receipt == first.receipt
    assert (await store.deltas.depth("fed")).queued == 1
    assert coordinator.metric("alignfed_uploads_total", federation="fed", outcome="duplicate") == 2
    assert coordinator.metric("alignfed_uploads_total", federation="fed", outcome="accepted") == 1


async def test_a_merged_delta_again_is_told_which_version_contains_it(
    coordinator: Running, store: WatchedStore, delta: WireDelta
) -> None:
    await coordinator.client.submit(delta.messages())
    token = await take_lease(store, "fed")
    claimed = await store.deltas.claim("fed", "worker-1", limit=10)
    await store.versions.commit(await new_commit(store, "fed", token, claimed))
    response = await coordinator.client.submit([delta.header()])
    assert response.receipt.state == pb.DELTA_STATE_MERGED
    assert response.receipt.merged_version.number == 1


async def test_a_delta_id_is_never_used_for_other_content_or_by_another_agent(
    coordinator: Running, store: WatchedStore, plan: FederationPlan, delta: WireDelta
) -> None:
    await coordinator.client.submit(delta.messages())
    other_content = dataclasses.replace(WireDelta.of(plan, delta.base, seed=5), delta_id=delta.delta_id)
    other_agent = dataclasses.replace(delta, agent_id="agent-2")
    for thief in (other_content, other_agent):
        for rpc in (coordinator.client.submit(thief.messages()), coordinator.client.query(thief)):
            refusal = await refused(rpc)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "DELTA_ID_CONFLICT")
    assert (await store.deltas.depth("fed")).queued == 1


async def test_a_cut_upload_resumes_where_it_ended(coordinator: Running, store: WatchedStore, delta: WireDelta) -> None:
    await cut_upload(coordinator, delta, chunks=3)

    async def counted_as_aborted() -> bool:
        return coordinator.metric("alignfed_uploads_total", federation="fed", outcome="aborted") == 1

    await eventually(counted_as_aborted, what="the vanished client is noticed")
    store.calls.clear()
    response = await coordinator.client.submit(delta.messages(3 * CHUNK_BYTES))
    assert response.receipt.state == pb.DELTA_STATE_QUEUED
    assert store.calls["blobs.put_part"] == len(delta.chunks()) - 3
    assert store.calls["blobs.get_part"] == 3  # the digest covers the whole payload


async def test_an_upload_resumes_at_another_coordinator(start: Start, store: WatchedStore, delta: WireDelta) -> None:
    first, second = await start(), await start()
    await cut_upload(first, delta, chunks=4)
    await first.server.stop()
    progress = await second.client.query(delta)
    assert progress.resume_offset == 4 * CHUNK_BYTES
    response = await second.client.submit(delta.messages(progress.resume_offset))
    assert response.receipt.state == pb.DELTA_STATE_QUEUED
    (queued,) = await store.deltas.claim("fed", "worker-1", limit=10)
    assert queued.delta.payload.sha256 == delta.sha256


async def test_a_payload_that_is_all_there_needs_only_its_header(
    coordinator: Running, store: WatchedStore, delta: WireDelta
) -> None:
    store.failures["deltas.accept"] = RuntimeError("crash between the last chunk and the acknowledgement")
    assert (await refused(coordinator.client.submit(delta.messages()))).code is grpc.StatusCode.INTERNAL
    del store.failures["deltas.accept"]
    assert (await coordinator.client.query(delta)).resume_offset == len(delta.payload)
    response = await coordinator.client.submit([delta.header()])
    assert response.receipt.state == pb.DELTA_STATE_QUEUED


@pytest.mark.parametrize("offset", [0, CHUNK_BYTES, 4 * CHUNK_BYTES])
async def test_a_resumed_upload_must_start_where_the_coordinator_says(
    offset: int, coordinator: Running, delta: WireDelta
) -> None:
    await cut_upload(coordinator, delta, chunks=2)
    refusal = await refused(coordinator.client.submit(delta.messages(offset)))
    assert refusal.reason == "CHUNK_OUT_OF_ORDER"
    assert refusal.metadata["expected_offset"] == str(2 * CHUNK_BYTES)


async def test_corruption_in_an_earlier_part_is_found_when_the_upload_resumes(
    coordinator: Running, store: WatchedStore, delta: WireDelta
) -> None:
    await cut_upload(coordinator, delta, chunks=2)
    blob_id = f"delta.fed.agent-1.{delta.delta_id}.{delta.sha256[:16]}"
    await store.blobs.put_part(blob_id, 1, bytes(CHUNK_BYTES))
    refusal = await refused(coordinator.client.submit(delta.messages(2 * CHUNK_BYTES)))
    assert refusal.reason == "PAYLOAD_DIGEST_MISMATCH"
    assert (await coordinator.client.query(delta)).resume_offset == 0


async def test_two_streams_of_one_delta_make_one_delta(
    coordinator: Running, store: WatchedStore, delta: WireDelta
) -> None:
    gate = store.hold("blobs.put_part")
    uploads = [asyncio.ensure_future(coordinator.client.submit(delta.messages())) for _ in range(2)]

    async def both_are_storing() -> bool:
        return coordinator.metric("alignfed_uploads_in_progress") == 2 and store.calls["blobs.put_part"] >= 2

    store.calls.clear()
    await eventually(both_are_storing, what="both streams store their first part")
    gate.set()
    first, second = await asyncio.gather(*uploads)
    assert first.receipt == second.receipt
    assert (await store.deltas.depth("fed")).queued == 1
    for outcome in ("accepted", "duplicate"):
        assert coordinator.metric("alignfed_uploads_total", federation="fed", outcome=outcome) == 1


async def test_many_agents_upload_at_once_and_each_delta_is_queued_once(
    start: Start, store: WatchedStore, plan: FederationPlan, base: VersionId
) -> None:
    roomy = await start(max_agent_uploads=20)
    deltas = [WireDelta.of(plan, base, agent_id=f"agent-{1 + i % 2}", seed=i) for i in range(40)]
    responses = await asyncio.gather(*(roomy.client.submit(it.messages()) for it in deltas))
    assert {it.receipt.delta_id for it in responses} == {it.delta_id for it in deltas}
    queued = await store.deltas.claim("fed", "worker-1", limit=100)
    assert sorted(it.delta.delta_id for it in queued) == sorted(it.delta_id for it in deltas)
    assert len({uuid.UUID(it.delta.delta_id) for it in queued}) == 40
