"""The delta: local minus the version trained from, never minus anything newer; checked before it is kept."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from alignfed.chunks import sha256_of
from alignfed.codec import Factors, decode
from alignfed.errors import FrozenFactorChanged, ManifestMismatch, NonFinite, RankMismatch, RequestInvalid
from alignfed.plan import BaseModel, Encoding, FederationPlan, Lora, TensorSpec
from edge_agent.domain import DeltaMeta
from edge_agent.training.delta import BaseAdapter, delta_of, prepare_delta
from edge_agent.training.trainer import TrainingResult
from tests.support.prepared_deltas import BASE

PLAN = FederationPlan(
    federation="fed",
    base_model=BaseModel(name="m", digest="ef" * 32),
    lora=Lora(rank=2),
    tensors=(TensorSpec(name="a", shape=(2, 3)), TensorSpec(name="b", shape=(4, 2))),
)


def filled(value: float, **others: torch.Tensor) -> Factors:
    return {spec.name: torch.full(spec.shape, value) for spec in PLAN.tensors} | others


def result(adapter: Factors, *, examples: int = 5, steps: int = 2) -> TrainingResult:
    return TrainingResult(adapter=adapter, examples=examples, steps=steps, mean_loss=1.0)


def base(value: float) -> BaseAdapter:
    return BaseAdapter(version=BASE, factors=filled(value))


def test_the_delta_is_the_difference_to_the_base_in_fp32() -> None:
    delta = delta_of({"a": torch.full((2, 3), 1.5, dtype=torch.bfloat16)}, {"a": torch.full((2, 3), 1.0)})
    assert delta["a"].dtype is torch.float32
    assert torch.equal(delta["a"], torch.full((2, 3), 0.5))


@pytest.mark.parametrize("encoding", list(Encoding))
def test_header_and_payload_of_a_prepared_delta_agree(encoding: Encoding) -> None:
    plan = dataclasses.replace(PLAN, delta_encoding=encoding, topk_ratio=1.0)
    prepared = prepare_delta(result(filled(1.5)), base(1.0), plan, sequence=7)
    meta = prepared.meta
    assert (meta.base, meta.sequence, meta.examples, meta.local_steps, meta.rank) == (BASE, 7, 5, 2, 2)
    assert (meta.encoding, meta.base_model_digest) == (encoding, "ef" * 32)
    assert (meta.total_bytes, meta.sha256) == (len(prepared.payload), sha256_of(prepared.payload))
    decoded = decode(prepared.payload, meta.tensors, encoding, topk_ratio=1.0)
    assert all(torch.allclose(factor, torch.tensor(0.5)) for factor in decoded.values())


def test_each_delta_gets_an_id_of_its_own() -> None:
    one, two = (prepare_delta(result(filled(1.5)), base(1.0), PLAN, sequence=0) for _ in range(2))
    assert one.meta.delta_id != two.meta.delta_id


def test_what_the_outbox_reads_back_is_what_was_announced() -> None:
    meta = prepare_delta(result(filled(1.5)), base(1.0), PLAN, sequence=0).meta
    assert DeltaMeta.from_dict(meta.to_dict()) == meta


LORA = dataclasses.replace(
    PLAN,
    delta_encoding=Encoding.FP32,
    tensors=(TensorSpec(name="m.lora_A.weight", shape=(2, 3)), TensorSpec(name="m.lora_B.weight", shape=(4, 2))),
)
FROZEN_A = dataclasses.replace(LORA, lora=Lora(rank=2, freeze_a=True))


def random_adapter(seed: int) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    return {spec.name: torch.randn(spec.shape, generator=generator) for spec in LORA.tensors}


def test_a_delta_of_a_lower_rank_holds_its_components_only() -> None:
    held = BaseAdapter(version=BASE, factors=random_adapter(0))
    trained = held.copy()
    trained["m.lora_A.weight"][0] += 0.5
    trained["m.lora_B.weight"][:, 0] += 0.25
    delta = prepare_delta(result(trained), held, LORA, sequence=0, rank=1)
    assert (delta.meta.rank, [spec.shape for spec in delta.meta.tensors]) == (1, [(1, 3), (4, 1)])
    assert delta.meta.total_bytes == len(delta.payload)
    decoded = decode(delta.payload, delta.meta.tensors, Encoding.FP32)
    assert torch.allclose(decoded["m.lora_A.weight"], torch.full((1, 3), 0.5))
    assert torch.allclose(decoded["m.lora_B.weight"], torch.full((4, 1), 0.25))


def test_under_a_frozen_a_the_delta_of_a_is_zero_whatever_dtype_it_was_held_in() -> None:
    held = BaseAdapter(version=BASE, factors=random_adapter(0))
    trained = {name: factor.bfloat16() for name, factor in held.factors.items()}
    trained["m.lora_B.weight"] += 0.5
    delta = prepare_delta(result(trained), held, FROZEN_A, sequence=0)
    decoded = decode(delta.payload, FROZEN_A.tensors, Encoding.FP32)
    assert not decoded["m.lora_A.weight"].any()
    assert torch.allclose(decoded["m.lora_B.weight"], torch.tensor(0.5), atol=0.02)


@pytest.mark.parametrize(("plan", "rank"), [(LORA, 1), (FROZEN_A, None), (FROZEN_A, 1)])
def test_a_trainer_that_changes_what_is_frozen_is_refused(plan: FederationPlan, rank: int | None) -> None:
    held = BaseAdapter(version=BASE, factors=random_adapter(0))
    everything = {name: factor + 0.5 for name, factor in held.factors.items()}
    with pytest.raises(FrozenFactorChanged, match=r"TrainingJob\.part"):
        prepare_delta(result(everything), held, plan, sequence=0, rank=rank)


def test_a_rank_above_the_plan_s_is_refused() -> None:
    held = BaseAdapter(version=BASE, factors=random_adapter(0))
    with pytest.raises(RankMismatch):
        prepare_delta(result(held.copy()), held, LORA, sequence=0, rank=3)


@pytest.mark.parametrize(
    ("trained", "error"),
    [
        (result(filled(1.0, b=torch.full((4, 2), torch.nan))), NonFinite),
        (result(filled(1.0, b=torch.full((4, 2), torch.inf))), NonFinite),
        (result(filled(1.0, b=torch.zeros(2, 4))), ManifestMismatch),
        (result(filled(1.0, c=torch.zeros(1))), ManifestMismatch),
        (result({"a": torch.zeros(2, 3)}), ManifestMismatch),
        (result(filled(1.0), examples=0), RequestInvalid),
        (result(filled(1.0), steps=0), RequestInvalid),
    ],
)
def test_what_a_trainer_must_not_return_is_refused(trained: TrainingResult, error: type[Exception]) -> None:
    with pytest.raises(error):
        prepare_delta(trained, base(1.0), PLAN, sequence=0)


def test_a_trainer_may_change_what_it_gets() -> None:
    held = base(1.0)
    given = held.copy()
    given["a"].add_(1.0)
    assert torch.equal(held.factors["a"], torch.ones(2, 3))
