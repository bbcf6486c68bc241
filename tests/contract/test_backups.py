"""Port `Backups`: a federation at one moment, and a federation that appears in one step."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from alignfed.errors import (
    BackupOvertaken,
    BaseVersionInFuture,
    BaseVersionOtherBranch,
    FederationExists,
    Fenced,
    HeadMoved,
    UnknownFederation,
)
from coordinator.cuts import RESTORED_EPOCH_GAP, FederationCut, RecordBatch, Restored, receipt_at, restored_epoch
from coordinator.domain import DeltaState, QueuedDelta, Rejection, VersionId
from coordinator.ports import Store
from tests.support.histories import all_receipts, all_versions, busy_federation
from tests.support.owners import unowned
from tests.support.stores import (
    NOW,
    new_agent,
    new_commit,
    new_delta,
    publish,
    receipt_of,
    seed_federation,
    store_blob,
    submit,
    take_lease,
    unique,
)


@dataclasses.dataclass
class Copy:
    """What a store is told of another federation: the records of the original under a name of their own."""

    cut: FederationCut
    batch: RecordBatch
    restored: Restored
    restore_id: str = dataclasses.field(default_factory=lambda: unique("restore"))

    @property
    def name(self) -> str:
        return self.restored.record.plan.federation


async def copy_of(store: Store, federation: str) -> Copy:
    """Read a federation and store its payloads' names again, unclaimed, for a copy in the same store."""
    cut = await store.backups.cut(federation)
    name = unique("copy")
    blobs = {}
    for blob_id, until in cut.kept_until.items():
        await store_blob(store, name, b"copied", blob_id=f"{name}.{blob_id}")
        blobs[f"{name}.{blob_id}"] = until
    plan = dataclasses.replace(cut.record.plan, federation=name)
    batch = RecordBatch(
        versions=await all_versions(store, federation),
        receipts=tuple((await all_receipts(store, federation)).values()),
        queue=cut.queue,
        dead=cut.dead,
        agents=cut.agents,
        contributions=cut.contributions,
        kept_until=blobs,
    )
    record = dataclasses.replace(cut.record, plan=plan)
    restored = Restored(record=record, head_number=cut.head.number, epoch=restored_epoch(cut.epoch, 7))
    return Copy(cut=cut, batch=batch, restored=restored)


async def test_a_cut_is_what_the_ports_tell_one_by_one(store: Store) -> None:
    name = await busy_federation(store)
    cut = await store.backups.cut(name)
    assert cut.record == await store.federations.get(name)
    assert cut.record.paused
    assert cut.head == (await store.versions.head(name)).id
    assert sorted(cut.agents, key=lambda agent: agent.agent_id) == await store.agents.list(name)
    assert cut.contributions == await store.agents.contributions(name)
    assert list(cut.dead) == await store.deltas.dead_letters(name)
    assert cut.abandoned == {2}
    assert [(entry.place, entry.claimed_by, entry.attempts) for entry in cut.queue] == [
        (1, "worker-1", 1),
        (2, None, 0),
    ]
    for entry in cut.queue:
        assert await store.deltas.place(name, entry.delta.delta_id) == entry
    versions = await all_versions(store, name)
    assert {version.adapter.blob_id for version in versions} <= set(cut.kept_until)
    assert {entry.delta.payload.blob_id for entry in cut.queue} <= set(cut.kept_until)
    assert cut.waiting == {entry.delta.delta_id for entry in cut.queue} | {cut.dead[0].delta.delta_id}
    assert await store.leases.acquire(name, "worker-1", ttl_seconds=60) == cut.epoch + 1


async def test_every_receipt_is_paged_through(store: Store) -> None:
    name = (await seed_federation(store)).federation
    assert await all_receipts(store, name) == {}
    deltas = await asyncio.gather(*(submit(store, name) for _ in range(1200)))
    receipts = await all_receipts(store, name)
    assert receipts == {delta.delta_id: await receipt_of(store, delta) for delta in deltas}


async def test_receipts_read_after_a_cut_tell_of_the_cut(store: Store) -> None:
    name = (await seed_federation(store)).federation
    early, poison = await submit(store, name), await submit(store, name)
    merged_before = await publish(store, name)  # takes both, and its own
    assert merged_before.merge is not None
    waiting = await submit(store, name)
    cut = await store.backups.cut(name)
    later = await submit(store, name)
    await publish(store, name)
    newest = await submit(store, name)

    then = {
        delta_id: receipt_at(cut, cut.waiting, receipt)
        for delta_id, receipt in (await all_receipts(store, name)).items()
    }
    for delta in (early, poison):
        assert then[delta.delta_id] == await receipt_of(store, delta)
    at_cut = then[waiting.delta_id]
    assert at_cut is not None
    assert (at_cut.state, at_cut.version) == (DeltaState.QUEUED, None)
    assert (await receipt_of(store, waiting)).state is DeltaState.MERGED
    assert then[later.delta_id] is None
    assert then[newest.delta_id] is None


async def test_what_is_staged_is_unseen_until_it_is_published_whole(store: Store) -> None:
    copy = await copy_of(store, await busy_federation(store))
    await store.backups.stage(copy.name, copy.restore_id, copy.batch)
    await store.backups.stage(copy.name, copy.restore_id, copy.batch)  # a retry
    with pytest.raises(UnknownFederation):
        await store.federations.get(copy.name)
    assert copy.name not in await store.federations.names()

    await store.backups.publish(copy.name, copy.restore_id, copy.restored)
    again = await store.backups.cut(copy.name)
    expected = dataclasses.replace(
        copy.cut, record=copy.restored.record, epoch=copy.restored.epoch, kept_until=copy.batch.kept_until
    )
    by_id = {"agents": sorted(again.agents, key=str), "dead": sorted(again.dead, key=str)}
    assert by_id == {"agents": sorted(expected.agents, key=str), "dead": sorted(expected.dead, key=str)}
    assert dataclasses.replace(again, agents=(), dead=()) == dataclasses.replace(expected, agents=(), dead=())
    assert await all_versions(store, copy.name) == copy.batch.versions
    assert set((await all_receipts(store, copy.name)).values()) == set(copy.batch.receipts)
    assert (await store.deltas.depth(copy.name)).pending == 1
    assert await store.leases.holder(copy.name) is None
    assert not {key for key in await unowned(store) if copy.name in key}

    await store.backups.publish(copy.name, copy.restore_id, copy.restored)  # a lost reply
    with pytest.raises(FederationExists):
        await store.backups.publish(copy.name, unique("restore"), copy.restored)


async def test_a_restored_federation_goes_on(store: Store) -> None:
    copy = await copy_of(store, await busy_federation(store))
    await store.backups.stage(copy.name, copy.restore_id, copy.batch)
    await store.backups.publish(copy.name, copy.restore_id, copy.restored)
    name = copy.name
    assert (await store.versions.roll_back(name, 1, at=NOW)).id == copy.cut.head  # the head restores it already
    token = await take_lease(store, name, "worker-2")
    assert token > copy.restored.epoch
    reclaimed = await store.deltas.reclaim(name, "worker-2")
    assert [queued.attempts for queued in reclaimed] == [1]
    claimed = reclaimed + await store.deltas.claim(name, "worker-2", limit=10)
    await store.deltas.requeue_dead(name, copy.cut.dead[0].delta.delta_id)
    claimed += await store.deltas.claim(name, "worker-2", limit=10)
    assert len(claimed) == 3
    commit = await new_commit(store, name, token, claimed)
    await store.versions.commit(commit)
    assert (await store.versions.head(name)).id == commit.version.id
    assert (await store.deltas.depth(name)).queued == 0


async def test_a_worker_of_the_old_store_never_commits_into_the_restored_one(store: Store) -> None:
    name = (await seed_federation(store)).federation
    await submit(store, name)
    copy = await copy_of(store, name)
    await store.backups.stage(copy.name, copy.restore_id, copy.batch)
    await store.backups.publish(copy.name, copy.restore_id, copy.restored)
    for token in range(copy.cut.epoch + 1, copy.cut.epoch + 50):  # whatever the old store gave out after the backup
        old = QueuedDelta(entry_id="1-0", delta=copy.cut.queue[0].delta, attempts=0)
        with pytest.raises(Fenced):
            await store.deltas.reject(copy.name, token, [Rejection(queued=old, reason="NON_FINITE", detail="")])
    await store.deltas.claim(copy.name, "worker-1", limit=1)
    commit = await new_commit(store, copy.name, copy.cut.epoch + 1, [old])
    with pytest.raises((Fenced, HeadMoved)):
        await store.versions.commit(commit)
    assert copy.restored.epoch > copy.cut.epoch + RESTORED_EPOCH_GAP


async def test_agents_ahead_of_the_backup_are_told_so(store: Store) -> None:
    name = (await seed_federation(store)).federation
    copy = await copy_of(store, name)
    ahead = VersionId(epoch=copy.cut.epoch + 1, number=1, digest="cd" * 32)  # published after the backup
    await store.backups.stage(copy.name, copy.restore_id, copy.batch)
    await store.backups.publish(copy.name, copy.restore_id, copy.restored)
    with pytest.raises(BaseVersionInFuture):
        await store.deltas.accept(await new_delta(store, copy.name, base=ahead))
    await publish(store, copy.name)
    with pytest.raises(BaseVersionOtherBranch):
        await store.deltas.accept(await new_delta(store, copy.name, base=ahead))


async def test_a_restore_that_is_not_complete_publishes_nothing(store: Store) -> None:
    copy = await copy_of(store, await busy_federation(store))
    with pytest.raises(BackupOvertaken):
        await store.backups.publish(copy.name, copy.restore_id, copy.restored)
    holed = dataclasses.replace(copy.batch, versions=(copy.batch.versions[0],))
    await store.backups.stage(copy.name, copy.restore_id, holed)
    with pytest.raises(BackupOvertaken):
        await store.backups.publish(copy.name, copy.restore_id, copy.restored)
    await store.backups.stage(copy.name, copy.restore_id, copy.batch)
    await store.blobs.delete(copy.name, min(copy.batch.kept_until))
    with pytest.raises(BackupOvertaken):
        await store.backups.publish(copy.name, copy.restore_id, copy.restored)
    await store.backups.discard(copy.name, copy.restore_id)
    await store.backups.discard(copy.name, copy.restore_id)
    assert not {key for key in await unowned(store) if copy.name in key}
    with pytest.raises(UnknownFederation):
        await store.backups.cut(copy.name)


async def test_a_name_that_is_taken_is_left_as_it_is(store: Store) -> None:
    taken = await busy_federation(store)
    before = await store.backups.cut(taken)
    await store.backups.stage(taken, "any", RecordBatch(agents=(new_agent("stranger"),)))
    restored = Restored(record=before.record, head_number=before.head.number, epoch=before.epoch + 5)
    with pytest.raises(FederationExists):
        await store.backups.publish(taken, "any", restored)
    assert await store.backups.cut(taken) == before
    await store.backups.discard(taken, "any")
