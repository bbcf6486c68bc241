"""Parts of published adapters in memory: read once for many agents, the least recently used dropped first."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict

from alignfed.chunk_frames import frame
from alignfed.chunks import ChunkData, crc32c_of
from coordinator.domain import BlobRef
from coordinator.ports import Blobs
from coordinator.service.caches.single_flight import SingleFlight

ENTRY_BYTES = 1024
"""What a part takes in memory beside its bytes: of tiny adapters, that is nearly everything."""

_Key = tuple[str, str, int]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part as every download sends it: its `frame`, which holds `data_bytes` of the blob."""

    frame: bytes
    data_bytes: int


class PartCache:
    """Parts of immutable blobs, within a budget of bytes; kept as frames, so that only the first download makes them.

    Args:
        blobs: Where parts are read from.
        budget_bytes: Memory for what is kept; parts on their way to a client are not counted.
    """

    def __init__(self, blobs: Blobs, *, budget_bytes: int) -> None:
        self._blobs = blobs
        self._budget_bytes = budget_bytes
        self._parts: OrderedDict[_Key, Part] = OrderedDict()
        self._reads: SingleFlight[_Key, Part] = SingleFlight()
        self.held_bytes = 0

    async def get(self, blob: BlobRef, index: int) -> Part:
        """Return one part; however many ask for it at once, the store is read once.

        Raises:
            StoreCorrupt: The part is not there.
        """
        key = (blob.blob_id, blob.sha256, index)  # the digest, so that a reused id never serves old bytes
        part = self._parts.get(key)
        if part is not None:
            self._parts.move_to_end(key)
            return part
        return await self._reads.run(key, lambda: self._read(key, offset=index * blob.part_bytes))

    async def _read(self, key: _Key, *, offset: int) -> Part:
        blob_id, _, index = key
        data = await self._blobs.get_part(blob_id, index)
        part = Part(frame=frame(ChunkData(offset=offset, data=data, crc32c=crc32c_of(data))), data_bytes=len(data))
        self._keep(key, part)
        return part

    def _keep(self, key: _Key, part: Part) -> None:
        size_bytes = len(part.frame) + ENTRY_BYTES
        if size_bytes > self._budget_bytes:
            return
        self._parts[key] = part
        self.held_bytes += size_bytes
        while self.held_bytes > self._budget_bytes:
            _, dropped = self._parts.popitem(last=False)
            self.held_bytes -= len(dropped.frame) + ENTRY_BYTES
