"""The worker on a store: every delta ends in exactly one version or with a reason, whatever happens to the worker."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from alignfed.codec import Factors
from alignfed.plan import Buffer, FederationPlan
from coordinator.algo.aggregate import replay
from coordinator.backends.memory import MemoryStore
from coordinator.domain import DeltaState
from tests.support.factors import A, create_federation, filled, merging_plan, send_delta
from tests.support.stores import open_memory_store, receipt_of
from tests.support.waiting import eventually
from tests.support.watched_store import WatchedStore
from tests.support.workers import LEASE_SECONDS, adapter_of, merge_queue, new_aggregator, running_worker, settled


class JudgeByDistance:
    """A calibration set whose loss is 1 plus the distance of the adapter's elements from 0.5."""

    can_judge = True

    def for_version(self, _number: int) -> JudgeByDistance:
        return self

    def judge_loss(self, factors: Factors) -> float:
        return 1.0 + float((factors[A] - 0.5).abs().mean())


async def test_a_full_buffer_becomes_a_version_with_every_delta_in_it_once() -> None:
    store, plan = open_memory_store(), merging_plan()
    await create_federation(store, plan, "agent-1", "agent-2")
    deltas = [await send_delta(store, plan, value, agent_id=f"agent-{i}") for i, value in ((1, 1.0), (2, 3.0))]
    async with running_worker(store) as metrics:
        await settled(store, *deltas)
    version = await store.versions.get(plan.federation, 1)
    assert version.merge is not None
    assert {d.delta_id for d in version.merge.deltas} == {d.delta_id for d in deltas}
    assert torch.allclose((await adapter_of(store, plan, 1))[A], torch.full((2, 8), 2.0))
    for delta in deltas:
        assert (await receipt_of(store, delta)).version == version.id
    assert metrics.merges.labels(plan.federation, "committed")._value.get() == 1
    assert (await store.deltas.depth(plan.federation)).queued == 0


async def test_a_version_is_derived_again_from_its_record_bit_for_bit() -> None:
    store, plan = open_memory_store(), merging_plan()
    await create_federation(store, plan, "agent-1", "agent-2", start=0.25)
    values = {}
    for agent, value in (("agent-1", 0.3), ("agent-2", -0.7)):
        values[(await send_delta(store, plan, value, agent_id=agent)).delta_id] = value
    async with running_worker(store):
        await eventually(lambda: _head_is(store, plan, 1), what="version 1 is published")
    record = (await store.versions.get(plan.federation, 1)).merge
    assert record is not None

    def load(delta_id: str) -> Factors:
        return {name: tensor.bfloat16().float() for name, tensor in filled(values[delta_id]).items()}

    again = replay(await adapter_of(store, plan, 0), record, load)
    published = await adapter_of(store, plan, 1)
    assert all(torch.equal(again[name], published[name]) for name in published)


async def _head_is(store: MemoryStore, plan: FederationPlan, number: int) -> bool:
    return (await store.versions.head(plan.federation)).id.number == number


async def test_a_partial_buffer_merges_after_its_timeout() -> None:
    store, plan = open_memory_store(), merging_plan(buffer=Buffer(size=8, timeout_seconds=0.5))
    await create_federation(store, plan, "agent-1")
    delta = await send_delta(store, plan, 1.0)
    async with running_worker(store):
        await settled(store, delta)
    assert (await receipt_of(store, delta)).state is DeltaState.MERGED


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"value": math.nan}, "NON_FINITE"),
        ({"value": 1.0, "damage": True}, "PAYLOAD_DIGEST_MISMATCH"),
    ],
)
async def test_a_faulty_delta_is_rejected_with_its_reason_and_the_others_merge(
    fault: dict[str, Any], reason: str
) -> None:
    store, plan = open_memory_store(), merging_plan()
    await create_federation(store, plan, "agent-1", "agent-2")
    bad = await send_delta(store, plan, **fault)
    good = await send_delta(store, plan, 2.0, agent_id="agent-2")
    async with running_worker(store):
        await settled(store, bad, good)
    assert (await receipt_of(store, bad)).reason == reason
    assert (await receipt_of(store, good)).state is DeltaState.MERGED
    assert torch.allclose((await adapter_of(store, plan, 1))[A], torch.full((2, 8), 2.0))


async def test_deltas_of_a_revoked_agent_or_a_rolled_back_version_are_rejected_at_the_merge() -> None:
    store, plan = open_memory_store(), merging_plan()
    await create_federation(store, plan, "agent-1", "agent-2")
    first = [await send_delta(store, plan, 1.0), await send_delta(store, plan, 1.0, agent_id="agent-2")]
    async with running_worker(store):
        await settled(store, *first)
    stale = await send_delta(store, plan, 1.0, agent_id="agent-2")  # trained from version 1
    revoked = await send_delta(store, plan, 1.0)
    await store.versions.roll_back(plan.federation, 0, at=0.0)
    await store.agents.revoke(plan.federation, "agent-1")
    async with running_worker(store, worker_id="worker-2"):
        await settled(store, stale, revoked)
    assert (await receipt_of(store, stale)).reason == "BASE_VERSION_OTHER_BRANCH"
    assert (await receipt_of(store, revoked)).reason == "AGENT_REVOKED"


async def test_a_candidate_that_makes_the_loss_jump_is_not_published() -> None:
    store, plan = open_memory_store(), merging_plan(judge_rows=1)
    await create_federation(store, plan, "agent-1", "agent-2", start=0.5)
    bad = [await send_delta(store, plan, 9.0), await send_delta(store, plan, 9.0, agent_id="agent-2")]
    async with running_worker(store, probe=JudgeByDistance()) as metrics:
        await settled(store, *bad)
        assert await _head_is(store, plan, 0)
        good = [await send_delta(store, plan, 0.01), await send_delta(store, plan, 0.01, agent_id="agent-2")]
        await settled(store, *good)
    assert {(await receipt_of(store, delta)).reason for delta in bad} == {"CANDIDATE_GATED"}
    assert "jump" in (await receipt_of(store, bad[0])).detail
    assert await _head_is(store, plan, 1)
    assert metrics.merges.labels(plan.federation, "gated")._value.get() == 1


async def test_the_next_worker_finishes_what_a_dead_one_had_claimed_exactly_once() -> None:
    store, plan = open_memory_store(), merging_plan()
    await create_federation(store, plan, "agent-1", "agent-2")
    deltas = [await send_delta(store, plan, 1.0), await send_delta(store, plan, 3.0, agent_id="agent-2")]
    assert await store.leases.acquire(plan.federation, "dead", ttl_seconds=LEASE_SECONDS)
    assert len(await store.deltas.claim(plan.federation, "dead", limit=2)) == 2
    async with running_worker(store, worker_id="heir") as metrics:
        await settled(store, *deltas)
    assert torch.allclose((await adapter_of(store, plan, 1))[A], torch.full((2, 8), 2.0))
    assert metrics.redeliveries.labels(plan.federation)._value.get() == 2


async def test_a_paused_federation_merges_nothing_until_it_is_resumed() -> None:
    store, plan = open_memory_store(), merging_plan()
    await create_federation(store, plan, "agent-1", "agent-2")
    await store.federations.set_paused(plan.federation, True)
    async with running_worker(store):
        deltas = [await send_delta(store, plan, 1.0), await send_delta(store, plan, 1.0, agent_id="agent-2")]

        async def claimed() -> bool:
            return (await store.deltas.depth(plan.federation)).pending == 2

        await eventually(claimed, what="the worker has claimed both deltas")
        assert await _head_is(store, plan, 0)
        await store.federations.set_paused(plan.federation, False)
        await settled(store, *deltas)
    assert await _head_is(store, plan, 1)


async def test_fleet_figures_are_exported_by_the_leader_and_dropped_when_it_stops() -> None:
    store, plan = open_memory_store(), merging_plan()
    await create_federation(store, plan, "agent-1", "agent-2")
    await store.agents.seen(plan.federation, {"agent-1": 4e9, "agent-2": 4e9})
    deltas = [await send_delta(store, plan, 1.0), await send_delta(store, plan, 1.0)]
    async with running_worker(store) as metrics:
        await settled(store, *deltas)

        async def shown() -> bool:
            value = metrics.registry.get_sample_value("alignfed_global_version", {"federation": plan.federation})
            return value == 1

        await eventually(shown, what="the head's number is exported")
        labels = {"federation": plan.federation, "window": "1h"}
        assert metrics.registry.get_sample_value("alignfed_participation_jain_ratio", labels) == pytest.approx(0.5)
        assert metrics.registry.get_sample_value("alignfed_unserved_agents_ratio", labels) == pytest.approx(0.5)
    assert metrics.registry.get_sample_value("alignfed_global_version", {"federation": plan.federation}) is None


STALENESS_AND_FAIRNESS = {
    "alignfed_delta_staleness_versions_count": {"stage": "merge"},
    "alignfed_delta_staleness_seconds_count": {},
    "alignfed_delta_end_to_end_seconds_count": {},
    "alignfed_staleness_weight_ratio_count": {"staleness": "0"},
    "alignfed_version_group_size_count": {},
    "alignfed_alignment_cosine_ratio_count": {"staleness": "0"},
    "alignfed_alignment_duration_seconds_count": {},
    "alignfed_delta_norm_ratio_count": {},
    "alignfed_merge_duration_seconds_count": {"stage": "aggregate"},
    "alignfed_merges_total": {"outcome": "committed"},
    "alignfed_participation_jain_ratio": {"window": "1h"},
    "alignfed_participation_gini_ratio": {"window": "1h"},
    "alignfed_weight_jain_ratio": {"window": "1d"},
    "alignfed_weight_gini_ratio": {"window": "1d"},
    "alignfed_participation_top1pct_share_ratio": {},
    "alignfed_active_agents": {"window": "1h"},
    "alignfed_tier_weight_share_ratio": {"tier": "unnamed"},
    "alignfed_global_version_timestamp_seconds": {},
    "alignfed_lease_epoch": {},
}


async def test_the_figures_of_staleness_and_fairness_move_and_name_no_agent() -> None:
    store, plan = open_memory_store(), merging_plan()
    await create_federation(store, plan, "agent-1", "agent-2")
    await store.agents.seen(plan.federation, {"agent-1": 4e9, "agent-2": 4e9})
    async with running_worker(store) as metrics:
        initial = (await store.versions.head(plan.federation)).id
        for stale in (initial, None):
            deltas = [await send_delta(store, plan, 1.0, base=stale) for _ in range(3)]
            deltas.append(await send_delta(store, plan, 1.0, base=stale, agent_id="agent-2"))
            await settled(store, *deltas)

        def missing() -> list[str]:
            value = metrics.registry.get_sample_value
            return [
                name
                for name, labels in STALENESS_AND_FAIRNESS.items()
                if not value(name, {"federation": plan.federation, **labels})
            ]

        async def all_move() -> bool:
            return not missing()

        await eventually(all_move, what=f"these figures are above zero: {missing()}")
        stale_sum = metrics.registry.get_sample_value(
            "alignfed_delta_staleness_versions_sum", {"federation": plan.federation, "stage": "merge"}
        )
        assert stale_sum
        labels = {value for family in metrics.registry.collect() for s in family.samples for value in s.labels.values()}
        assert not {"agent-1", "agent-2"} & labels


async def test_a_large_merge_reads_each_base_version_once_not_once_for_each_delta() -> None:
    plan = merging_plan(buffer=Buffer(size=12))
    store = WatchedStore(open_memory_store())
    await create_federation(store, plan, "agent-1", "agent-2")
    base = (await store.versions.head(plan.federation)).id
    for number in range(12):
        await send_delta(store, plan, 1.0 + number, agent_id=f"agent-{1 + number % 2}", base=base)
    store.calls.clear()
    version = await merge_queue(store, plan, new_aggregator(store, plan))
    assert version.merge is not None
    assert len(version.merge.deltas) == 12
    assert store.calls["versions.get"] <= 4
