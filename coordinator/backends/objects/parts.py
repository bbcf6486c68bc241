"""Parts of payloads as objects: one object each, and a note of it in the blob's record.

A blob's objects have a folder of their own, with a random name that its record holds. A part is put first and noted
then; so whatever is noted is there, and what a crash leaves without a note is in the folder, and goes with it. A blob
that is begun anew after its deletion gets another folder: no deletion that comes late can reach it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Sequence
from typing import TypeVar
from urllib.parse import quote

from alignfed.chunks import crc32c_of
from alignfed.errors import StoreUnreachable, StoreUnsafe
from coordinator.backends import refusals
from coordinator.backends.objects.claim import claim_place
from coordinator.backends.objects.objects import Objects
from coordinator.backends.objects.orphans import sweep_orphans
from coordinator.backends.redis.calls import Calls, Observer
from coordinator.backends.redis.keys import blob_key
from coordinator.backends.redis.parts import FOLDER_FIELD, RecordParts

T = TypeVar("T")

DELETIONS_AT_ONCE = 16


class ObjectParts:
    """Implements `coordinator.backends.redis.parts.Parts`. Blobs that were begun in Redis are read and completed there.

    Args:
        calls: To the records.
        objects: Where parts go.
        observe: Told the name and the seconds of every use of the objects; for metrics.
    """

    def __init__(self, calls: Calls, objects: Objects, *, observe: Observer | None = None) -> None:
        self._calls = calls
        self._objects = objects
        self._observe = observe
        self._in_record = RecordParts(calls)
        self._claimed = False

    async def new_folder(self) -> str:
        """See the protocol."""
        if not self._claimed:
            try:
                await claim_place(self._calls, self._objects)
            except StoreUnsafe as error:  # an operator's mistake: agents keep their deltas until it is mended
                raise StoreUnreachable(error.message) from error
            self._claimed = True
        return secrets.token_hex(8)

    async def put(self, blob_id: str, index: int, data: bytes) -> None:
        """See the protocol."""
        folder = await self._folder(blob_id)
        if folder is None:
            raise refusals.blob_gone(blob_id)
        if not folder:
            return await self._in_record.put(blob_id, index, data)
        await self._timed("object_put", self._objects.put(f"{folder_name(blob_id, folder)}/{index}", data))
        (status,) = await self._calls.script(
            "put_part", [blob_key(blob_id)], [index, _note(data), folder], federation=""
        )
        if status != "stored":  # deleted meanwhile, perhaps begun anew: nothing will ever point to this folder
            await self._objects.delete_folder(folder_name(blob_id, folder))
            raise refusals.blob_gone(blob_id)
        return None

    async def get(self, blob_id: str, index: int) -> bytes:
        """See the protocol. An object that is gone or damaged loses its note, so that an upload can bring it again."""
        folder, noted = await self._calls.command("HMGET", blob_key(blob_id), FOLDER_FIELD, index)
        if noted is None:
            raise refusals.part_missing(blob_id, index)
        if not folder:
            return bytes(noted)
        name = f"{folder_name(blob_id, folder.decode())}/{index}"
        data = await self._timed("object_get", self._objects.get(name))
        if data is None or _note(data) != noted.decode():
            await self._calls.script("lose_part", [blob_key(blob_id)], [index, folder, noted], federation="")
            raise refusals.part_missing(blob_id, index)
        return data

    async def discard(self, blob_ids: Sequence[str]) -> None:
        """See the protocol."""
        folders = await self._calls.batch(
            "folders", [("HGET", blob_key(blob_id), FOLDER_FIELD) for blob_id in blob_ids]
        )
        found = [
            (blob_id, folder.decode()) for blob_id, folder in zip(blob_ids, folders, strict=True) if folder is not None
        ]
        for start in range(0, len(found), DELETIONS_AT_ONCE):
            batch = found[start : start + DELETIONS_AT_ONCE]
            await asyncio.gather(*(self._delete(blob_id, folder) for blob_id, folder in batch))

    async def _delete(self, blob_id: str, folder: str) -> None:
        if folder:
            await self._timed("object_delete", self._objects.delete_folder(folder_name(blob_id, folder)))
        await self._calls.script("drop_blob", [blob_key(blob_id)], [folder], federation="")

    async def tidy(self, *, before: float) -> None:
        """See the protocol."""
        await sweep_orphans(self._calls, self._objects, before=before)

    async def _folder(self, blob_id: str) -> str | None:
        """Return the folder of a blob that was begun; empty for its record, None for a blob that is not there."""
        folder, exists = await self._calls.batch(
            "folder", [("HGET", blob_key(blob_id), FOLDER_FIELD), ("EXISTS", blob_key(blob_id))]
        )
        return (folder or b"").decode() if exists else None

    async def _timed(self, op: str, answer: Awaitable[T]) -> T:
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            return await answer
        finally:
            if self._observe is not None:
                self._observe(op, clock() - started)


def folder_name(blob_id: str, folder: str) -> str:
    """Return the name of a blob's folder among all objects."""
    return f"{quote(blob_id, safe='')}/{folder}"


def _note(data: bytes) -> str:
    """Return what a record says of a part: its length and CRC-32C."""
    return f"{len(data)}.{crc32c_of(data):08x}"
