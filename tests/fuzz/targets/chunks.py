"""Streams of chunks into a stored payload: what is complete is what was announced, and what broke off resumes."""

from __future__ import annotations

import asyncio
import functools
import random

from google.protobuf.message import DecodeError

from alignfed.chunk_frames import frame as written
from alignfed.chunk_frames import read_frame
from alignfed.chunks import ChunkData, ChunkReceiver, cut, sha256_of
from alignfed.errors import AlignFedError, ManifestMismatch
from alignfed.v1 import agent_service_pb2 as pb
from coordinator.backends.memory import MemoryStore
from coordinator.domain import BlobRef
from coordinator.service.rpc import convert
from coordinator.service.transfers.payloads import PayloadWriter
from tests.fuzz.mutations import frame, mutate_message, mutate_one_of, unframe
from tests.fuzz.target import Target
from tests.support.stores import NOW

CHUNK_BYTES = 64
PREFIX = bytes(range(80))
PAYLOAD = PREFIX + random.Random(0).randbytes(175)  # four chunks, the last one short


def seeds() -> list[bytes]:
    whole = [written(chunk) for chunk in _chunks()]
    return [frame(whole), frame(whole[:2]), frame([*whole[:2], *whole[1:]]), frame(whole[2:])]


def mutate(data: bytes, rng: random.Random) -> bytes:
    return mutate_one_of(unframe(data), rng, functools.partial(mutate_message, pb.SubmitDeltaRequest))


def check(data: bytes) -> str:
    return _loop().run_until_complete(_check(data))


async def _check(data: bytes) -> str:
    chunks = _decoded(data)
    if chunks is None:
        return "no message"
    alone = _received(chunks)
    store = MemoryStore()
    outcome = await _written(store, chunks)
    if outcome != ManifestMismatch.reason:  # the prefix is the writer's own check
        assert outcome == alone, f"the receiver says {alone}, the writer {outcome}"
    held = await _held(store)
    if outcome == "complete":
        assert held == PAYLOAD, "a payload was accepted that is not the announced one"
    elif PAYLOAD.startswith(held):
        rest = list(cut(PAYLOAD, chunk_bytes=CHUNK_BYTES, offset=len(held)))
        assert await _written(store, rest) == "complete", "what broke off cannot be resumed"
    return outcome


def _received(chunks: list[ChunkData]) -> str:
    receiver = ChunkReceiver(total_bytes=len(PAYLOAD), sha256=sha256_of(PAYLOAD), chunk_bytes=CHUNK_BYTES)
    try:
        for chunk in chunks:
            if receiver.complete and chunk.offset == receiver.received_bytes:
                return "PAYLOAD_OVERSIZED"  # of an empty chunk at the end, which the writer refuses
            receiver.receive(chunk)
        receiver.finish()
    except AlignFedError as error:
        return error.reason
    return "complete"


async def _written(store: MemoryStore, chunks: list[ChunkData]) -> str:
    writer = PayloadWriter(store.blobs, _blob(), prefix=PREFIX, store_timeout_seconds=30.0)
    await writer.open("fed", at=NOW)
    try:
        for chunk in chunks:
            await writer.write(chunk)
        await writer.finish()
    except AlignFedError as error:
        return error.reason
    return "complete"


async def _held(store: MemoryStore) -> bytes:
    count = await store.blobs.stored_parts("delta", _blob().parts)
    return b"".join([await store.blobs.get_part("delta", index) for index in range(count)])


def _decoded(data: bytes) -> list[ChunkData] | None:
    chunks = []
    for part in unframe(data):
        short = read_frame(part)
        try:
            chunk = convert.chunk_from_proto(pb.SubmitDeltaRequest.FromString(part).chunk)
        except DecodeError:
            assert short is None, "a chunk was read from what is no message"
            return None
        assert short in (None, chunk), "another chunk was read than protobuf reads"
        chunks.append(chunk)
    return chunks


def _blob() -> BlobRef:
    return BlobRef(blob_id="delta", total_bytes=len(PAYLOAD), part_bytes=CHUNK_BYTES, sha256=sha256_of(PAYLOAD))


def _chunks() -> list[ChunkData]:
    return list(cut(PAYLOAD, chunk_bytes=CHUNK_BYTES))


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


TARGET = Target(name="chunks", seeds=seeds, mutate=mutate, check=check)
