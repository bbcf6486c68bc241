"""Payloads of chunks so large that their digest is made in a thread: whole, resumed, spoiled, and without a store."""

from __future__ import annotations

import platform
import random
import subprocess
import sys

import pytest

from alignfed.chunks import ChunkData, cut, sha256_of
from alignfed.errors import PayloadDigestMismatch, StoreUnreachable
from coordinator.backends.memory import MemoryStore
from coordinator.domain import BlobRef
from coordinator.ports import Blobs
from coordinator.service.transfers.payloads import PayloadWriter
from tests.support.stores import NOW
from tests.support.watched_store import WatchedStore

CHUNK_BYTES = 128 * 1024
PAYLOAD = random.Random(0).randbytes(3 * CHUNK_BYTES + 100)
CHUNKS = list(cut(PAYLOAD, chunk_bytes=CHUNK_BYTES))


async def written(blobs: Blobs, chunks: list[ChunkData], *, sha256: str = sha256_of(PAYLOAD)) -> None:
    blob = BlobRef(blob_id="delta", total_bytes=len(PAYLOAD), part_bytes=CHUNK_BYTES, sha256=sha256)
    writer = PayloadWriter(blobs, blob, prefix=PAYLOAD[:10], store_timeout_seconds=30.0)
    await writer.open("fed", at=NOW)
    for chunk in chunks:
        await writer.write(chunk)
    if sum(len(chunk.data) for chunk in chunks) + chunks[0].offset == len(PAYLOAD):
        await writer.finish()


async def stored(blobs: Blobs) -> bytes:
    return b"".join([await blobs.get_part("delta", index) for index in range(len(CHUNKS))])


async def test_a_payload_is_stored_as_it_was_announced() -> None:
    blobs = MemoryStore().blobs
    await written(blobs, CHUNKS)
    assert await stored(blobs) == PAYLOAD


async def test_a_payload_resumes_with_the_digest_of_what_is_held() -> None:
    blobs = MemoryStore().blobs
    await written(blobs, CHUNKS[:2])
    await written(blobs, CHUNKS[2:])
    assert await stored(blobs) == PAYLOAD


async def test_a_payload_of_another_digest_is_refused() -> None:
    with pytest.raises(PayloadDigestMismatch):
        await written(MemoryStore().blobs, CHUNKS, sha256=sha256_of(b""))


async def test_a_store_that_fails_ends_the_upload_and_what_is_held_resumes() -> None:
    store = WatchedStore(MemoryStore())
    await written(store.blobs, CHUNKS[:1])
    store.failures["blobs.put_part"] = StoreUnreachable("away")
    with pytest.raises(StoreUnreachable):
        await written(store.blobs, CHUNKS[1:])
    del store.failures["blobs.put_part"]
    await written(store.blobs, CHUNKS[1:])
    assert await stored(store.blobs) == PAYLOAD


def test_the_c_library_is_told_to_keep_freed_memory() -> None:
    """In a process of its own: others look at how memory grows."""
    code = "from coordinator.service.allocator import keep_freed_memory; print(keep_freed_memory())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(platform.libc_ver()[0] == "glibc")
