"""The leak check: everything in a store belongs to something that will let go of it one day.

A payload belongs to the list of unclaimed blobs (which the sweep ends) or to the list of adopted ones (which retention
ends); every other key belongs to a federation or to the deployment's identities, or expires by itself, as a lease, a
join grant and what a restore puts aside must. Where payloads are objects, a blob's record names the folder of its own.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Any

from coordinator.backends.memory import MemoryStore
from coordinator.backends.objects.objects import Objects
from coordinator.backends.objects.orphans import STEP_OBJECTS, folders_without_record, sweep_orphans
from coordinator.backends.redis.calls import Calls
from coordinator.backends.redis.federations import known_names
from coordinator.backends.redis.keys import NAMES, PAYLOADS_PLACE, PREFIX, FederationKeys, IdentityKeys
from coordinator.backends.redis.store import RedisStore
from coordinator.ports import Store

BLOB_PREFIX = f"{PREFIX}blob:"
SCAN_COUNT = 2000
NO_EXPIRY = -1
"""What PTTL answers for a key that exists and does not expire."""

BEFORE_CREATION = {"unclaimed", "lifetimes"}
"""What a federation may own before its creation is complete; its name is on record, so sweeps find it."""


async def stored_blobs(store: Store) -> set[str]:
    """Return the ids of all blobs of which any part is stored."""
    if isinstance(store, MemoryStore):
        return set(store._state.parts)
    keys = await _all_keys(_calls(store))
    return {key.removeprefix(BLOB_PREFIX) for key in keys if key.startswith(BLOB_PREFIX)}


async def unowned(store: Store) -> set[str]:
    """Return what the store keeps although nothing owns it: blob ids in memory, keys on a server."""
    if isinstance(store, MemoryStore):
        books = store._state.books.values()
        return set(store._state.parts) - {blob for book in books for blob in (*book.unclaimed, *book.kept_until)}
    suspects = await _unowned(store)
    return suspects & await _unowned(store) if suspects else suspects  # one may have been begun meanwhile


async def unowned_folders(store: Store) -> set[str]:
    """Return the folders of objects that no record of a blob names."""
    assert isinstance(store, RedisStore)
    if store._objects is None:
        return set()
    return set(await folders_without_record(store._calls, [name async for name in stored_folders(store._objects)]))


async def search_for_orphans(store: Store) -> None:
    """Delete what crashes have left among objects, as workers do step by step, but all of it at once."""
    if isinstance(store, RedisStore) and store._objects is not None:
        for _ in range(1 + len([name async for name in stored_folders(store._objects)]) // STEP_OBJECTS + 1):
            await sweep_orphans(store._calls, store._objects, before=math.inf, turn_seconds=0)


async def stored_folders(objects: Objects) -> AsyncIterator[str]:
    """Yield the names of all folders."""
    after = ""
    while found := await objects.folders(after=after, limit=SCAN_COUNT):
        for folder in found:
            yield folder.name
        after = found[-1].name


async def _unowned(store: Store) -> set[str]:
    return await _unowned_keys(_calls(store)) | await unowned_folders(store)


async def _unowned_keys(calls: Calls) -> set[str]:
    keys = await _all_keys(calls)  # first: what is adopted meanwhile is owned when the owners are read
    owned = {NAMES, PAYLOADS_PLACE, IdentityKeys.grants, IdentityKeys.agents, IdentityKeys.revoked}
    for name, created in await known_names(calls):
        named = FederationKeys(name)
        owned |= {key for owner, key in vars(named).items() if created or owner in BEFORE_CREATION}
        for listing in (named.unclaimed, named.lifetimes):
            owned |= {f"{BLOB_PREFIX}{blob.decode()}" for blob in await calls.command("ZRANGE", listing, 0, -1)}
        if await calls.command("PTTL", named.lease) == NO_EXPIRY:
            owned.discard(named.lease)
    return {key for key in keys - owned if await calls.command("PTTL", key) == NO_EXPIRY}  # others are gone, or will be


async def keep_without_owner(store: Store, blob_id: str) -> None:
    """Put a part of a payload into the store that nothing owns: what the leak check is there to find."""
    if isinstance(store, MemoryStore):
        store._state.parts[blob_id] = {0: b"x"}
    else:
        await _calls(store).command("HSET", f"{BLOB_PREFIX}{blob_id}", 0, b"x")


def _calls(store: Store) -> Calls:
    assert isinstance(store, RedisStore), f"no leak check for {type(store).__name__}"
    return store._calls


async def _all_keys(calls: Calls) -> set[str]:
    client: Any = calls.client
    return {key.decode() async for key in client.scan_iter(match=f"{PREFIX}*", count=SCAN_COUNT)}
