"""Port `Leases`: one holder at a time, tokens that only grow, expiry."""

from __future__ import annotations

import asyncio

import pytest

from coordinator.backends.memory import MemoryStore
from coordinator.ports import Store
from tests.support.stores import seed_federation, take_lease
from tests.support.waiting import eventually


@pytest.fixture
async def federation(store: Store) -> str:
    return (await seed_federation(store)).federation


async def test_a_lease_has_one_holder_and_every_token_is_larger_than_all_before(store: Store, federation: str) -> None:
    first = await take_lease(store, federation, "worker-1")
    assert await store.leases.acquire(federation, "worker-2", ttl_seconds=60) is None
    again = await take_lease(store, federation, "worker-1")
    await store.leases.release(federation, "worker-1", again)
    second = await take_lease(store, federation, "worker-2")
    assert first < again < second


async def test_one_of_many_rivals_gets_the_lease(store: Store, federation: str) -> None:
    tokens = await asyncio.gather(
        *(store.leases.acquire(federation, f"worker-{number}", ttl_seconds=60) for number in range(20))
    )
    assert sum(token is not None for token in tokens) == 1


async def test_a_lease_that_is_not_renewed_ends_by_itself(store: Store, federation: str) -> None:
    token = await store.leases.acquire(federation, "worker-1", ttl_seconds=0.05)
    assert token is not None

    async def taken_over() -> bool:
        return await store.leases.acquire(federation, "worker-2", ttl_seconds=60) is not None

    await eventually(taken_over, what="the lease of 50 ms had ended", timeout_seconds=5)
    assert not await store.leases.renew(federation, "worker-1", token, ttl_seconds=60)


async def test_a_renewed_lease_stays_with_its_holder(store: Store, federation: str) -> None:
    token = await store.leases.acquire(federation, "worker:1", ttl_seconds=0.2)
    assert token is not None
    assert await store.leases.renew(federation, "worker:1", token, ttl_seconds=60)
    expired_otherwise = asyncio.get_running_loop().time() + 0.25

    async def old_end_has_passed() -> bool:
        return asyncio.get_running_loop().time() > expired_otherwise

    await eventually(old_end_has_passed, what="the first time to live had passed")
    assert await store.leases.acquire(federation, "worker-2", ttl_seconds=60) is None


async def test_only_the_newest_token_of_the_holder_renews_or_releases(store: Store, federation: str) -> None:
    old = await take_lease(store, federation, "worker-1")
    token = await take_lease(store, federation, "worker-1")
    assert not await store.leases.renew(federation, "worker-1", old, ttl_seconds=60)
    assert not await store.leases.renew(federation, "worker-2", token, ttl_seconds=60)
    assert await store.leases.renew(federation, "worker-1", token, ttl_seconds=60)

    await store.leases.release(federation, "worker-1", old)
    await store.leases.release(federation, "worker-2", token)
    assert await store.leases.acquire(federation, "worker-2", ttl_seconds=60) is None
    await store.leases.release(federation, "worker-1", token)
    await store.leases.release(federation, "worker-1", token)
    assert await store.leases.acquire(federation, "worker-2", ttl_seconds=60) is not None


class SteppedClock:
    """A clock that a test moves by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


async def test_the_memory_backend_ends_leases_by_the_injected_clock() -> None:
    clock = SteppedClock()
    store = MemoryStore(clock)
    federation = (await seed_federation(store)).federation
    await store.leases.acquire(federation, "worker-1", ttl_seconds=10)
    clock.seconds = 9.99
    assert await store.leases.acquire(federation, "worker-2", ttl_seconds=10) is None
    clock.seconds = 10.0
    assert await store.leases.acquire(federation, "worker-2", ttl_seconds=10) is not None
