"""Port `Federations`: creation is atomic and repeatable, names do not lie, pausing is announced."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest

from alignfed.errors import FederationExists, StoreCorrupt, UnknownFederation
from coordinator.domain import FederationRecord, VersionId, VersionKind, VersionRecord
from coordinator.ports import Store
from tests.support.stores import NOW, has_blob, new_plan, seed_federation, store_blob, unique


@pytest.fixture(autouse=True)
async def _no_traces(store: Store) -> AsyncIterator[None]:
    """Sweep what these tests prepare and never create, which the sweeps of other tests would count."""
    yield
    await store.blobs.sweep(unique("never"), unclaimed_before=NOW + 1e9)


async def creation(store: Store, name: str) -> tuple[FederationRecord, VersionRecord]:
    """Store the blobs of a new federation and return what `create` takes."""
    adapter, calibration = await store_blob(store, name), await store_blob(store, name)
    initial = VersionRecord(
        id=VersionId(epoch=0, number=0, digest=adapter.sha256),
        kind=VersionKind.INITIAL,
        parent=None,
        adapter=adapter,
        created_at=NOW,
    )
    return FederationRecord(plan=new_plan(name), calibration=calibration, created_at=NOW), initial


async def test_a_created_federation_reads_back_as_it_was(store: Store) -> None:
    record, initial = await creation(store, unique("fed"))
    name = record.plan.federation
    await store.federations.create(record, initial)

    assert await store.federations.get(name) == record
    assert await store.versions.get(name, 0) == initial
    head = await store.versions.head(name)
    assert (head.id, head.oldest_retained, head.paused) == (initial.id, 0, False)
    assert name in await store.federations.names()


async def test_names_are_sorted_and_hold_no_federation_that_was_only_prepared(store: Store) -> None:
    prepared = unique("fed")
    await creation(store, prepared)
    created = [(await seed_federation(store)).federation for _ in range(3)]

    names = await store.federations.names()
    assert names == sorted(names)
    assert set(created) <= set(names)
    assert prepared not in names


async def test_a_taken_name_is_refused_and_nothing_changes(store: Store) -> None:
    plan = await seed_federation(store)
    before = await store.federations.get(plan.federation)
    record, initial = await creation(store, plan.federation)

    with pytest.raises(FederationExists):
        await store.federations.create(dataclasses.replace(record, created_at=NOW + 1), initial)
    assert await store.federations.get(plan.federation) == before


async def test_the_very_same_creation_again_is_a_success_even_once_the_federation_is_in_use(store: Store) -> None:
    record, initial = await creation(store, unique("fed"))
    await store.federations.create(record, initial)
    await store.federations.set_paused(record.plan.federation, True)

    await store.federations.create(record, initial)
    assert (await store.federations.get(record.plan.federation)).paused


async def test_one_of_many_rivals_creates_a_federation(store: Store) -> None:
    name = unique("fed")
    rivals = [await creation(store, name) for _ in range(8)]
    results = await asyncio.gather(
        *(store.federations.create(record, initial) for record, initial in rivals), return_exceptions=True
    )

    assert sum(result is None for result in results) == 1
    assert sum(isinstance(result, FederationExists) for result in results) == 7


async def test_creation_with_a_blob_that_was_swept_is_refused_whole(store: Store) -> None:
    record, initial = await creation(store, unique("fed"))
    name = record.plan.federation
    assert record.calibration is not None
    await store.blobs.delete(name, record.calibration.blob_id)

    with pytest.raises(StoreCorrupt, match=record.calibration.blob_id):
        await store.federations.create(record, initial)
    assert name not in await store.federations.names()


async def test_created_blobs_survive_every_sweep(store: Store) -> None:
    record, initial = await creation(store, unique("fed"))
    await store.federations.create(record, initial)
    await store.blobs.sweep(record.plan.federation, unclaimed_before=NOW + 1e9)

    assert record.calibration is not None
    assert await has_blob(store, record.calibration)
    assert await has_blob(store, initial.adapter)


async def test_blobs_of_a_creation_that_never_came_are_swept_by_any_federations_sweep(store: Store) -> None:
    record, initial = await creation(store, unique("fed"))
    plan = await seed_federation(store)
    await store.blobs.sweep(plan.federation, unclaimed_before=NOW + 1)

    assert not await has_blob(store, initial.adapter)
    assert record.calibration is not None
    assert not await has_blob(store, record.calibration)


async def test_pausing_shows_in_the_record_and_at_the_head(store: Store) -> None:
    name = (await seed_federation(store)).federation
    for paused in (True, True, False):
        await store.federations.set_paused(name, paused)
        assert (await store.federations.get(name)).paused is paused
        assert (await store.versions.head(name)).paused is paused


async def test_every_question_about_an_unknown_federation_is_refused(store: Store) -> None:
    name = unique("never")
    for question in (
        store.federations.get(name),
        store.federations.set_paused(name, True),
        store.agents.get(name, "agent-1"),
        store.agents.seen(name, {}),
        store.agents.list(name),
        store.agents.revoke(name, "agent-1"),
        store.agents.contributions(name),
        store.deltas.receipt(name, "delta"),
        store.deltas.claim(name, "worker-1", limit=1),
        store.deltas.reclaim(name, "worker-1"),
        store.deltas.reject(name, 1, []),
        store.deltas.dead_letters(name),
        store.deltas.requeue_dead(name, "delta"),
        store.deltas.drop_dead(name, "delta"),
        store.deltas.depth(name),
        store.versions.head(name),
        store.versions.get(name, 0),
        store.versions.list(name, before=None, limit=5),
        store.versions.roll_back(name, 0, at=NOW),
        store.leases.acquire(name, "worker-1", ttl_seconds=1),
        store.leases.renew(name, "worker-1", 1, ttl_seconds=1),
        store.leases.release(name, "worker-1", 1),
    ):
        with pytest.raises(UnknownFederation, match=name):
            await question


async def test_the_reason_of_a_hold_shows_at_the_head_until_merging_goes_on(store: Store) -> None:
    name = (await seed_federation(store)).federation
    assert (await store.versions.head(name)).hold_reason == ""
    await store.federations.set_paused(name, True, reason="nothing could be published: ünicode")
    assert (await store.versions.head(name)).hold_reason == "nothing could be published: ünicode"
    await store.federations.set_paused(name, True)
    assert (await store.versions.head(name)).hold_reason == ""
    await store.federations.set_paused(name, False, reason="a reason to go on is no reason of a hold")
    assert (await store.versions.head(name)).hold_reason == ""
