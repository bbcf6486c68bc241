"""Chunks in any order, repeated, missing, overlapping or damaged: a typed refusal, and nothing wrong is ever stored.

What is stored is always a prefix of the payload in whole parts, so the right rest completes it. Every arrangement of up
to six chunks goes through the receiver and the writer; as many as `ALIGNFED_CASES` says also over the wire.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from alignfed.chunks import ChunkData, ChunkReceiver, sha256_of
from alignfed.errors import Rejected
from alignfed.v1 import agent_service_pb2 as agent_pb
from alignfed.v1 import types_pb2 as pb
from coordinator.backends.memory import MemoryStore
from coordinator.domain import BlobRef, delta_blob_id
from coordinator.ports import Blobs
from coordinator.service.config import ServiceConfig
from coordinator.service.metrics import ServiceMetrics
from coordinator.service.server import CoordinatorServer
from coordinator.service.transfers.payloads import PayloadWriter
from tests.model.chunk_orders import MAX_CHUNKS, agreeing, arrangements, forged, intruded, is_forged, right
from tests.support.cases import cases
from tests.support.owners import unowned
from tests.support.raw_client import CHUNK_BYTES, RawClient, WireDelta, refused, wire_plan
from tests.support.stores import NOW, open_memory_store, seed_federation
from tests.support.waiting import eventually

SIZE = 8
WIRE_CASES = 60
LENGTHS = range(1, MAX_CHUNKS + 1)


def payload_of(chunks: int) -> bytes:
    """Return a payload of so many chunks, the last of them shorter."""
    return bytes(range(1, SIZE * chunks - 2))


def every_way(due: Sequence[ChunkData], chunk_bytes: int) -> list[tuple[ChunkData, ...]]:
    return [*arrangements(due), *intruded(due, chunk_bytes)]


@pytest.mark.parametrize("count", LENGTHS)
def test_the_receiver_counts_the_right_chunks_and_no_other(count: int) -> None:
    payload = payload_of(count)
    due = right(payload, SIZE)
    for sent in every_way(due, SIZE):
        receiver = ChunkReceiver(total_bytes=len(payload), sha256=sha256_of(payload), chunk_bytes=SIZE)
        good = agreeing(sent, due)
        if list(sent) == due:
            _receive(receiver, sent)
            continue
        with pytest.raises(Rejected):
            _receive(receiver, sent)
        assert receiver.received_bytes == sum(len(chunk.data) for chunk in due[:good])
        _receive(receiver, due[good:])


def _receive(receiver: ChunkReceiver, chunks: Sequence[ChunkData]) -> None:
    for chunk in chunks:
        receiver.receive(chunk)
    receiver.finish()


@pytest.mark.parametrize("count", LENGTHS)
async def test_only_right_parts_are_stored_and_the_right_rest_completes_them(count: int) -> None:
    payload = payload_of(count)
    due = right(payload, SIZE)
    for sent in every_way(due, SIZE):
        await check_transfers(payload, due, [sent])


@settings(max_examples=cases(100), deadline=None, database=None)
@given(data=st.data(), count=st.integers(1, MAX_CHUNKS))
async def test_any_number_of_bad_transfers_leaves_a_payload_that_can_be_completed(
    data: st.DataObject, count: int
) -> None:
    payload = payload_of(count)
    due = right(payload, SIZE)
    intruders = {chunk for sent in intruded(due, SIZE) for chunk in sent}
    bad = sorted((chunk for chunk in intruders if not is_forged(chunk, payload)), key=repr)
    transfers = data.draw(st.lists(st.lists(st.sampled_from(bad), max_size=8), min_size=1, max_size=6))
    await check_transfers(payload, due, transfers)


async def check_transfers(payload: bytes, due: list[ChunkData], transfers: Sequence[Sequence[ChunkData]]) -> None:
    """Send transfers one after the other, each broken off at its first refusal, and then the right rest."""
    store = open_memory_store()
    blob = BlobRef(blob_id="blob", total_bytes=len(payload), part_bytes=SIZE, sha256=sha256_of(payload))
    held = 0
    for sent in transfers:
        good = held + agreeing(sent, due[held:])
        if good == len(due) == held + len(sent):
            await _write(store.blobs, blob, sent)
        else:
            with pytest.raises(Rejected):
                await _write(store.blobs, blob, sent)
        held = good
        assert await _stored(store.blobs, blob) == b"".join(chunk.data for chunk in due[:held])
    await _write(store.blobs, blob, due[held:])
    assert await _stored(store.blobs, blob) == payload
    assert await unowned(store) == set()


@pytest.mark.parametrize("lost", range(4))
async def test_what_the_store_lost_meanwhile_is_sent_again_before_anything_is_acknowledged(
    lost: int, wire: Wire
) -> None:
    """A failover, or a rival's deletion, takes parts that arrived already: the digest of what arrived cannot tell."""
    delta = await wire.delta(4)
    blob_id = delta_blob_id(delta.plan.federation, delta.agent_id, delta.delta_id, sha256=delta.sha256)
    call = wire.client.agents.SubmitDelta(timeout=20)
    for message in delta.messages()[:4]:
        await call.write(message)

    async def three_are_stored() -> bool:
        return (await wire.client.query(delta)).resume_offset == 3 * CHUNK_BYTES

    await eventually(three_are_stored, what="three of four parts are stored")
    for index in range(lost, 3):
        del wire.store._state.parts[blob_id][index]
    await call.write(delta.messages()[4])
    await call.done_writing()
    if lost == 3:  # nothing
        assert (await call).receipt.state == pb.DELTA_STATE_QUEUED
        return
    refusal = await refused(call)
    assert (refusal.reason, refusal.metadata["expected_offset"]) == ("UPLOAD_STALLED", str(lost * CHUNK_BYTES))
    assert (await wire.store.deltas.depth(delta.plan.federation)).queued == 0
    progress = await wire.client.query(delta)
    response = await wire.client.submit(delta.messages(progress.resume_offset))
    assert response.receipt.state == pb.DELTA_STATE_QUEUED
    assert await wire.payload(delta) == delta.payload


async def _write(blobs: Blobs, blob: BlobRef, chunks: Sequence[ChunkData]) -> None:
    writer = PayloadWriter(blobs, blob, prefix=b"", store_timeout_seconds=20)
    await writer.open("fed", at=NOW)
    for chunk in chunks:
        await writer.write(chunk)
    await writer.finish()


async def _stored(blobs: Blobs, blob: BlobRef) -> bytes:
    """Return every byte that is stored of a payload, which must be whole parts without a gap."""
    count = await blobs.stored_parts(blob.blob_id, blob.parts + 1)
    kept = blobs._state.parts.get(blob.blob_id, {})  # type: ignore[attr-defined]
    assert sorted(kept) == list(range(count))
    return b"".join(kept[index] for index in range(count))


class Wire:
    """A real coordinator over a memory store, and federations whose deltas have a wanted number of chunks."""

    def __init__(self, store: MemoryStore, client: RawClient) -> None:
        self.store = store
        self.client = client

    async def delta(self, chunks: int) -> WireDelta:
        """Return a delta of so many chunks; its federation is created when it is first asked for."""
        name = f"fed-of-{chunks}"
        plan = wire_plan(name, columns=128 * chunks - 64)  # 1 KiB for each chunk; half of one is left for the header
        if name not in await self.store.federations.names():
            await seed_federation(self.store, plan)
        delta = WireDelta.of(plan, (await self.store.versions.head(name)).id)
        assert len(delta.chunks()) == chunks
        return delta

    async def payload(self, delta: WireDelta) -> bytes:
        """Return what is stored of a delta's payload."""
        name = delta_blob_id(delta.plan.federation, delta.agent_id, delta.delta_id, sha256=delta.sha256)
        kept = self.store._state.parts.get(name, {})
        assert sorted(kept) == list(range(len(kept)))
        return b"".join(kept[index] for index in sorted(kept))


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    store = open_memory_store()
    config = ServiceConfig(agent_listen="127.0.0.1:0", operator_listen="127.0.0.1:0", drain_seconds=5.0)
    server = CoordinatorServer(store, config=config, metrics=ServiceMetrics(CollectorRegistry()))
    await server.start()
    client = RawClient(agent_port=server.agent_port, operator_port=server.operator_port)
    yield Wire(store, client)
    await client.close()
    await server.stop()


@pytest.mark.parametrize("count", LENGTHS)
async def test_over_the_wire_too_every_order_is_refused_or_becomes_the_delta(count: int, wire: Wire) -> None:
    chances = random.Random(count)
    template = await wire.delta(count)
    due = right(template.payload, CHUNK_BYTES)
    ways = every_way(due, CHUNK_BYTES)
    share = max(cases(WIRE_CASES) // MAX_CHUNKS, 1)
    for sent in chances.sample(ways, min(share, len(ways))):
        await check_upload(wire, await wire.delta(count), due, sent)
    assert (await wire.store.deltas.depth(template.plan.federation)).queued == min(share, len(ways))
    assert await unowned(wire.store) == set()


async def check_upload(wire: Wire, delta: WireDelta, due: Sequence[ChunkData], sent: Sequence[ChunkData]) -> None:
    """Send a header and these chunks; if they are refused, ask where to resume and send the right rest."""
    good = agreeing(sent, due)
    messages = [delta.header(), *map(_message, sent)]
    if list(sent) == list(due):
        response = await wire.client.submit(messages)
    else:
        refusal = await refused(wire.client.submit(messages))
        assert (refusal.domain, refusal.reason) != ("", "")
        kept = b"".join(chunk.data for chunk in due[:good])
        assert await wire.payload(delta) == kept
        progress = await wire.client.query(delta)
        assert progress.resume_offset == len(kept)
        response = await wire.client.submit(delta.messages(progress.resume_offset))
    assert response.receipt.state == pb.DELTA_STATE_QUEUED
    assert await wire.payload(delta) == delta.payload
    again = await wire.client.submit(messages)
    assert again.receipt == response.receipt


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("whole", [True, False])
async def test_forged_bytes_never_become_a_delta_and_the_right_ones_still_do(
    place: int, whole: bool, wire: Wire
) -> None:
    """A forged chunk that is consistent in itself is stored, until the digest of the whole payload tells."""
    delta = await wire.delta(4)
    chunks = right(delta.payload, CHUNK_BYTES)
    lie = _message(forged(chunks[place]))
    messages = delta.messages()
    if place == 0:
        messages = [messages[0], lie]
    else:
        messages = [*messages[: place + 1], lie, *(messages[place + 2 :] if whole else [])]
    refusal = await refused(wire.client.submit(messages))
    if place == 0:  # not even the safetensors header is right
        assert refusal.reason == "MANIFEST_MISMATCH"
    elif whole or place == 3:
        assert refusal.reason == "PAYLOAD_DIGEST_MISMATCH"
    else:
        assert refusal.reason == "PAYLOAD_TRUNCATED"
        offset = (await wire.client.query(delta)).resume_offset
        assert (await refused(wire.client.submit(delta.messages(offset)))).reason == "PAYLOAD_DIGEST_MISMATCH"
    assert await wire.payload(delta) == b""
    assert (await wire.client.query(delta)).resume_offset == 0
    response = await wire.client.submit(delta.messages())
    assert response.receipt.state == pb.DELTA_STATE_QUEUED
    assert await wire.payload(delta) == delta.payload


def _message(chunk: ChunkData) -> agent_pb.SubmitDeltaRequest:
    return agent_pb.SubmitDeltaRequest(chunk=pb.Chunk(offset=chunk.offset, data=chunk.data, crc32c=chunk.crc32c))
