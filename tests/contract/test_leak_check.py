"""The leak check that every contract test ends with: it sees what nothing owns, and nothing else."""

from __future__ import annotations

import pytest

from coordinator.backends.redis.keys import FederationKeys
from coordinator.backends.redis.store import RedisStore
from coordinator.ports import Store
from tests.support.owners import stored_blobs, unowned
from tests.support.stores import NOW, publish, seed_federation, submit, take_lease, unique


async def test_a_part_of_a_blob_that_was_never_begun_is_a_leak_until_it_is(store: Store) -> None:
    federation = (await seed_federation(store)).federation
    await submit(store, federation)
    await publish(store, federation)
    before = await unowned(store)
    blob_id = unique("blob")

    await store.blobs.put_part(blob_id, 0, b"x")
    (leaked,) = await unowned(store) - before
    assert leaked.endswith(blob_id)
    assert blob_id in await stored_blobs(store)
    await store.blobs.begin(federation, blob_id, at=NOW)
    assert await unowned(store) == before


async def test_a_lease_without_an_end_is_a_leak(store: Store) -> None:
    if not isinstance(store, RedisStore):
        pytest.skip("leases in memory have an end by their type")
    federation = (await seed_federation(store)).federation
    await take_lease(store, federation)
    lease = FederationKeys(federation).lease
    await store._calls.command("PERSIST", lease)
    assert lease in await unowned(store)
    await store._calls.command("PEXPIRE", lease, 60_000)
    assert lease not in await unowned(store)
