"""Port `Blobs`: parts in any order, resumable, and deleted exactly when nothing needs them."""

from __future__ import annotations

import dataclasses
import os

import pytest

from alignfed.errors import StoreCorrupt, UploadStalled
from coordinator.backends.redis.blobs import OPENING_SECONDS
from coordinator.backends.redis.keys import blob_key
from coordinator.backends.redis.parts import FOLDER_FIELD
from coordinator.backends.redis.store import RedisStore
from coordinator.ports import Store
from tests.support.owners import stored_blobs
from tests.support.stores import (
    NOW,
    PART_BYTES,
    has_blob,
    new_delta,
    receipt_of,
    seed_federation,
    store_blob,
    submit,
    unique,
)


@pytest.fixture
async def federation(store: Store) -> str:
    return (await seed_federation(store)).federation


async def test_binary_parts_read_back_as_they_were(store: Store, federation: str) -> None:
    parts = [bytes(range(256)) * 4, b"\r\n\x00\xff", os.urandom(3 * PART_BYTES)]
    blob_id = unique("blob")
    await store.blobs.begin(federation, blob_id, at=NOW)
    for index in (2, 0, 1):
        await store.blobs.put_part(blob_id, index, parts[index])
    await store.blobs.put_part(blob_id, 1, parts[1])

    assert [await store.blobs.get_part(blob_id, index) for index in range(3)] == parts


async def test_a_missing_part_is_an_error_that_names_it(store: Store, federation: str) -> None:
    blob = await store_blob(store, federation)
    with pytest.raises(StoreCorrupt, match=f"part 7 .*{blob.blob_id}"):
        await store.blobs.get_part(blob.blob_id, 7)


@pytest.mark.parametrize(
    ("stored", "without_gap"), [((), 0), ((0, 1), 2), ((1, 2), 0), ((0, 1, 3), 2), ((0, 1, 2, 3), 4)]
)
async def test_resumption_counts_parts_up_to_the_first_gap(
    store: Store, federation: str, stored: tuple[int, ...], without_gap: int
) -> None:
    blob_id = unique("blob")
    await store.blobs.begin(federation, blob_id, at=NOW)
    for index in stored:
        await store.blobs.put_part(blob_id, index, b"x")

    assert await store.blobs.stored_parts(blob_id, 4) == without_gap
    assert await store.blobs.stored_parts(blob_id, 1) == min(without_gap, 1)


async def test_the_sweep_takes_unclaimed_blobs_that_are_old_enough_and_no_others(store: Store, federation: str) -> None:
    old, new = await store_blob(store, federation, at=NOW), await store_blob(store, federation, at=NOW + 10)

    assert await store.blobs.sweep(federation, unclaimed_before=NOW + 10) == 1
    assert not await has_blob(store, old)
    assert await has_blob(store, new)
    assert await store.blobs.sweep(federation, unclaimed_before=NOW + 10) == 0


async def test_beginning_again_renews_the_lifetime(store: Store, federation: str) -> None:
    blob = await store_blob(store, federation, at=NOW)
    await store.blobs.begin(federation, blob.blob_id, at=NOW + 10)
    await store.blobs.begin(federation, blob.blob_id, at=NOW + 5)

    assert await store.blobs.sweep(federation, unclaimed_before=NOW + 10) == 0
    assert await has_blob(store, blob)


async def test_more_blobs_than_one_batch_are_swept_in_one_call(store: Store, federation: str) -> None:
    blobs = [await store_blob(store, federation, b"x") for _ in range(450)]
    assert await store.blobs.sweep(federation, unclaimed_before=NOW + 1) == 450
    assert not await has_blob(store, blobs[-1])


async def test_deleting_is_repeatable_and_allows_a_fresh_start(store: Store, federation: str) -> None:
    blob = await store_blob(store, federation)
    await store.blobs.delete(federation, blob.blob_id)
    await store.blobs.delete(federation, blob.blob_id)
    assert await store.blobs.stored_parts(blob.blob_id, blob.parts) == 0

    await store_blob(store, federation, blob_id=blob.blob_id)
    assert await has_blob(store, blob)


async def test_parts_that_come_too_late_are_refused_and_leave_nothing(store: Store, federation: str) -> None:
    swept, deleted, unbegun = await store_blob(store, federation), await store_blob(store, federation), unique("blob")
    await store.blobs.sweep(federation, unclaimed_before=NOW + 1)
    await store.blobs.delete(federation, deleted.blob_id)

    for blob_id in (swept.blob_id, deleted.blob_id, unbegun):
        with pytest.raises(UploadStalled, match=f"{blob_id}.*again from the start"):
            await store.blobs.put_part(blob_id, 1, b"late")
        assert blob_id not in await stored_blobs(store)

    await store.blobs.begin(federation, swept.blob_id, at=NOW)
    await store.blobs.put_part(swept.blob_id, 1, b"again")
    assert await store.blobs.get_part(swept.blob_id, 1) == b"again"
    assert await store.blobs.stored_parts(swept.blob_id, 2) == 0


async def test_a_blob_that_no_book_has_yet_goes_by_itself(store: Store, federation: str) -> None:
    """What is left of a beginning that was cut off before its federation's book had the blob."""
    if not isinstance(store, RedisStore):
        pytest.skip("in memory a beginning is one step")
    blob_id = unique("blob")
    await store._calls.script("open_blob", [blob_key(blob_id)], [FOLDER_FIELD, OPENING_SECONDS], federation=federation)
    assert 0 < await store._calls.command("TTL", blob_key(blob_id)) <= OPENING_SECONDS
    await store.blobs.begin(federation, blob_id, at=NOW)
    assert await store._calls.command("TTL", blob_key(blob_id)) == -1
    assert await store.blobs.sweep(federation, unclaimed_before=NOW + 1) == 1


async def test_a_queued_payload_survives_a_late_second_upload_its_deletion_and_every_sweep(
    store: Store, federation: str
) -> None:
    delta = await submit(store, federation)
    await store.blobs.begin(federation, delta.payload.blob_id, at=NOW - 1e6)  # a rival connection, still uploading
    await store.blobs.delete(federation, delta.payload.blob_id)  # which then fails its digest

    assert await store.blobs.sweep(federation, unclaimed_before=NOW + 1e9) == 0
    assert await has_blob(store, delta.payload)


async def test_a_delta_whose_payload_was_swept_is_not_acknowledged(store: Store, federation: str) -> None:
    delta = await new_delta(store, federation)
    await store.blobs.sweep(federation, unclaimed_before=NOW + 1)

    with pytest.raises(UploadStalled):
        await store.deltas.accept(delta)
    assert await store.deltas.receipt(federation, delta.delta_id) is None

    await store_blob(store, federation, blob_id=delta.payload.blob_id)
    await store.deltas.accept(delta)
    assert (await receipt_of(store, delta)).sha256 == delta.payload.sha256


async def test_one_payload_cannot_back_two_deltas(store: Store, federation: str) -> None:
    delta = await submit(store, federation)
    with pytest.raises(UploadStalled):
        await store.deltas.accept(dataclasses.replace(delta, delta_id=unique("delta")))
