"""Writing one payload into its blob as it arrives: every chunk checked, stored as a part, and forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from alignfed.chunks import ChunkData, ChunkReceiver
from alignfed.errors import ChunkOutOfOrder, ManifestMismatch, PayloadOversized, PayloadTruncated, UploadStalled
from coordinator.domain import BlobRef
from coordinator.ports import Blobs
from coordinator.service.bounds import store_silent, within

T = TypeVar("T")

_THREAD_BYTES = 64 * 1024
"""From this length on the digest of a chunk takes longer than handing it to a thread."""


class PayloadWriter:
    """Receives the chunks of one payload in constant memory, resuming where an earlier transfer ended.

    Args:
        blobs: Where parts go.
        blob: The announced payload; its `part_bytes` is the chunk size.
        prefix: First bytes the payload must have: the safetensors header that follows from the plan; empty for any.
        store_timeout_seconds: How long one answer of the store may take.
    """

    def __init__(self, blobs: Blobs, blob: BlobRef, *, prefix: bytes, store_timeout_seconds: float) -> None:
        self._blobs = blobs
        self._blob = blob
        self._prefix = prefix
        self._store_timeout_seconds = store_timeout_seconds
        self._receiver = ChunkReceiver(total_bytes=blob.total_bytes, sha256=blob.sha256, chunk_bytes=blob.part_bytes)
        self._held_parts = 0

    @property
    def held_bytes(self) -> int:
        """How much of the payload is stored: where the next chunk must start."""
        held_before = min(self._held_parts * self._blob.part_bytes, self._blob.total_bytes)
        return max(held_before, self._receiver.received_bytes)

    async def open(self, federation: str, *, at: float) -> None:
        """Note the blob as unclaimed since `at` (Unix seconds) and find out what is already stored."""
        await self._answered(self._blobs.begin(federation, self._blob.blob_id, at=at))
        self._held_parts = await self._answered(self._blobs.stored_parts(self._blob.blob_id, self._blob.parts))

    async def write(self, chunk: ChunkData) -> None:
        """Check the next chunk and store it.

        Raises:
            ChunkOutOfOrder, ChunkChecksumMismatch, PayloadOversized, PayloadTruncated: See `ChunkReceiver.receive`.
            ManifestMismatch: The payload does not begin as the plan says.
        """
        if chunk.offset != self.held_bytes:
            raise ChunkOutOfOrder(
                f"chunk at offset {chunk.offset} arrived where {self.held_bytes} was due: "
                "ask QueryUpload for the offset and send chunks in order",
                expected_offset=self.held_bytes,
            )
        await self._catch_up()
        if self._receiver.complete:
            raise PayloadOversized(
                f"a chunk followed the last of the announced {self._blob.total_bytes} bytes: announce the true length"
            )
        index = self._receiver.next_index
        self._receiver.check(chunk)
        if not chunk.data.startswith(self._prefix[chunk.offset : chunk.offset + len(chunk.data)]):
            raise ManifestMismatch(
                "the payload's safetensors prefix is not the plan's (names, shapes, dtypes or order differ): "
                "encode it from the federation's manifest"
            )
        counting = self._counting(chunk.data)  # while the store works
        try:
            await self._answered(self._blobs.put_part(self._blob.blob_id, index, chunk.data))
        finally:
            await counting

    async def finish(self) -> None:
        """Check that the payload is whole and is what was announced.

        Raises:
            PayloadTruncated: Bytes are missing; what is stored stays for resumption.
            PayloadDigestMismatch: The SHA-256 differs.
            UploadStalled: The store lost parts while the others arrived; what is stored stays for resumption.
        """
        if self.held_bytes < self._blob.total_bytes:
            raise PayloadTruncated(
                f"the stream ended after {self.held_bytes} of {self._blob.total_bytes} bytes: "
                "ask QueryUpload for the offset and resume",
                expected_offset=self.held_bytes,
            )
        await self._catch_up()
        self._receiver.finish()
        # The digest is of what arrived. A failover or a rival's deletion may have taken some of it since.
        stored = await self._answered(self._blobs.stored_parts(self._blob.blob_id, self._blob.parts))
        if stored < self._blob.parts:
            raise UploadStalled(
                f"the store lost part {stored} of {self._blob.parts} while the payload arrived: "
                "ask QueryUpload for the offset and resume",
                expected_offset=stored * self._blob.part_bytes,
            )

    async def _catch_up(self) -> None:
        """Feed parts of an earlier transfer to the digest, one at a time."""
        while self._receiver.received_bytes < self.held_bytes:
            index = self._receiver.next_index
            await self._counting(await self._answered(self._blobs.get_part(self._blob.blob_id, index)))

    def _counting(self, data: bytes) -> asyncio.Future[None]:
        """Count bytes, in a thread if that takes so long that the event loop had better serve others meanwhile."""
        loop = asyncio.get_running_loop()
        if len(data) >= _THREAD_BYTES:
            return loop.run_in_executor(None, self._receiver.count, data)
        self._receiver.count(data)
        counted: asyncio.Future[None] = loop.create_future()
        counted.set_result(None)
        return counted

    async def _answered(self, answer: Awaitable[T]) -> T:
        seconds = self._store_timeout_seconds
        async with within(seconds, lambda: store_silent(seconds)):
            return await answer
