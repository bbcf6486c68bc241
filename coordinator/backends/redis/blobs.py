"""The books of payloads in Redis: one record per blob, with its parts or notes of them."""

from __future__ import annotations

from coordinator.backends import refusals
from coordinator.backends.redis.calls import Calls
from coordinator.backends.redis.federations import known_names
from coordinator.backends.redis.keys import NAMES, FederationKeys, blob_key
from coordinator.backends.redis.parts import FOLDER_FIELD, Parts
from coordinator.backends.redis.searches import SCAN_BATCH, literal
from coordinator.backends.rules import CONDEMNED

SWEEP_BATCH = 200
"""Blobs per step of a sweep: keeps the script short and the server responsive."""

OPENING_SECONDS = 3600
"""How long a blob's key lives by itself, until the federation's books have it: a command later, unless a process stops
in between. Such a key goes, rather than stay without an owner."""


class RedisBlobs:
    """Implements `coordinator.ports.Blobs`.

    Args:
        calls: To the server.
        parts: Where the bytes go; the books are the same for all.

    A blob's key lives in another Cluster slot than its federation. So deleting takes two steps: a script condemns the
    blob, which nothing can adopt from then on; then its key goes. Beginning takes three: the key is made so that it
    expires, the blob is noted, and only then does the key stay. Whatever stops in between, no key stays unnoted.
    """

    def __init__(self, calls: Calls, parts: Parts) -> None:
        self._calls = calls
        self._parts = parts

    async def begin(self, federation: str, blob_id: str, *, at: float) -> None:
        """See the port."""
        keys, key = FederationKeys(federation), blob_key(blob_id)
        folder = await self._parts.new_folder()
        await self._calls.script("open_blob", [key], [FOLDER_FIELD, OPENING_SECONDS, folder], federation=federation)
        status, *details = await self._calls.script(
            "begin", [keys.federation, keys.unclaimed, keys.lifetimes], [blob_id, repr(at)], federation=federation
        )
        if status == "expiring":
            raise refusals.blob_expiring(blob_id)
        if details == ["0"]:  # a federation about to be created: note its name, so that sweeps find what a crash leaves
            await self._calls.command("SADD", NAMES, federation)
        if status == "adopted":
            return
        _, there = await self._calls.batch("keep blob", [("PERSIST", key), ("EXISTS", key)])
        if not there:
            raise refusals.blob_expiring(blob_id)

    async def put_part(self, blob_id: str, index: int, data: bytes) -> None:
        """See the port."""
        await self._parts.put(blob_id, index, data)

    async def get_part(self, blob_id: str, index: int) -> bytes:
        """See the port."""
        return await self._parts.get(blob_id, index)

    async def stored_parts(self, blob_id: str, parts: int) -> int:
        """See the port."""
        stored = set(await self._calls.command("HKEYS", blob_key(blob_id)))
        return next((index for index in range(parts) if str(index).encode() not in stored), parts)

    async def unclaimed(self, federation: str, *, containing: str) -> dict[str, float]:
        """See the port."""
        key, pattern = FederationKeys(federation).unclaimed, f"*{literal(containing)}*"
        found: dict[str, float] = {}
        cursor = 0
        while True:
            cursor, pairs = await self._calls.command("ZSCAN", key, cursor, "MATCH", pattern, "COUNT", SCAN_BATCH)
            found |= {blob_id.decode(): float(at) for blob_id, at in pairs}
            if not cursor:
                return found

    async def delete(self, federation: str, blob_id: str) -> None:
        """See the port."""
        keys = FederationKeys(federation)
        reply = await self._calls.script(
            "forget", [keys.federation, keys.unclaimed, keys.lifetimes], [blob_id, CONDEMNED], federation=federation
        )
        if reply == ["condemned"]:
            await self._delete_condemned(keys, [blob_id])

    async def sweep(self, federation: str, *, unclaimed_before: float) -> int:
        """See the port."""
        never_created = [name for name, created in await known_names(self._calls) if not created]
        deleted = [await self._sweep_one(name, unclaimed_before) for name in {federation, *never_created}]
        await self._parts.tidy(before=unclaimed_before)
        return sum(deleted)

    async def _sweep_one(self, federation: str, unclaimed_before: float) -> int:
        keys = FederationKeys(federation)
        deleted = 0
        while True:
            condemned = await self._calls.script(
                "condemn",
                [keys.federation, keys.unclaimed, keys.lifetimes],
                [repr(unclaimed_before), CONDEMNED, SWEEP_BATCH],
                federation=federation,
            )
            if not condemned:
                return deleted
            deleted += await self._delete_condemned(keys, condemned)

    async def _delete_condemned(self, keys: FederationKeys, blob_ids: list[str]) -> int:
        """Delete blobs, then forget them; returns how many this call, rather than a rival, has forgotten."""
        await self._parts.discard(blob_ids)
        _, count = await self._calls.script(
            "forget_condemned", [keys.federation, keys.lifetimes], blob_ids, federation=keys.federation
        )
        return int(count)
