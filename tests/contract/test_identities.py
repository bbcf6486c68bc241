"""Port `Identities`: who may join, under which key, and who is shut out."""

from __future__ import annotations

import asyncio
import dataclasses
import time

import pytest

from coordinator.domain import JoinGrant, Redemption
from coordinator.ports import Store
from coordinator.ports.feed import IDENTITIES_CHANGED
from tests.contract.test_feed import hear
from tests.support.stores import new_agent, seed_federation, unique
from tests.support.waiting import eventually

KEY, OTHER_KEY, THIRD_KEY = "a" * 64, "b" * 64, "c" * 64


def grant(**changes: object) -> JoinGrant:
    now = time.time()
    made = JoinGrant(
        token_id=unique("token"),
        secret_sha256="5" * 64,
        agent=unique("agent"),
        federations=("demo", "other"),
        uses=1,
        created_at=now,
        expires_at=now + 3600,
        created_by="alice",
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


async def test_a_grant_is_kept_as_it_was_made(store: Store) -> None:
    made = grant(uses=3)
    await store.identities.grant(made)
    await store.identities.grant(made)
    assert await store.identities.granted(made.token_id) == made
    (state,) = [it for it in await store.identities.grants() if it.grant.token_id == made.token_id]
    assert (state.grant, state.uses_left) == (made, 3)
    assert await store.identities.granted(unique("token")) is None


async def test_a_grant_ends_with_its_time(store: Store) -> None:
    made = grant(expires_at=time.time() + 0.2)
    await store.identities.grant(made)

    async def gone() -> bool:
        return await store.identities.granted(made.token_id) is None

    await eventually(gone, what="the grant has expired")
    assert made.token_id not in {state.grant.token_id for state in await store.identities.grants()}
    assert await store.identities.redeem(made, made.agent, KEY) is Redemption.UNKNOWN


async def test_one_use_is_for_one_key_however_often_it_asks(store: Store) -> None:
    made = grant()
    await store.identities.grant(made)
    assert await store.identities.redeem(made, made.agent, KEY) is Redemption.GRANTED
    assert await store.identities.redeem(made, made.agent, KEY) is Redemption.GRANTED
    assert await store.identities.redeem(made, made.agent, OTHER_KEY) is Redemption.SPENT


async def test_as_many_may_join_as_the_grant_says_even_at_once(store: Store) -> None:
    beginning = unique("site")
    made = grant(agent=f"{beginning}*", uses=3)
    await store.identities.grant(made)
    outcomes = await asyncio.gather(*(store.identities.redeem(made, f"{beginning}-{i}", f"{i}" * 64) for i in range(8)))
    assert sorted(outcomes) == [Redemption.GRANTED] * 3 + [Redemption.SPENT] * 5


async def test_a_grant_for_many_gives_nobodys_id_to_another_key(store: Store) -> None:
    beginning = unique("site")
    made = grant(agent=f"{beginning}*", uses=3)
    await store.identities.grant(made)
    assert await store.identities.redeem(made, f"{beginning}-1", KEY) is Redemption.GRANTED
    assert await store.identities.redeem(made, f"{beginning}-1", OTHER_KEY) is Redemption.TAKEN
    again = grant(agent=f"{beginning}*", uses=3)
    await store.identities.grant(again)
    assert await store.identities.redeem(again, f"{beginning}-1", OTHER_KEY) is Redemption.TAKEN


async def test_a_grant_for_one_agent_replaces_its_key_and_shuts_the_old_one_out(store: Store) -> None:
    first = grant()
    await store.identities.grant(first)
    await store.identities.redeem(first, first.agent, KEY)
    second = grant(agent=first.agent, uses=2)
    await store.identities.grant(second)

    async with store.feed.subscribe() as changes:
        assert await store.identities.redeem(second, first.agent, OTHER_KEY) is Redemption.GRANTED
        await hear(changes, IDENTITIES_CHANGED)
    assert f"key:{KEY}" in await store.identities.revoked()
    assert await store.identities.redeem(first, first.agent, KEY) is Redemption.SPENT, (
        "an old answer is not given again"
    )


async def test_a_withdrawn_grant_lets_nobody_in(store: Store) -> None:
    made = grant()
    await store.identities.grant(made)
    await store.identities.withdraw(made.token_id)
    await store.identities.withdraw(made.token_id)
    assert await store.identities.granted(made.token_id) is None
    assert await store.identities.redeem(made, made.agent, KEY) is Redemption.UNKNOWN


async def test_revocations_are_kept_and_announced(store: Store) -> None:
    principal = f"agent:{unique('agent')}"
    async with store.feed.subscribe() as changes:
        await store.identities.revoke(principal)
        await hear(changes, IDENTITIES_CHANGED)
    await store.identities.revoke(principal)
    assert principal in await store.identities.revoked()


async def test_a_federations_revoked_agents_are_told_and_announced(store: Store) -> None:
    federation = (await seed_federation(store)).federation
    agent = new_agent(unique("agent"))
    await store.agents.register(federation, agent)
    assert agent.agent_id not in await store.agents.revoked(federation)
    async with store.feed.subscribe() as changes:
        await store.agents.revoke(federation, agent.agent_id)
        await hear(changes, federation)
    assert await store.agents.revoked(federation) == {agent.agent_id}


@pytest.mark.parametrize(
    ("pattern", "agent_id", "admitted"),
    [
        ("lab-1", "lab-1", True),
        ("lab-1", "lab-11", False),
        ("lab-*", "lab-11", True),
        ("lab-*", "other", False),
        ("*", "any", True),
    ],
)
def test_a_grant_admits_its_agents(pattern: str, agent_id: str, admitted: bool) -> None:
    assert grant(agent=pattern).admits(agent_id) is admitted
