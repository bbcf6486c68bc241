"""Several federations, several workers: leases are shared out, and nobody's federation waits for ever."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack

import pytest

from coordinator.ports import Store
from coordinator.worker import loop
from tests.support.stores import open_memory_store, seed_federation
from tests.support.waiting import eventually
from tests.support.workers import running_worker

FEDERATIONS = 4


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "DISCOVER_SECONDS", 0.05)


async def federations_of(store: Store) -> list[str]:
    return [(await seed_federation(store)).federation for _ in range(FEDERATIONS)]


async def leaders(store: Store, federations: list[str]) -> Counter[str]:
    holders = [await store.leases.holder(name) for name in federations]
    return Counter(holder.worker_id for holder in holders if holder is not None)


async def test_workers_share_the_federations_of_a_store() -> None:
    store = open_memory_store()
    federations = await federations_of(store)

    async def all_led() -> bool:
        return (await leaders(store, federations)).total() == FEDERATIONS

    async with running_worker(store, worker_id="worker-1"), running_worker(store, worker_id="worker-2"):
        await eventually(all_led, what="every federation is led")
        assert sorted((await leaders(store, federations)).values()) == [2, 2]


async def test_one_worker_alone_leads_them_all_and_takes_over_what_another_leaves() -> None:
    store = open_memory_store()
    federations = await federations_of(store)

    def led_by(worker_id: str) -> dict[str, int]:
        return {worker_id: FEDERATIONS}

    async def all_by_first() -> bool:
        return await leaders(store, federations) == led_by("worker-1")

    async def all_by_second() -> bool:
        return await leaders(store, federations) == led_by("worker-2")

    async with AsyncExitStack() as second:
        async with running_worker(store, worker_id="worker-1"):
            await eventually(all_by_first, what="one worker leads every federation")
            await second.enter_async_context(running_worker(store, worker_id="worker-2"))
        await eventually(all_by_second, what="the other worker leads what the first one left")
