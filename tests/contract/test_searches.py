"""What operators ask a store for: deltas by the start of an id, places, unfinished uploads, leaders, servers."""

from __future__ import annotations

import time

import pytest

from alignfed.errors import UnknownFederation
from coordinator.ports import Store
from tests.support.stores import new_delta, publish, seed_federation, store_blob, submit, take_lease, unique


async def test_ids_are_found_by_their_beginning(store: Store) -> None:
    name = (await seed_federation(store)).federation
    first = unique("a1")
    wanted = sorted([f"{first}-x", f"{first}-y", f"{first}-z"])
    for delta_id in [*wanted, unique("b2")]:
        await store.deltas.accept(await new_delta(store, name, delta_id=delta_id))
    assert await store.deltas.known_ids(name, f"{first}-", limit=10) == wanted
    assert len(await store.deltas.known_ids(name, f"{first}-", limit=2)) == 2
    assert await store.deltas.known_ids(name, "a*", limit=10) == []
    assert await store.deltas.known_ids(name, "zz", limit=10) == []


async def test_a_place_counts_from_the_oldest_and_tells_who_claimed_it_and_how_often_it_was_tried(store: Store) -> None:
    name = (await seed_federation(store)).federation
    first, second, third = [await submit(store, name) for _ in range(3)]
    token = await take_lease(store, name)
    claimed = await store.deltas.claim(name, "worker-1", limit=2)
    await store.deltas.count_attempt(name, "worker-1", claimed[:1])

    places = [await store.deltas.place(name, delta.delta_id) for delta in (first, second, third)]
    assert [(it.place, it.claimed_by, it.attempts) for it in places if it] == [
        (1, "worker-1", 1), (2, "worker-1", 0), (3, None, 0),
    ]  # fmt: skip
    assert places[2] is not None
    assert places[2].delta == third

    await store.deltas.bury(name, token, claimed[0], detail="no", at=1.0)
    after = await store.deltas.place(name, second.delta_id)
    assert after is not None
    assert after.place == 1
    assert await store.deltas.place(name, first.delta_id) is None


async def test_a_settled_or_unknown_delta_has_no_place(store: Store) -> None:
    name = (await seed_federation(store)).federation
    version = await publish(store, name)
    assert version.merge is not None
    assert await store.deltas.place(name, version.merge.deltas[0].delta_id) is None
    assert await store.deltas.place(name, "never-sent") is None
    with pytest.raises(UnknownFederation):
        await store.deltas.place("nowhere", "never-sent")


async def test_unfinished_uploads_are_listed_until_they_are_adopted(store: Store) -> None:
    name = (await seed_federation(store)).federation
    delta = await new_delta(store, name)
    other = await store_blob(store, name, at=5.0)
    found = await store.blobs.unclaimed(name, containing=delta.payload.blob_id)
    assert set(found) == {delta.payload.blob_id}
    assert (await store.blobs.unclaimed(name, containing="blob-"))[other.blob_id] == 5.0
    assert await store.blobs.unclaimed(name, containing="*") == {}
    await store.deltas.accept(delta)
    assert await store.blobs.unclaimed(name, containing=delta.payload.blob_id) == {}


async def test_the_holder_of_a_lease_is_told_while_it_holds_it(store: Store) -> None:
    name = (await seed_federation(store)).federation
    assert await store.leases.holder(name) is None
    token = await take_lease(store, name, "worker-7")
    holder = await store.leases.holder(name)
    assert holder is not None
    assert (holder.worker_id, holder.token) == ("worker-7", token)
    assert 50 < holder.seconds_left <= 60
    await store.leases.release(name, "worker-7", token)
    assert await store.leases.holder(name) is None


async def test_every_server_describes_itself(store: Store) -> None:
    servers = await store.inspect()
    assert servers
    for server in servers:
        assert server.software
        assert server.eviction_policy == "noeviction"
        assert abs(server.now - time.time()) < 5
        assert not server.append_failing
