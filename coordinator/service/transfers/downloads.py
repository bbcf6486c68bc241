"""Downloads of published adapters: which bytes, checked; parts come from memory."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator

from alignfed.chunks import check_offset
from alignfed.errors import HeaderInvalid, RequestInvalid, StoreCorrupt, VersionNotFound
from alignfed.version_manifest import SignedManifest
from coordinator.domain import AdapterKind, BlobRef, VersionId
from coordinator.service.caches.heads import HeadCache
from coordinator.service.caches.versions import RecentVersions
from coordinator.service.transfers.parts import Part, PartCache


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DownloadRequest:
    """Which adapter to send, from which byte on; `number` None means the head."""

    federation: str
    number: int | None
    kind: AdapterKind
    offset: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """An adapter that may be sent."""

    federation: str
    version: VersionId
    blob: BlobRef
    signed: SignedManifest | None
    offset: int


class Downloads:
    """Finds adapters and streams their parts."""

    def __init__(self, *, heads: HeadCache, versions: RecentVersions, parts: PartCache) -> None:
        self._heads = heads
        self._versions = versions
        self._parts = parts

    async def open(self, request: DownloadRequest) -> Download:
        """Find what is wanted.

        Raises:
            UnknownFederation: The federation does not exist.
            VersionNotFound: The version does not exist, or its adapter is no longer kept.
            RequestInvalid: The offset is not a part's start.
        """
        head = await self._heads.head(request.federation)
        number = head.id.number if request.number is None else request.number
        if number < head.oldest_retained:
            raise _gone(number, head.oldest_retained)
        record = await self._versions.get(request.federation, number)
        blob = record.blob(request.kind)
        try:
            check_offset(request.offset, total_bytes=blob.total_bytes, chunk_bytes=blob.part_bytes)
        except HeaderInvalid as error:
            raise RequestInvalid(error.message) from error
        return Download(
            federation=request.federation, version=record.id, blob=blob, signed=record.signed, offset=request.offset
        )

    async def parts(self, download: Download) -> AsyncGenerator[Part, None]:
        """Yield the adapter's parts from the offset on, one at a time.

        Raises:
            VersionNotFound: The version fell out of retention meanwhile.
            StoreCorrupt: A part that must be there is missing.
        """
        blob = download.blob
        for index in range(-(-download.offset // blob.part_bytes), blob.parts):
            try:
                yield await self._parts.get(blob, index)
            except StoreCorrupt:
                head = await self._heads.refresh(download.federation)
                if download.version.number < head.oldest_retained:
                    raise _gone(download.version.number, head.oldest_retained) from None
                raise


def _gone(number: int, oldest_retained: int) -> VersionNotFound:
    return VersionNotFound(
        f"the adapter of version {number} is no longer kept, the oldest is {oldest_retained}: ask for a newer one",
        oldest_retained=oldest_retained,
    )
