"""Slow, silent and too many uploaders: memory stays bounded, the others are served, nothing that arrived is lost."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from alignfed.plan import FederationPlan
from alignfed.v1 import types_pb2 as pb
from coordinator.domain import VersionId
from tests.service.conftest import Running, Start
from tests.support.raw_client import CHUNK_BYTES, WireDelta, refused, wire_plan
from tests.support.stores import seed_federation
from tests.support.waiting import eventually
from tests.support.watched_store import WatchedStore

MIB = 1 << 20


async def open_upload(running: Running, delta: WireDelta, *, chunks: int) -> grpc.aio.StreamUnaryCall:
    """Send the header and some chunks and leave the stream open, once all of it is stored."""
    call = running.client.agents.SubmitDelta(timeout=60)
    await call.write(delta.header())
    for message in delta.chunks()[:chunks]:
        await call.write(message)

    async def stored() -> bool:
        in_progress = running.metric("alignfed_uploads_in_progress") >= 1
        return in_progress and (await running.client.query(delta)).resume_offset == chunks * CHUNK_BYTES

    await eventually(stored, what=f"{chunks} chunks are stored")
    return call


async def finish(call: grpc.aio.StreamUnaryCall, delta: WireDelta, *, sent_chunks: int) -> None:
    for message in delta.chunks()[sent_chunks:]:
        await call.write(message)
    await call.done_writing()
    assert (await call).receipt.state == pb.DELTA_STATE_QUEUED


async def test_an_upload_that_stalls_is_ended_and_resumes(start: Start, store: WatchedStore, delta: WireDelta) -> None:
    running = await start(progress_timeout_seconds=0.5)
    call = await open_upload(running, delta, chunks=2)
    refusal = await refused(call)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "UPLOAD_STALLED")
    assert refusal.retry_seconds
    assert running.metric("alignfed_uploads_total", federation="fed", outcome="upload_stalled") == 1
    progress = await running.client.query(delta)
    assert progress.resume_offset == 2 * CHUNK_BYTES
    response = await running.client.submit(delta.messages(progress.resume_offset))
    assert response.receipt.state == pb.DELTA_STATE_QUEUED


async def test_a_stream_that_never_sends_its_header_is_ended(start: Start, plan: FederationPlan) -> None:
    running = await start(progress_timeout_seconds=0.2)
    refusal = await refused(running.client.agents.SubmitDelta(timeout=20))
    assert refusal.reason == "UPLOAD_STALLED"


ONE_AT_A_TIME = {"upload_memory_bytes": CHUNK_BYTES, "stalled_grace_seconds": 60.0}


async def test_an_upload_waits_in_line_until_there_is_memory_for_it(
    start: Start, plan: FederationPlan, base: VersionId, delta: WireDelta
) -> None:
    running = await start(**ONE_AT_A_TIME)
    first = await open_upload(running, delta, chunks=1)
    second = WireDelta.of(plan, base, agent_id="agent-2", seed=2)
    waiting = asyncio.ensure_future(running.client.submit(second.messages()))
    assert not (await asyncio.wait({waiting}, timeout=0.3))[0]
    assert running.metric("alignfed_uploads_in_progress") == 1
    await finish(first, delta, sent_chunks=1)
    assert (await waiting).receipt.state == pb.DELTA_STATE_QUEUED


async def test_uploads_that_wait_for_their_agents_hold_nothing_that_others_need(
    start: Start, plan: FederationPlan, base: VersionId
) -> None:
    running = await start(max_active_uploads=1)
    calls = [await open_upload(running, WireDelta.of(plan, base), chunks=1) for _ in range(3)]
    other = WireDelta.of(plan, base, agent_id="agent-2")
    assert (await running.client.submit(other.messages())).receipt.state == pb.DELTA_STATE_QUEUED
    for call in calls:
        call.cancel()


async def test_who_stalls_gives_way_to_who_waits(
    start: Start, plan: FederationPlan, base: VersionId, delta: WireDelta
) -> None:
    running = await start(upload_memory_bytes=2 * CHUNK_BYTES, stalled_grace_seconds=0.2)
    longest = await open_upload(running, delta, chunks=2)
    shorter = await open_upload(running, WireDelta.of(plan, base, seed=1), chunks=1)
    waiting = WireDelta.of(plan, base, agent_id="agent-2", seed=2)
    assert (await running.client.submit(waiting.messages())).receipt.state == pb.DELTA_STATE_QUEUED
    assert (await refused(longest)).reason == "UPLOAD_STALLED"
    assert (await running.client.query(delta)).resume_offset == 2 * CHUNK_BYTES
    assert not shorter.done(), "only as many give way as wait"
    shorter.cancel()


async def test_an_agent_has_a_few_uploads_open_at_a_time(
    start: Start, plan: FederationPlan, base: VersionId, delta: WireDelta
) -> None:
    running = await start(max_agent_uploads=2)
    calls = [await open_upload(running, WireDelta.of(plan, base), chunks=1) for _ in range(2)]
    refusal = await refused(running.client.submit(delta.messages()))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "AGENT_OVER_QUOTA")
    assert refusal.retry_seconds
    other = WireDelta.of(plan, base, agent_id="agent-2")
    assert (await running.client.submit(other.messages())).receipt.state == pb.DELTA_STATE_QUEUED
    calls[0].cancel()

    async def let_in() -> bool:
        try:
            return (await running.client.submit(delta.messages())).receipt.state == pb.DELTA_STATE_QUEUED
        except grpc.RpcError:
            return False

    await eventually(let_in, what="the agent may upload again")
    calls[1].cancel()


@pytest.mark.parametrize(
    ("settings", "client_seconds"),
    [
        ({"upload_wait_seconds": 0.2}, None),
        ({"upload_wait_seconds": 60.0}, 0.8),  # told before its own deadline ends the call
        ({"max_waiting_uploads": 0}, 20.0),
    ],
)
async def test_an_upload_that_finds_no_memory_is_told_when_to_come_back(
    settings: dict[str, float],
    client_seconds: float | None,
    start: Start,
    plan: FederationPlan,
    base: VersionId,
    delta: WireDelta,
) -> None:
    running = await start(**(ONE_AT_A_TIME | settings))
    first = await open_upload(running, delta, chunks=1)
    second = WireDelta.of(plan, base, agent_id="agent-2", seed=2)
    refusal = await refused(running.client.submit(second.messages(), timeout=client_seconds))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "UPLOADS_BUSY")
    assert refusal.retry_seconds
    assert running.metric("alignfed_uploads_total", federation="fed", outcome="uploads_busy") == 1
    await finish(first, delta, sent_chunks=1)
    assert (await running.client.submit(second.messages())).receipt.state == pb.DELTA_STATE_QUEUED


async def test_a_vanished_client_frees_its_memory(
    start: Start, plan: FederationPlan, base: VersionId, delta: WireDelta
) -> None:
    running = await start(**ONE_AT_A_TIME)
    for _ in range(3):
        (await open_upload(running, delta, chunks=1)).cancel()

        async def free() -> bool:
            return running.metric("alignfed_uploads_in_progress") == 0

        await eventually(free, what="the memory is free")
        delta = WireDelta.of(plan, base)
    assert (await running.client.submit(delta.messages())).receipt.state == pb.DELTA_STATE_QUEUED


async def test_open_uploads_hold_one_chunk_each_and_waiting_ones_next_to_nothing(
    start: Start, store: WatchedStore
) -> None:
    """Twelve uploads of 6 MiB against a store that does not answer, and memory for four."""
    running = await start(upload_memory_bytes=4 * MIB, max_agent_uploads=12, store_timeout_seconds=60.0)
    plan = await seed_federation(store, wire_plan("big", columns=6 * MIB // 8, chunk_bytes=MIB))
    base = (await store.versions.head("big")).id
    deltas = [WireDelta.of(plan, base, seed=seed) for seed in range(12)]
    store.calls.clear()
    gate = store.hold("blobs.put_part")
    sent_bytes = dict.fromkeys(range(12), 0)

    async def upload(number: int) -> pb.Receipt:
        call = running.client.agents.SubmitDelta(timeout=60)
        await call.write(deltas[number].header())
        for message in deltas[number].chunks():
            await call.write(message)
            sent_bytes[number] += len(message.chunk.data)
        await call.done_writing()
        return (await call).receipt

    uploads = [asyncio.ensure_future(upload(number)) for number in range(12)]

    async def four_are_stuck_in_the_store() -> bool:
        return store.calls["blobs.put_part"] == 4

    await eventually(four_are_stuck_in_the_store, what="four uploads store their first part")
    settled = -1
    while settled != sum(sent_bytes.values()):
        settled = sum(sent_bytes.values())
        done, _ = await asyncio.wait(uploads, timeout=0.3)
        assert not done
    assert store.calls["blobs.put_part"] == 4
    # An active upload has taken one chunk and flow control lets one more into the client's side of the connection.
    assert settled <= (4 * 2 + 8 * 1) * MIB
    assert max(sent_bytes.values()) <= 2 * MIB
    gate.set()
    receipts = await asyncio.gather(*uploads)
    assert {it.delta_id for it in receipts} == {it.delta_id for it in deltas}
