"""Failpoints of the store: in front of every call of every port when armed, and not there at all otherwise."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

import pytest

from alignfed.errors import StoreFull, StoreUnreachable, UnknownFederation
from alignfed.failpoints import armed
from coordinator.backends.failing import failing_if_armed, store_places
from coordinator.backends.memory import MemoryStore
from coordinator.backends.opening import opened_store
from coordinator.ports import Store
from tests.support.stores import new_delta, receipt_of, seed_federation


async def test_without_a_setting_the_store_is_the_store_itself() -> None:
    async with opened_store("memory://") as store:
        assert type(store) is MemoryStore


async def test_an_error_before_a_call_leaves_it_out_and_one_after_it_hides_that_it_happened() -> None:
    with armed("store.deltas.accept.before=error@1; store.deltas.accept.after=error@1"):
        async with opened_store("memory://") as store:
            plan = await seed_federation(store)
            delta = await new_delta(store, plan.federation)
            with pytest.raises(StoreUnreachable, match=r"store\.deltas\.accept\.before"):
                await store.deltas.accept(delta)
            assert await store.deltas.receipt(plan.federation, delta.delta_id) is None
            with pytest.raises(StoreUnreachable, match=r"store\.deltas\.accept\.after"):
                await store.deltas.accept(delta)
            taken = await receipt_of(store, delta)
            assert await store.deltas.accept(delta) == taken
            assert (await store.deltas.depth(plan.federation)).queued == 1


async def test_answers_and_errors_of_the_store_itself_pass_through() -> None:
    with armed("store.versions.head.after=delay(0)"):
        async with opened_store("memory://") as store:
            plan = await seed_federation(store)
            assert (await store.versions.head(plan.federation)).id.number == 0
            with pytest.raises(UnknownFederation):
                await store.versions.head("nobody")


async def test_a_subscription_fails_before_it_begins_or_once_it_has() -> None:
    with armed("store.feed.subscribe.before=error@1; store.feed.subscribe.after=error(STORE_FULL)@1"):
        async with opened_store("memory://") as store:
            plan = await seed_federation(store)
            for expected in (StoreUnreachable, StoreFull):
                with pytest.raises(expected):
                    async with store.feed.subscribe():
                        pytest.fail("it was subscribed")
            async with store.feed.subscribe() as names:
                await store.federations.set_paused(plan.federation, True)
                assert await anext(names) == plan.federation


async def test_a_store_that_fails_at_its_check_is_waited_for() -> None:
    with armed("store.check.before=error@1"):
        async with opened_store("memory://", patience_seconds=20) as store:
            await store.check()
    with armed("store.check.before=error"), pytest.raises(StoreUnreachable, match="did not answer"):
        async with opened_store("memory://", patience_seconds=0):
            pytest.fail("it was opened")


async def test_every_method_of_every_port_can_fail() -> None:
    declared = {"store": Store} | {f"store.{name}": port for name, port in get_type_hints(Store).items()}
    methods = {
        f"{place}.{name}"
        for place, port in declared.items()
        for name, found in vars(port).items()
        if inspect.isfunction(found) and not name.startswith("_")
    }
    assert set(store_places()) == methods
    with armed("; ".join(f"{place}.before=error" for place in methods)):
        store = failing_if_armed(MemoryStore())
        for place in methods:
            with pytest.raises(StoreUnreachable, match=f"{place}.before"):
                await call(store, place)


async def call(store: Store, place: str) -> None:
    """Call a method of the store with nothing at all: it fails before anyone looks at its arguments."""
    method: Any = store
    for name in place.split(".")[1:]:
        method = getattr(method, name)
    if place == "store.feed.subscribe":
        async with method():
            return
    await method()
