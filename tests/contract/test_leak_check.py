"""The leak check that every contract test ends with: it sees what nothing owns, and nothing else."""

from __future__ import annotations

import pytest

from coordinator.backends.redis.keys import FederationKeys
from coordinator.backends.redis.store import RedisStore
from coordinator.backends.urls import open_store
from coordinator.ports import Store
from tests.support.owners import keep_without_owner, stored_blobs, unowned
from tests.support.stores import NOW, publish, seed_federation, submit, take_lease, unique


async def test_a_payload_that_no_book_has_is_a_leak_until_one_has(store: Store) -> None:
    federation = (await seed_federation(store)).federation
    await submit(store, federation)
    await publish(store, federation)
    before = await unowned(store)
    blob_id = unique("blob")

    await keep_without_owner(store, blob_id)
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


async def test_every_test_that_closes_a_store_passes_through_the_check(
    store_url: str, blob_url: str, leaks_found: set[str]
) -> None:
    if store_url == "memory://":
        pytest.skip("what is in memory ends with the test")
    opened = open_store(store_url, blob_url=blob_url)
    federation = (await seed_federation(opened)).federation
    blob_id = unique("blob")
    await keep_without_owner(opened, blob_id)
    await opened.close()
    (leaked,) = (key for key in leaks_found if key.endswith(blob_id))
    leaks_found.remove(leaked)

    opened = open_store(store_url, blob_url=blob_url)
    await opened.blobs.begin(federation, blob_id, at=NOW)
    await opened.close()
