"""Port `Agents`: registration is repeatable, revocation is for good."""

from __future__ import annotations

import dataclasses

import pytest

from alignfed.errors import UnknownAgent
from coordinator.ports import Store
from tests.support.stores import NOW, new_agent, seed_federation


@pytest.fixture
async def federation(store: Store) -> str:
    return (await seed_federation(store, agents=())).federation


async def test_an_agent_reads_back_as_it_registered(store: Store, federation: str) -> None:
    agent = dataclasses.replace(
        new_agent("edge-7"), device="cuda:A10", software_version="0.1.0", tier="fast", examples=1234
    )
    assert await store.agents.register(federation, agent) == agent
    assert await store.agents.get(federation, "edge-7") == agent


async def test_registering_again_refreshes_capabilities_and_keeps_history(store: Store, federation: str) -> None:
    await store.agents.register(federation, new_agent())
    await store.agents.revoke(federation, "agent-1")
    again = dataclasses.replace(new_agent(registered_at=NOW + 60), device="cuda")

    expected = dataclasses.replace(again, registered_at=NOW, revoked=True)
    assert await store.agents.register(federation, again) == expected
    assert await store.agents.get(federation, "agent-1") == expected


async def test_an_unknown_agent_is_refused(store: Store, federation: str) -> None:
    with pytest.raises(UnknownAgent, match="ghost"):
        await store.agents.get(federation, "ghost")
    with pytest.raises(UnknownAgent, match="ghost"):
        await store.agents.revoke(federation, "ghost")


async def test_revoking_twice_is_the_same_as_once(store: Store, federation: str) -> None:
    await store.agents.register(federation, new_agent())
    await store.agents.revoke(federation, "agent-1")
    await store.agents.revoke(federation, "agent-1")
    assert (await store.agents.get(federation, "agent-1")).revoked


async def test_the_time_last_seen_moves_forward_only_and_ghosts_stay_unknown(store: Store, federation: str) -> None:
    await store.agents.register(federation, new_agent("agent-1"))
    await store.agents.register(federation, new_agent("agent-2"))
    await store.agents.seen(federation, {"agent-1": NOW + 5.125, "agent-2": NOW - 5, "ghost": NOW})

    seen = {agent.agent_id: agent.last_seen_at for agent in await store.agents.list(federation)}
    assert seen == {"agent-1": NOW + 5.125, "agent-2": NOW}


async def test_a_thousand_agents_are_seen_in_one_call(store: Store, federation: str) -> None:
    names = [f"agent-{number:04}" for number in range(1000)]
    for name in names[::100]:
        await store.agents.register(federation, new_agent(name))
    await store.agents.seen(federation, dict.fromkeys(names, NOW + 9))

    listed = await store.agents.list(federation)
    assert [agent.agent_id for agent in listed] == names[::100]
    assert {agent.last_seen_at for agent in listed} == {NOW + 9}


async def test_contributions_are_empty_before_anything_was_settled(store: Store, federation: str) -> None:
    await store.agents.register(federation, new_agent())
    assert await store.agents.contributions(federation) == {}
