"""Where the parts of blobs are: in the blobs' own records, or somewhere that the records only point to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from coordinator.backends import refusals
from coordinator.backends.redis.calls import Calls
from coordinator.backends.redis.keys import blob_key

FOLDER_FIELD = "begun"
"""Field of a blob's record that is there from `begin` on: the folder of its parts, empty for those in the record
itself. Parts have their index for a field."""


class Parts(Protocol):
    """Keeps the bytes of parts, for `RedisBlobs`, which keeps the books: who needs which blob, and until when."""

    async def new_folder(self) -> str:
        """Return where the parts of a blob that begins will be kept; empty for in its record."""
        ...

    async def put(self, blob_id: str, index: int, data: bytes) -> None:
        """See `Blobs.put_part`."""
        ...

    async def get(self, blob_id: str, index: int) -> bytes:
        """See `Blobs.get_part`."""
        ...

    async def discard(self, blob_ids: Sequence[str]) -> None:
        """Delete condemned blobs: what their records point to, then the records. Idempotent."""
        ...

    async def tidy(self, *, before: float) -> None:
        """Delete some of what no record points to and is older than `before` (Unix seconds). Bounded, idempotent."""
        ...


class RecordParts:
    """Parts as fields of the blobs' records: hash part index -> bytes."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def new_folder(self) -> str:
        """See `Parts`."""
        return ""

    async def put(self, blob_id: str, index: int, data: bytes) -> None:
        """See `Parts`."""
        (status,) = await self._calls.script("put_part", [blob_key(blob_id)], [index, data, ""], federation="")
        if status == "gone":
            raise refusals.blob_gone(blob_id)
        if status == "elsewhere":
            raise refusals.payload_elsewhere(blob_id)

    async def get(self, blob_id: str, index: int) -> bytes:
        """See `Parts`."""
        folder, data = await self._calls.command("HMGET", blob_key(blob_id), FOLDER_FIELD, index)
        if folder:
            raise refusals.payload_elsewhere(blob_id)
        if data is None:
            raise refusals.part_missing(blob_id, index)
        return bytes(data)

    async def discard(self, blob_ids: Sequence[str]) -> None:
        """See `Parts`."""
        await self._calls.batch("unlink", [("UNLINK", blob_key(blob_id)) for blob_id in blob_ids])

    async def tidy(self, *, before: float) -> None:
        """See `Parts`: a part without a record cannot be."""
