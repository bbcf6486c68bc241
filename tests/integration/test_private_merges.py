"""Private federations over a real store: caps that hold over restarts, what is told, and the hold at the end."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import torch

from alignfed.codec import Factors
from alignfed.errors import PlanInvalid
from alignfed.plan import Aggregation, Buffer, FederationPlan
from alignfed.privacy.central import CentralPrivacy
from coordinator.algo.privacy.budget import epsilon_after
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.urls import open_store
from coordinator.domain import DeltaState
from coordinator.ports import Store
from coordinator.worker.privacy import as_private
from tests.support.factors import A, create_federation, merging_plan, send_delta
from tests.support.stores import NOW, receipt_of
from tests.support.waiting import eventually
from tests.support.workers import adapter_of, merge_queue, new_aggregator, running_worker, settled

PRIVACY = CentralPrivacy(noise_multiplier=1.0, clip_norm=0.1, delta=1e-3, max_epsilon=100.0, max_participations=2)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    with EmbeddedValkey(tmp_path / "store") as server:
        opened = open_store(server.url)
        yield opened
        await opened.close()


def private_plan(privacy: CentralPrivacy = PRIVACY, **changes: object) -> FederationPlan:
    plan = merging_plan(recipe="fedbuff", **changes)  # type: ignore[arg-type]
    return dataclasses.replace(plan, privacy=privacy).validate()


async def reason_of(store: Store, plan: FederationPlan, agent_id: str, worker: int) -> str:
    """Send a delta, merge what waits with a worker that has just started, and return why it was rejected, or ''."""
    delta = await send_delta(store, plan, 5.0, agent_id=agent_id)
    await merge_queue(store, plan, new_aggregator(store, plan))
    receipt = await receipt_of(store, delta)
    assert receipt.state is (DeltaState.REJECTED if receipt.reason else DeltaState.MERGED), worker
    return receipt.reason


async def test_an_agent_takes_part_as_often_as_the_plan_says_whichever_worker_merges(store: Store) -> None:
    plan = private_plan()
    await create_federation(store, plan, "agent-1", "agent-2")
    assert [await reason_of(store, plan, "agent-1", i) for i in range(3)] == ["", "", "PRIVACY_BUDGET_SPENT"]
    assert await reason_of(store, plan, "agent-2", 3) == ""
    await store.versions.roll_back(plan.federation, 0, at=NOW)  # what was published was published
    assert await reason_of(store, plan, "agent-1", 4) == "PRIVACY_BUDGET_SPENT"
    head = await store.versions.head(plan.federation)
    assert not head.paused, "agent-2 has one left"
    assert await reason_of(store, plan, "agent-2", 5) == ""
    head = await store.versions.head(plan.federation)
    assert head.paused
    assert "privacy budget is spent" in head.hold_reason


async def test_versions_must_lie_between_and_a_merge_takes_one_delta_of_each(store: Store) -> None:
    plan = private_plan(dataclasses.replace(PRIVACY, max_participations=0, min_separation_versions=3))
    await create_federation(store, plan, "agent-1", "agent-2", "agent-3")
    first = await send_delta(store, plan, 1.0)
    second = await send_delta(store, plan, 1.0)
    await merge_queue(store, plan, new_aggregator(store, plan))
    reasons = sorted([(await receipt_of(store, delta)).reason for delta in (first, second)])
    assert reasons == ["", "PARTICIPATED_TOO_SOON"]
    assert await reason_of(store, plan, "agent-1", 1) == "PARTICIPATED_TOO_SOON"
    assert await reason_of(store, plan, "agent-2", 2) == ""
    assert await reason_of(store, plan, "agent-1", 3) == "PARTICIPATED_TOO_SOON"
    assert await reason_of(store, plan, "agent-3", 4) == ""
    assert await reason_of(store, plan, "agent-1", 5) == "", "two versions lie between"


async def test_the_record_tells_the_largest_loss_and_nothing_of_a_single_delta(store: Store) -> None:
    plan = private_plan()
    await create_federation(store, plan, "agent-1", "agent-2")
    for _ in range(2):
        await send_delta(store, plan, 9.0)
        version = await merge_queue(store, plan, new_aggregator(store, plan))
    assert version.merge is not None
    assert version.merge.privacy is not None
    assert version.merge.privacy.participations == 2
    assert version.merge.privacy.epsilon == pytest.approx(epsilon_after(2, PRIVACY))
    assert version.merge.unrecorded == ("privacy noise",)
    [delta] = version.merge.deltas
    assert (delta.norm, delta.cosine, delta.clip) == (0.0, 0.0, 1.0)


class JudgeThatDislikesAll:
    """A calibration set whose loss is large everywhere but at the start."""

    can_judge = True
    can_reference = False

    def for_version(self, _number: int) -> JudgeThatDislikesAll:
        return self

    def judge_loss(self, factors: Factors) -> float:
        return 1.0 if not factors[A].any() else 100.0


async def test_a_candidate_that_may_not_be_published_costs_as_much_as_one_that_may(store: Store) -> None:
    plan = private_plan(judge_rows=1)
    await create_federation(store, plan, "agent-1", "agent-2")
    delta = await send_delta(store, plan, 1.0)
    version = await merge_queue(store, plan, new_aggregator(store, plan, probe=JudgeThatDislikesAll()))
    assert (await receipt_of(store, delta)).state is DeltaState.MERGED
    assert (await store.agents.contributions(plan.federation))["agent-1"].merged == 1
    assert version.id.number == 1
    assert version.merge is not None
    assert version.merge.server_learning_rate == 0.0
    assert not (await adapter_of(store, plan, 1))[A].any(), "nothing of the deltas is published"


async def test_a_whole_worker_publishes_noise_of_the_stated_size_and_shows_what_it_cost(store: Store) -> None:
    plan = private_plan(dataclasses.replace(PRIVACY, clip_norm=1e-3, noise_multiplier=100.0), buffer=Buffer(size=2))
    await create_federation(store, plan, "agent-1", "agent-2")
    deltas = [await send_delta(store, plan, 3.0, agent_id=f"agent-{i}") for i in (1, 2)]
    async with running_worker(store) as metrics:
        await settled(store, *deltas)

        async def shown() -> bool:
            limit = metrics.fleet.privacy_limit.labels(plan.federation)._value.get()
            spent = metrics.fleet.privacy_epsilon.labels(plan.federation)._value.get()
            return spent > 0 and limit == 100.0 and (await store.versions.head(plan.federation)).id.number == 1

        await eventually(shown, what="the privacy loss is shown")
    elements = torch.cat([value.flatten() for value in (await adapter_of(store, plan, 1)).values()])
    assert 0.3 < float(elements.std()) / (1e-3 * 100 / 2) < 3


async def test_what_compares_deltas_is_off_and_nobody_is_forgotten_in_private_federations(store: Store) -> None:
    plan = private_plan()
    merged = as_private(plan)
    assert merged.aggregation.max_delta_norm_ratio == 0
    assert merged.screening.clip_norm_ratio == merged.screening.gate_tries == merged.screening.reference_rows == 0
    await create_federation(store, plan, "agent-1", "agent-2")
    assert await reason_of(store, plan, "agent-1", 0) == ""
    trimmed = await store.upkeep.trim(plan.federation, merged.retention, at=NOW + 1e9)
    assert trimmed.agents == 0
    assert (await store.agents.contributions(plan.federation))["agent-1"].merged == 1
    plain = merging_plan()
    assert as_private(plain) is plain


async def test_a_worker_refuses_a_private_plan_that_cannot_be_kept(store: Store) -> None:
    plan = private_plan(dataclasses.replace(PRIVACY, max_epsilon=0.01))
    with pytest.raises(PlanInvalid, match="max_epsilon"):
        new_aggregator(store, plan)
    unbounded = dataclasses.replace(private_plan(), aggregation=Aggregation(recipe="participation"))
    with pytest.raises(PlanInvalid, match="fedbuff"):
        new_aggregator(store, unbounded)
