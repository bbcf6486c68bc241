"""Port `Deltas`: how many deltas of one agent wait, whatever takes them out of the queue."""

from __future__ import annotations

import pytest

from alignfed.errors import UnknownFederation
from coordinator.backends.redis import deltas as redis_deltas
from coordinator.domain import Rejection
from coordinator.ports import Store
from tests.support.stores import NOW, new_agent, publish, seed_federation, submit, take_lease, unique


@pytest.fixture
async def federation(store: Store) -> str:
    return (await seed_federation(store)).federation


async def test_deltas_of_each_agent_are_counted_for_itself(store: Store, federation: str) -> None:
    assert await store.deltas.waiting_of(federation, "agent-1") == 0
    first = await submit(store, federation)
    await submit(store, federation)
    await submit(store, federation, agent_id="agent-2")
    assert await store.deltas.waiting_of(federation, "agent-1") == 2
    assert await store.deltas.waiting_of(federation, "agent-2") == 1
    await store.deltas.accept(first)  # the same delta again is the same delta
    assert await store.deltas.waiting_of(federation, "agent-1") == 2


async def test_whatever_ends_the_wait_is_noticed(store: Store, federation: str) -> None:
    await submit(store, federation)
    await publish(store, federation)
    left = await store.deltas.waiting_of(federation, "agent-1")
    for _ in range(3):
        await submit(store, federation)
    token = await take_lease(store, federation)
    await store.deltas.claim(federation, "worker-1", limit=10)
    claimed = await store.deltas.reclaim(federation, "worker-1")
    mine = [queued for queued in claimed if queued.delta.agent_id == "agent-1"]
    assert await store.deltas.waiting_of(federation, "agent-1") == left + 3 == len(mine)  # claimed is not settled
    await store.deltas.reject(federation, token, [Rejection(queued=mine[0], reason="NON_FINITE", detail="NaN")])
    await store.deltas.bury(federation, token, mine[1], detail="gives up", at=NOW)
    assert await store.deltas.waiting_of(federation, "agent-1") == len(mine) - 2
    await submit(store, federation)
    assert await store.deltas.waiting_of(federation, "agent-1") == len(mine) - 1


async def test_an_agent_with_very_many_is_counted_up_to_a_bound(
    store: Store, federation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_deltas, "MAX_WAITING_KNOWN", 3)
    for _ in range(5):
        await submit(store, federation)
    assert 3 <= await store.deltas.waiting_of(federation, "agent-1") <= 5


async def test_agents_whose_names_begin_alike_are_told_apart(store: Store, federation: str) -> None:
    for agent_id in ("agent", "agent-1", "agent-10", "agent.1", "agent_1", "agentA"):
        await store.agents.register(federation, new_agent(agent_id))
        await submit(store, federation, agent_id=agent_id)
        assert await store.deltas.waiting_of(federation, agent_id) == 1
    assert await store.deltas.waiting_of(federation, "agent-2") == 0


async def test_an_unknown_federation_is_said_to_be(store: Store) -> None:
    with pytest.raises(UnknownFederation):
        await store.deltas.waiting_of(unique("nowhere"), "agent-1")
