"""Payload parts in memory."""

from __future__ import annotations

from coordinator.backends import refusals
from coordinator.backends.memory.state import MemoryState
from coordinator.backends.rules import CONDEMNED


class MemoryBlobs:
    """Implements `coordinator.ports.Blobs`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def begin(self, federation: str, blob_id: str, *, at: float) -> None:
        """See the port."""
        book = self._state.book(federation)
        if blob_id in book.kept_until:
            if book.holds(blob_id, head=self._state.head_number(federation)):
                return
            raise refusals.blob_expiring(blob_id)
        book.unclaimed[blob_id] = max(at, book.unclaimed.get(blob_id, at))
        self._state.parts.setdefault(blob_id, {})

    async def put_part(self, blob_id: str, index: int, data: bytes) -> None:
        """See the port."""
        parts = self._state.parts.get(blob_id)
        if parts is None:
            raise refusals.blob_gone(blob_id)
        parts[index] = bytes(data)

    async def get_part(self, blob_id: str, index: int) -> bytes:
        """See the port."""
        try:
            return self._state.parts[blob_id][index]
        except KeyError:
            raise refusals.part_missing(blob_id, index) from None

    async def stored_parts(self, blob_id: str, parts: int) -> int:
        """See the port."""
        stored = self._state.parts.get(blob_id, {})
        return next((index for index in range(parts) if index not in stored), parts)

    async def unclaimed(self, federation: str, *, containing: str) -> dict[str, float]:
        """See the port."""
        book = self._state.book(federation)
        return {blob_id: at for blob_id, at in book.unclaimed.items() if containing in blob_id}

    async def delete(self, federation: str, blob_id: str) -> None:
        """See the port."""
        book = self._state.book(federation)
        if book.kept_until.get(blob_id, CONDEMNED) > self._state.head_number(federation):
            return
        book.unclaimed.pop(blob_id, None)
        book.kept_until.pop(blob_id, None)
        self._state.parts.pop(blob_id, None)

    async def sweep(self, federation: str, *, unclaimed_before: float) -> int:
        """See the port."""
        state = self._state
        never_created = [name for name in state.books if name not in state.federations]
        return sum(self._sweep_one(name, unclaimed_before) for name in {federation, *never_created})

    def _sweep_one(self, federation: str, unclaimed_before: float) -> int:
        book = self._state.book(federation)
        head = self._state.head_number(federation)
        doomed = [blob for blob, begun in book.unclaimed.items() if begun < unclaimed_before]
        doomed += [blob for blob, until in book.kept_until.items() if until <= head]
        for blob_id in doomed:
            book.unclaimed.pop(blob_id, None)
            book.kept_until.pop(blob_id, None)
            self._state.parts.pop(blob_id, None)
        return len(doomed)
