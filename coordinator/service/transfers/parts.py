"""Parts of published adapters in memory: read once for many agents, the least recently used dropped first."""

from __future__ import annotations

from collections import OrderedDict

from alignfed.chunks import ChunkData, crc32c_of
from coordinator.domain import BlobRef
from coordinator.ports import Blobs
from coordinator.service.caches.single_flight import SingleFlight

ENTRY_BYTES = 1024
"""What a part takes in memory beside its bytes: of tiny adapters, that is nearly everything."""

_Key = tuple[str, str, int]


class PartCache:
    """Chunks of immutable blobs, with their checksums, within a budget of bytes.

    Args:
        blobs: Where parts are read from.
        budget_bytes: Memory for what is kept; parts on their way to a client are not counted.
    """

    def __init__(self, blobs: Blobs, *, budget_bytes: int) -> None:
        self._blobs = blobs
        self._budget_bytes = budget_bytes
        self._chunks: OrderedDict[_Key, ChunkData] = OrderedDict()
        self._reads: SingleFlight[_Key, ChunkData] = SingleFlight()
        self.held_bytes = 0

    async def get(self, blob: BlobRef, index: int) -> ChunkData:
        """Return one part; however many ask for it at once, the store is read once.

        Raises:
            StoreCorrupt: The part is not there.
        """
        key = (blob.blob_id, blob.sha256, index)  # the digest, so that a reused id never serves old bytes
        chunk = self._chunks.get(key)
        if chunk is not None:
            self._chunks.move_to_end(key)
            return chunk
        return await self._reads.run(key, lambda: self._read(key, offset=index * blob.part_bytes))

    async def _read(self, key: _Key, *, offset: int) -> ChunkData:
        blob_id, _, index = key
        data = await self._blobs.get_part(blob_id, index)
        chunk = ChunkData(offset=offset, data=data, crc32c=crc32c_of(data))
        self._keep(key, chunk)
        return chunk

    def _keep(self, key: _Key, chunk: ChunkData) -> None:
        size_bytes = len(chunk.data) + ENTRY_BYTES
        if size_bytes > self._budget_bytes:
            return
        self._chunks[key] = chunk
        self.held_bytes += size_bytes
        while self.held_bytes > self._budget_bytes:
            _, dropped = self._chunks.popitem(last=False)
            self.held_bytes -= len(dropped.data) + ENTRY_BYTES
