"""What the worker makes of deltas of lower rank and of deltas under a frozen A."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from prometheus_client import CollectorRegistry

from alignfed.codec import Factors, encode
from alignfed.errors import PlanInvalid
from alignfed.layout import tensors_at_rank
from alignfed.plan import Aggregation, Encoding, FederationPlan, Lora
from coordinator.backends.memory import MemoryStore
from coordinator.clock import SystemClock
from coordinator.domain import QueuedDelta
from coordinator.worker.aggregator import Aggregator
from coordinator.worker.context import WorkerContext
from coordinator.worker.intake import Intake, take_in
from coordinator.worker.metrics import WorkerMetrics
from tests.support.factors import A, B, create_federation, merging_plan
from tests.support.stores import new_delta, open_memory_store, store_blob, take_lease


def plan_of(*, encoding: Encoding = Encoding.FP32, freeze_a: bool = False) -> FederationPlan:
    plan = merging_plan()
    return dataclasses.replace(
        plan,
        delta_encoding=encoding,
        topk_ratio=1.0,  # all of a tensor: what is left out is another test's
        lora=dataclasses.replace(plan.lora, freeze_a=freeze_a),
    ).validate()


def factors_of(plan: FederationPlan, rank: int) -> Factors:
    generator = torch.Generator().manual_seed(rank)
    return {spec.name: torch.randn(spec.shape, generator=generator) for spec in tensors_at_rank(plan, rank)}


async def taken_in(store: MemoryStore, plan: FederationPlan, *sent: tuple[Factors, int]) -> Intake:
    """Queue deltas of given factors and announced ranks, and take them in."""
    await create_federation(store, plan, "agent-1")
    for factors, rank in sent:
        blob = await store_blob(
            store, plan.federation, bytes(encode(factors, plan.delta_encoding, topk_ratio=plan.topk_ratio))
        )
        delta = await new_delta(store, plan.federation)
        await store.deltas.accept(dataclasses.replace(delta, rank=rank, encoding=plan.delta_encoding, payload=blob))
    await take_lease(store, plan.federation)
    queued: list[QueuedDelta] = await store.deltas.claim(plan.federation, "worker-1", limit=10)
    return await take_in(store, plan, await store.versions.head(plan.federation), queued)


@pytest.mark.parametrize("encoding", list(Encoding))
async def test_a_delta_of_a_lower_rank_is_padded_with_zeros_and_says_its_rank(encoding: Encoding) -> None:
    plan = plan_of(encoding=encoding)
    factors = factors_of(plan, 1)
    intake = await taken_in(open_memory_store(), plan, (factors, 1))
    (delta,) = intake.inputs
    loaded = delta.load()
    assert delta.rank == 1
    assert {name: tuple(tensor.shape) for name, tensor in loaded.items()} == {A: (2, 8), B: (6, 2)}
    tolerance = 1e-6 if encoding is Encoding.FP32 else 0.05
    assert torch.allclose(loaded[A][:1], factors[A], atol=tolerance)
    assert torch.allclose(loaded[B][:, :1], factors[B], atol=tolerance)
    assert not loaded[A][1:].any()
    assert not loaded[B][:, 1:].any()


async def test_a_delta_of_full_rank_is_said_to_have_trained_all() -> None:
    plan = plan_of()
    intake = await taken_in(open_memory_store(), plan, (factors_of(plan, 2), 2))
    assert [delta.rank for delta in intake.inputs] == [None]


@pytest.mark.parametrize(("sent_rank", "announced"), [(2, 1), (1, 2), (1, 3)])
async def test_a_payload_that_is_not_of_its_rank_is_rejected(sent_rank: int, announced: int) -> None:
    plan = plan_of()
    intake = await taken_in(open_memory_store(), plan, (factors_of(plan, sent_rank), announced))
    assert intake.inputs == ()
    reasons = {"PAYLOAD_TRUNCATED", "MANIFEST_MISMATCH", "RANK_MISMATCH"}
    assert {rejection.reason for rejection in intake.rejections} <= reasons
    assert len(intake.rejections) == 1


async def test_under_a_frozen_a_a_delta_that_changes_it_is_rejected_and_another_is_not() -> None:
    plan = plan_of(freeze_a=True)
    changed, kept = factors_of(plan, 2), factors_of(plan, 2)
    kept[A].zero_()
    intake = await taken_in(open_memory_store(), plan, (changed, 2), (kept, 2))
    assert [rejection.reason for rejection in intake.rejections] == ["FROZEN_FACTOR_CHANGED"]
    assert A in intake.rejections[0].detail
    (delta,) = intake.inputs
    assert torch.equal(delta.load()[B], kept[B])


@pytest.mark.parametrize(
    ("recipe", "setting"), [("fedavg", "training.wait_for_version"), ("ffa-lora", "lora.freeze_a")]
)
def test_a_worker_does_not_lead_a_federation_whose_agents_do_not_do_what_its_recipe_needs(
    recipe: str, setting: str
) -> None:
    context = WorkerContext(
        store=open_memory_store(), clock=SystemClock(), metrics=WorkerMetrics(CollectorRegistry()), worker_id="w"
    )
    plan = dataclasses.replace(plan_of(), lora=Lora(rank=2), aggregation=Aggregation(recipe=recipe))
    with pytest.raises(PlanInvalid, match=setting):
        Aggregator(context, plan, None)
