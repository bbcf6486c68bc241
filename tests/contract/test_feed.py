"""Port `HeadFeed`: every change of head or pause state is announced to everybody who listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from coordinator.ports import Store
from tests.support.stores import NOW, publish, seed_federation


@pytest.fixture
async def federation(store: Store) -> str:
    return (await seed_federation(store)).federation


async def hear(changes: AsyncIterator[str], federation: str) -> None:
    """Wait until `federation` is announced, past late announcements of other tests (a Cluster's nodes relay them)."""
    async with asyncio.timeout(5):
        while await anext(changes) != federation:
            pass


async def test_commits_rollbacks_and_pauses_are_announced(store: Store, federation: str) -> None:
    async with store.feed.subscribe() as changes:
        await publish(store, federation)
        await hear(changes, federation)
        await store.federations.set_paused(federation, True)
        await hear(changes, federation)
        await store.versions.roll_back(federation, 0, at=NOW)
        await hear(changes, federation)


async def test_a_new_federation_is_announced(store: Store) -> None:
    async with store.feed.subscribe() as changes:
        name = (await seed_federation(store)).federation
        await hear(changes, name)


async def test_every_subscriber_hears_of_every_federation(store: Store, federation: str) -> None:
    other = (await seed_federation(store)).federation
    async with store.feed.subscribe() as first, store.feed.subscribe() as second:
        for name in (federation, other):
            await store.federations.set_paused(name, True)
            for changes in (first, second):
                await hear(changes, name)


async def test_a_subscription_can_be_left_while_it_waits(store: Store) -> None:
    async def listen() -> None:
        async with store.feed.subscribe() as changes:
            async for _ in changes:
                pass

    listener = asyncio.create_task(listen())
    done, _ = await asyncio.wait({listener}, timeout=0.1)
    assert not done
    listener.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listener


async def test_a_checked_store_can_be_closed_twice(store: Store) -> None:
    await store.check()
    await store.close()
    await store.close()
