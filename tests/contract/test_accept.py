"""Port `Deltas`, acceptance: durable, counted once, and refused for every wrong base or agent."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from alignfed.errors import (
    AgentRevoked,
    BaseVersionInFuture,
    BaseVersionOtherBranch,
    BaseVersionTooOld,
    BaseVersionUnknown,
    DeltaIdConflict,
    QueueFull,
    UnknownAgent,
    UnknownFederation,
)
from alignfed.plan import Retention
from coordinator.domain import DeltaState, Receipt
from coordinator.ports import Store
from tests.support.stores import (
    NOW,
    new_delta,
    new_plan,
    of_other_branch,
    publish,
    receipt_of,
    seed_federation,
    store_blob,
    submit,
    take_lease,
)


@pytest.fixture
async def federation(store: Store) -> str:
    return (await seed_federation(store)).federation


async def test_an_accepted_delta_has_a_receipt_and_can_be_claimed_as_it_was(store: Store, federation: str) -> None:
    delta = await new_delta(store, federation)
    receipt = await store.deltas.accept(delta)

    assert receipt == Receipt(
        delta_id=delta.delta_id,
        agent_id=delta.agent_id,
        state=DeltaState.QUEUED,
        sha256=delta.payload.sha256,
        accepted_at=delta.accepted_at,
    )
    assert await store.deltas.receipt(federation, delta.delta_id) == receipt
    (claimed,) = await store.deltas.claim(federation, "worker-1", limit=5)
    assert claimed.delta == delta


async def test_the_same_delta_again_gets_the_first_receipt_and_counts_once(store: Store, federation: str) -> None:
    delta = await new_delta(store, federation)
    first = await store.deltas.accept(delta)
    later = dataclasses.replace(delta, accepted_at=NOW + 99, payload=delta.payload)

    assert await store.deltas.accept(later) == first
    assert (await store.deltas.depth(federation)).queued == 1


async def test_a_hundred_parallel_acceptances_of_one_delta_are_one_entry(store: Store, federation: str) -> None:
    delta = await new_delta(store, federation)
    receipts = await asyncio.gather(*(store.deltas.accept(delta) for _ in range(100)))

    assert set(receipts) == {receipts[0]}
    assert (await store.deltas.depth(federation)).queued == 1
    assert len(await store.deltas.claim(federation, "worker-1", limit=10)) == 1


async def test_a_merged_delta_sent_again_is_told_so(store: Store, federation: str) -> None:
    delta = await submit(store, federation)
    version = await publish(store, federation)

    receipt = await store.deltas.accept(delta)
    assert (receipt.state, receipt.version) == (DeltaState.MERGED, version.id)
    assert (await store.deltas.depth(federation)).queued == 0


async def test_a_delta_id_cannot_be_used_for_other_content_or_by_another_agent(store: Store, federation: str) -> None:
    delta = await submit(store, federation)
    other = await new_delta(store, federation, delta_id=delta.delta_id)
    with pytest.raises(DeltaIdConflict, match="other content"):
        await store.deltas.accept(other)
    with pytest.raises(DeltaIdConflict, match="another agent"):
        await store.deltas.accept(dataclasses.replace(delta, agent_id="agent-2"))
    assert (await receipt_of(store, delta)).agent_id == "agent-1"


async def test_unknown_and_revoked_agents_are_refused(store: Store, federation: str) -> None:
    with pytest.raises(UnknownAgent, match="ghost"):
        await store.deltas.accept(await new_delta(store, federation, agent_id="ghost"))
    await store.agents.revoke(federation, "agent-2")
    with pytest.raises(AgentRevoked, match="agent-2"):
        await store.deltas.accept(await new_delta(store, federation, agent_id="agent-2"))
    assert (await store.deltas.depth(federation)).queued == 0


async def test_a_revoked_agent_still_learns_what_became_of_its_earlier_deltas(store: Store, federation: str) -> None:
    delta = await submit(store, federation)
    await store.agents.revoke(federation, "agent-1")
    assert (await store.deltas.accept(delta)).state is DeltaState.QUEUED


async def test_a_delta_for_an_unknown_federation_is_refused(store: Store, federation: str) -> None:
    delta = await new_delta(store, federation)
    with pytest.raises(UnknownFederation):
        await store.deltas.accept(dataclasses.replace(delta, federation="never-created"))


async def test_every_wrong_base_version_has_its_own_reason(store: Store) -> None:
    plan = await seed_federation(store, new_plan(retention=Retention(versions=2, delta_versions=0)))
    name = plan.federation
    first = (await store.versions.head(name)).id
    await publish(store, name)
    head = (await publish(store, name)).id

    async def send(**change: object) -> None:
        base = dataclasses.replace(head, **change)
        await store.deltas.accept(await new_delta(store, name, base=base))

    with pytest.raises(BaseVersionInFuture, match="head is version 2"):
        await send(number=3)
    with pytest.raises(BaseVersionUnknown):
        await send(number=-1)
    with pytest.raises(BaseVersionOtherBranch):
        await send(digest=of_other_branch(head).digest)
    with pytest.raises(BaseVersionOtherBranch):
        await send(epoch=head.epoch + 1)
    with pytest.raises(BaseVersionTooOld, match="older than version 1"):
        await store.deltas.accept(await new_delta(store, name, base=first))
    assert (await store.deltas.depth(name)).queued == 0


async def test_a_base_that_was_rolled_back_is_another_branch(store: Store, federation: str) -> None:
    abandoned = (await publish(store, federation)).id
    restored = await store.versions.roll_back(federation, 0, at=NOW)

    with pytest.raises(BaseVersionOtherBranch):
        await store.deltas.accept(await new_delta(store, federation, base=abandoned))
    await store.deltas.accept(await new_delta(store, federation, base=restored.id))


async def test_a_full_queue_refuses_and_keeps_the_payload_for_a_later_try(store: Store) -> None:
    plan = await seed_federation(store, new_plan(max_queue_deltas=2))
    name = plan.federation
    await submit(store, name)
    await submit(store, name)
    token = await take_lease(store, name)
    claimed = await store.deltas.claim(name, "worker-1", limit=1)
    late = await new_delta(store, name)

    with pytest.raises(QueueFull):
        await store.deltas.accept(late)
    assert await store.deltas.receipt(name, late.delta_id) is None

    await store.deltas.bury(name, token, claimed[0], detail="poison", at=NOW)
    await store.deltas.accept(late)
    assert (await store.deltas.depth(name)).queued == 2


async def test_many_agents_at_once_are_all_accepted_in_some_order(store: Store, federation: str) -> None:
    deltas = [await new_delta(store, federation, agent_id=f"agent-{1 + n % 2}") for n in range(50)]
    await asyncio.gather(*map(store.deltas.accept, deltas))

    claimed = await store.deltas.claim(federation, "worker-1", limit=100)
    assert {queued.delta.delta_id for queued in claimed} == {delta.delta_id for delta in deltas}


async def test_unicode_ids_and_awkward_names_are_just_text(store: Store, federation: str) -> None:
    odd = 'Δ:{x}|" \\ \n'
    delta = dataclasses.replace(
        await new_delta(store, federation, delta_id=odd), payload=await store_blob(store, federation)
    )
    await store.deltas.accept(delta)
    assert (await receipt_of(store, delta)).delta_id == odd
