"""Port: payloads in parts."""

from __future__ import annotations

from typing import Protocol


class Blobs(Protocol):
    """Payloads in parts. A blob is unclaimed from `begin` until a queue entry, version or federation adopts it.

    A crash leaves unclaimed blobs, which `sweep` deletes once they are older than the upload lifetime.
    """

    async def begin(self, federation: str, blob_id: str, *, at: float) -> None:
        """Note a blob as unclaimed since `at` (Unix seconds); beginning again renews its lifetime. Idempotent.

        A blob that was adopted stays adopted. The federation need not exist yet.

        Raises:
            UploadStalled: An earlier upload of this blob expired and is being deleted; try again soon.
        """
        ...

    async def put_part(self, blob_id: str, index: int, data: bytes) -> None:
        """Store one part of a blob that was begun. Idempotent: the same index always gets the same bytes.

        Raises:
            UploadStalled: The blob was never begun, or was deleted since; nothing is stored that nothing would own.
        """
        ...

    async def get_part(self, blob_id: str, index: int) -> bytes:
        """Return one part.

        Raises:
            StoreCorrupt: The part is not there.
        """
        ...

    async def stored_parts(self, blob_id: str, parts: int) -> int:
        """Return how many of the first `parts` parts are stored without a gap, from part 0 on."""
        ...

    async def unclaimed(self, federation: str, *, containing: str) -> dict[str, float]:
        """Return when each unclaimed blob whose id contains a text was begun (Unix seconds), by blob id."""
        ...

    async def delete(self, federation: str, blob_id: str) -> None:
        """Delete an unclaimed blob; one that was adopted is left alone. Idempotent."""
        ...

    async def sweep(self, federation: str, *, unclaimed_before: float) -> int:
        """Delete what nothing needs any more: unclaimed blobs begun before that time, and blobs past their retention.

        Also deletes such unclaimed blobs of federations whose creation was never completed.

        Returns:
            How many blobs were deleted. Idempotent; a crash leaves the rest for the next call.
        """
        ...
