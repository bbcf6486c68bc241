"""Writes a backup while its federations are live.

Of each federation one atomic read, the cut, tells everything that changes. Versions never change and receipts only come
and settle, so both are read afterwards and taken as they were at the cut. Payloads are read in the order in which
retention lets go of them; when one is gone before it was copied, because versions were published meanwhile, the
federation is read again from a new cut.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from alignfed import __version__
from alignfed.errors import BackupOvertaken, PayloadDigestMismatch, RequestInvalid, StoreCorrupt
from coordinator.backends.rules import blobs_of
from coordinator.backup import records
from coordinator.backup.container import FIRST, FORMAT, FORMAT_VERSION, ContainerWriter, as_json
from coordinator.backup.progress import Progress
from coordinator.backup.records import AgentShare, FederationFacts, StoredPayload, dump, dump_version
from coordinator.cuts import FederationCut, receipt_at
from coordinator.domain import BlobRef, DeltaState, VersionRecord, delta_blob_id
from coordinator.ports import Clock, Store

MAX_CUTS = 5
"""A federation that publishes so fast that payloads vanish five times while they are copied has to be paused."""

VERSIONS_PAGE = 100
MAX_PARTS = 1 << 31


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a backup holds of one federation; `head` is the number of its newest version."""

    federation: str
    head: int
    queued: int
    dead: int
    agents: int
    receipts: int
    payloads: int


async def write_backup(
    store: Store, federations: Sequence[str], path: Path, *, clock: Clock, progress: Progress
) -> list[Written]:
    """Write a backup of `federations` to `path`, which is there whole or not at all.

    Raises:
        UnknownFederation: One does not exist.
        BackupOvertaken: Merging went on faster than payloads could be copied.
        StoreCorrupt, PayloadDigestMismatch: The store lacks a payload that it must have, or holds a damaged one.
        RequestInvalid: The file cannot be written.
    """
    with _atomic_file(path) as file:
        writer = ContainerWriter(file)
        first = {"format": FORMAT, "version": FORMAT_VERSION, "software": __version__, "created_at": clock.now()}
        writer.write(FIRST, as_json(first))
        written = [await _FederationWriter(store, writer, name, progress).write() for name in federations]
        writer.finish(federations=[dataclasses.asdict(item) for item in written])
    return written


class _FederationWriter:
    """Writes the members of one federation."""

    def __init__(self, store: Store, writer: ContainerWriter, federation: str, progress: Progress) -> None:
        self._store = store
        self._writer = writer
        self._federation = federation
        self._progress = progress
        self._copied: dict[str, StoredPayload] = {}

    async def write(self) -> Written:
        """Write the federation as of one moment."""
        mark = self._writer.mark()
        for _ in range(MAX_CUTS):
            cut = await self._store.backups.cut(self._federation)
            try:
                return await self._write(cut)
            except BackupOvertaken:
                self._progress.say(f"{self._federation} moved on while it was copied: starting again")
                self._writer.rewind(mark)
        raise BackupOvertaken(
            f"{self._federation} published versions faster than its payloads could be copied, {MAX_CUTS} times: "
            f"`alignfed pause {self._federation}`, back up, `alignfed resume {self._federation}`"
        )

    async def _write(self, cut: FederationCut) -> Written:
        self._copied = {}
        await self._copy_payloads(cut)
        receipts = await self._write_records(cut)
        return Written(
            federation=self._federation,
            head=cut.head.number,
            queued=len(cut.queue),
            dead=len(cut.dead),
            agents=len(cut.agents),
            receipts=receipts,
            payloads=len(self._copied),
        )

    async def _copy_payloads(self, cut: FederationCut) -> None:
        wanted = sorted(cut.kept_until.items(), key=lambda item: (item[1], item[0]))
        for index, (blob_id, until) in enumerate(wanted):
            self._progress.tell(f"{self._federation}: {index} of {len(wanted)} payloads", self._writer.written_bytes)
            member = records.payload_member(self._federation, index)
            try:
                part_bytes = await self._copy(blob_id, member)
            except StoreCorrupt as error:
                now = await self._store.backups.cut(self._federation)
                if blob_id in now.kept_until:
                    raise
                raise BackupOvertaken(f"payload {blob_id} was let go of while it was copied: read again") from error
            self._copied[blob_id] = StoredPayload(
                member=member,
                blob_id=blob_id,
                total_bytes=self._writer.last.size_bytes,
                part_bytes=part_bytes,
                sha256=self._writer.last.sha256,
                kept_until=None if until == float("inf") else until,
            )

    async def _copy(self, blob_id: str, member: str) -> int:
        """Copy a payload and return the size of its parts, of which only the last may be shorter."""
        parts = await self._store.blobs.stored_parts(blob_id, MAX_PARTS)
        part_bytes = 0
        with self._writer.member(member) as write:
            for index in range(max(1, parts)):
                part = await self._store.blobs.get_part(blob_id, index)
                part_bytes = part_bytes or len(part)
                if len(part) > part_bytes or (len(part) < part_bytes and index + 1 < parts):
                    raise StoreCorrupt(f"part {index} of stored payload {blob_id} has a size that it cannot have")
                write(part)
        return part_bytes

    async def _write_records(self, cut: FederationCut) -> int:
        """Write all records, and return how many receipts they are."""
        with self._member(records.VERSIONS) as write:
            async for version in self._versions(cut):
                for blob in blobs_of(version):
                    self._check(blob)
                write(dump_version(version))
        count = await self._write_receipts(cut)
        shares = [AgentShare(agent_id=agent_id, contribution=share) for agent_id, share in cut.contributions.items()]
        for name, values in (
            (records.QUEUE, cut.queue),
            (records.DEAD_LETTERS, cut.dead),
            (records.AGENTS, cut.agents),
            (records.CONTRIBUTIONS, shares),
            (records.PAYLOADS, self._copied.values()),
        ):
            with self._member(name) as write:
                for value in values:
                    write(dump(value))
        for delta in [*(entry.delta for entry in cut.queue), *(letter.delta for letter in cut.dead)]:
            self._check(delta.payload)
        if cut.record.calibration is not None:
            self._check(cut.record.calibration)
        facts = FederationFacts(record=cut.record, head=cut.head, epoch=cut.epoch)
        with self._member(records.FEDERATION) as write:
            write(dump(facts))
        return count

    async def _versions(self, cut: FederationCut) -> AsyncIterator[VersionRecord]:
        """Yield the versions up to the cut's head, oldest first, abandoned or not as at the cut."""
        end = cut.head.number + 1
        for start in range(0, end, VERSIONS_PAGE):
            before = min(start + VERSIONS_PAGE, end)
            page = await self._store.versions.list(self._federation, before=before, limit=before - start)
            self._progress.tell(f"{self._federation}: {before} of {end} versions", self._writer.written_bytes)
            for version in reversed(page):
                yield dataclasses.replace(version, abandoned=version.id.number in cut.abandoned)

    async def _write_receipts(self, cut: FederationCut) -> int:
        waiting, count, cursor = cut.waiting, 0, ""
        with self._member(records.RECEIPTS) as write:
            while True:
                page, cursor = await self._store.backups.receipts(self._federation, cursor)
                for late in page:
                    receipt = receipt_at(cut, waiting, late)
                    if receipt is None:
                        continue
                    if receipt.state is DeltaState.MERGED:
                        self._check_merged(receipt.agent_id, receipt.delta_id, receipt.sha256)
                    write(dump(receipt))
                    count += 1
                self._progress.tell(f"{self._federation}: {count} receipts", self._writer.written_bytes)
                if not cursor:
                    return count

    def _check_merged(self, agent_id: str, delta_id: str, sha256: str) -> None:
        """Check the payload of a merged delta, if it is still kept, against its receipt."""
        payload = self._copied.get(delta_blob_id(self._federation, agent_id, delta_id, sha256=sha256))
        if payload is not None and payload.sha256 != sha256:
            raise _damaged_in_store(payload.blob_id)

    def _check(self, blob: BlobRef) -> None:
        """Check a copied payload against a record that names it."""
        payload = self._copied.get(blob.blob_id)
        if payload is not None and (payload.sha256, payload.total_bytes) != (blob.sha256, blob.total_bytes):
            raise _damaged_in_store(blob.blob_id)

    def _member(self, name: str) -> contextlib.AbstractContextManager[Any]:
        return self._writer.member(f"{self._federation}/{name}")


def _damaged_in_store(blob_id: str) -> PayloadDigestMismatch:
    return PayloadDigestMismatch(
        f"stored payload {blob_id} is damaged: a backup of it would be too. A delta's: let a worker reject it, or drop "
        "the dead letter. An adapter's: roll back to an older version, or wait until it is no longer retained"
    )


@contextlib.contextmanager
def _atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file, for its owner only, that gets its name once it is whole and on disk.

    Raises:
        RequestInvalid: It cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "w+b", opener=_private) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise RequestInvalid(f"{path} cannot be written ({error}): choose another place, or make room") from error
    finally:
        partial.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
