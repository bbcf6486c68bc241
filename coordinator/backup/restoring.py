"""Restores federations from a checked backup: each appears whole, in one step, or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import secrets
from collections.abc import Iterator, Sequence

from alignfed.errors import FederationExists, RequestInvalid, Unavailable
from coordinator.backends.rules import kept_until, restoration
from coordinator.backup import records
from coordinator.backup.checking import BackupFile
from coordinator.backup.container import damaged
from coordinator.backup.progress import Progress
from coordinator.backup.records import AgentShare, StoredPayload, values
from coordinator.cuts import RESTORED_EPOCH_SPREAD, RecordBatch, Restored, restored_epoch
from coordinator.domain import AgentRecord, DeadLetter, QueuePlace, Receipt, VersionId, VersionRecord
from coordinator.ports import Clock, Store
from coordinator.signing import Signer

BATCH = 200
"""Records held in memory at once."""


async def restore_backup(
    store: Store,
    backup: BackupFile,
    federations: Sequence[str],
    *,
    clock: Clock,
    progress: Progress,
    signer: Signer | None = None,
) -> list[Restored]:
    """Restore `federations` one after the other; those of them that are restored stay when a later one fails.

    With a `signer` that has a key, each gets one version on top: a rollback to the head of the backup, signed. Agents
    that verify versions and have seen later ones than the backup's would refuse the head otherwise.

    Raises:
        FederationExists: A name is taken; nothing was changed.
        RequestInvalid: The backup has no such federation; nothing was changed.
        BackupOvertaken: It took so long that the first of it expired; of that federation nothing is there.
        StoreFull, StoreUnreachable: Of the store; of that federation nothing is there, what was sent expires.
    """
    for name in federations:
        if name not in backup.federations:
            raise RequestInvalid(f"the backup has no federation {name!r}; it has {', '.join(backup.federations)}")
    taken = sorted(set(federations) & set(await store.federations.names()))
    if taken:
        raise FederationExists(
            f"the store has a federation named {taken[0]!r} already, and nothing is overwritten: restore into an empty "
            "store, or only others with --only"
        )
    signer = signer or Signer()
    return [await _Restore(store, backup, name, clock, progress, signer).run() for name in federations]


class _Restore:
    """Restores one federation."""

    def __init__(
        self, store: Store, backup: BackupFile, federation: str, clock: Clock, progress: Progress, signer: Signer
    ) -> None:
        self._signer = signer
        self._store = store
        self._backup = backup
        self._federation = federation
        self._clock = clock
        self._progress = progress
        self._id = secrets.token_hex(8)

    async def run(self) -> Restored:
        """Send everything, then let it appear."""
        facts = self._backup.federations[self._federation]
        restored = Restored(
            record=facts.record,
            head_number=facts.head.number,
            epoch=restored_epoch(facts.epoch, secrets.randbelow(RESTORED_EPOCH_SPREAD)),
        )
        try:
            await self._send_payloads()
            for batch in self._batches():
                await self._store.backups.stage(self._federation, self._id, batch)
            if self._signer.fingerprint:
                await self._store.backups.stage(self._federation, self._id, self._signed_head(restored.epoch))
                restored = dataclasses.replace(restored, head_number=restored.head_number + 1)
            await self._store.backups.publish(self._federation, self._id, restored)
        except BaseException:
            with contextlib.suppress(Unavailable):  # the rest expires by itself
                await self._clean_up()
            raise
        return restored

    async def _send_payloads(self) -> None:
        sent_bytes = 0
        for payload in self._backup.payloads(self._federation):
            self._progress.tell(f"{self._federation}: sending payloads", sent_bytes)
            await self._send(payload)
            sent_bytes += payload.total_bytes

    async def _send(self, payload: StoredPayload) -> None:
        member = self._backup.members[payload.member]
        await self._store.blobs.begin(self._federation, payload.blob_id, at=self._clock.now())
        digest = hashlib.sha256()
        for index, start in enumerate(range(0, payload.total_bytes, payload.part_bytes)):
            self._backup.file.seek(member.offset + start)
            part = self._backup.file.read(min(payload.part_bytes, payload.total_bytes - start))
            digest.update(part)
            await self._store.blobs.put_part(payload.blob_id, index, part)
        if digest.hexdigest() != payload.sha256:
            raise damaged(f"payload {payload.blob_id} has changed since it was checked")

    def _batches(self) -> Iterator[RecordBatch]:
        head = self._backup.federations[self._federation].head.number
        for versions in self._batched(records.VERSIONS, VersionRecord):
            yield RecordBatch(versions=versions)
        for receipts in self._batched(records.RECEIPTS, Receipt):
            yield RecordBatch(receipts=receipts, settled_number=head)
        for queue in self._batched(records.QUEUE, QueuePlace):
            yield RecordBatch(queue=queue)
        for dead in self._batched(records.DEAD_LETTERS, DeadLetter):
            yield RecordBatch(dead=dead)
        for agents in self._batched(records.AGENTS, AgentRecord):
            yield RecordBatch(agents=agents)
        for shares in self._batched(records.CONTRIBUTIONS, AgentShare):
            yield RecordBatch(contributions={share.agent_id: share.contribution for share in shares})
        for payloads in self._batched(records.PAYLOADS, StoredPayload):
            yield RecordBatch(kept_until={payload.blob_id: payload.until for payload in payloads})

    def _batched(self, name: str, kind: type[records.T]) -> Iterator[tuple[records.T, ...]]:
        found = values(self._backup.file, self._backup.member(self._federation, name), kind)
        while batch := tuple(itertools.islice(found, BATCH)):
            yield batch

    def _signed_head(self, epoch: int) -> RecordBatch:
        """Return a version that rolls back to the backup's head, under the first of the new fencing tokens."""
        facts = self._backup.federations[self._federation]
        *_, head = values(self._backup.file, self._backup.member(self._federation, records.VERSIONS), VersionRecord)
        payloads = {payload.blob_id for payload in self._backup.payloads(self._federation)}
        identity = VersionId(epoch=epoch, number=head.id.number + 1, digest=head.id.digest)
        version = restoration(head, identity, at=self._clock.now())
        if version.state is not None and version.state.blob_id not in payloads:
            version = dataclasses.replace(version, state=None)
        version = self._signer.sign(self._federation, version, head)
        return RecordBatch(versions=(version,), kept_until=kept_until(version, facts.record.plan.retention))

    async def _clean_up(self) -> None:
        await self._store.backups.discard(self._federation, self._id)
        for payload in self._backup.payloads(self._federation):
            await self._store.blobs.delete(self._federation, payload.blob_id)
