"""Deltas of a lower rank: their manifest follows from plan and rank, and padding undoes cutting."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alignfed.codec import Factors, decode, encode, manifest_of, narrow, widen
from alignfed.errors import RankMismatch
from alignfed.layout import layout_of, tensors_at_rank
from alignfed.plan import BaseModel, Encoding, FederationPlan, Lora, TensorSpec

modules = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=3)


def plan_of(sizes: list[tuple[int, int]], rank: int) -> FederationPlan:
    """Return a plan with one LoRA module per (inputs, outputs)."""
    tensors = []
    for i, (inputs, outputs) in enumerate(sizes):
        tensors.append(TensorSpec(name=f"layers.{i}.q_proj.lora_A.weight", shape=(rank, inputs)))
        tensors.append(TensorSpec(name=f"layers.{i}.q_proj.lora_B.weight", shape=(outputs, rank)))
    return FederationPlan(
        federation="fed", base_model=BaseModel(name="m"), lora=Lora(rank=rank), tensors=tuple(tensors)
    ).validate()


def random_factors(plan: FederationPlan) -> Factors:
    generator = torch.Generator().manual_seed(1)
    return {spec.name: torch.randn(spec.shape, generator=generator) for spec in plan.tensors}


@given(modules, st.integers(1, 5), st.data())
def test_a_manifest_at_a_rank_differs_in_the_rank_alone(
    sizes: list[tuple[int, int]], full: int, data: st.DataObject
) -> None:
    rank = data.draw(st.integers(1, full))
    plan = plan_of(sizes, full)
    assert tensors_at_rank(plan, rank) == plan_of(sizes, rank).tensors


@given(modules, st.integers(1, 5), st.data())
def test_padding_undoes_cutting_and_the_rest_is_zero(
    sizes: list[tuple[int, int]], full: int, data: st.DataObject
) -> None:
    rank = data.draw(st.integers(1, full))
    plan = plan_of(sizes, full)
    factors, tensors = random_factors(plan), tensors_at_rank(plan, rank)
    small = narrow(factors, tensors)
    assert manifest_of(small) == tuple(sorted(tensors, key=lambda spec: spec.name))
    wide = widen(small, plan.tensors)
    for name, factor in factors.items():
        for row, column in torch.cartesian_prod(*map(torch.arange, factor.shape)).reshape(-1, 2).tolist():
            component = row if ".lora_A." in name else column
            assert float(wide[name][row, column]) == (float(factor[row, column]) if component < rank else 0.0)
    again = narrow(wide, tensors)
    assert all(torch.equal(again[name], small[name]) for name in small)


@pytest.mark.parametrize("encoding", list(Encoding))
def test_a_lower_rank_travels_in_fewer_bytes(encoding: Encoding) -> None:
    plan = plan_of([(64, 64)], 8)
    tensors = tensors_at_rank(plan, 2)
    payload = encode(narrow(random_factors(plan), tensors), encoding, topk_ratio=plan.topk_ratio)
    layout, full = (layout_of(them, encoding, topk_ratio=plan.topk_ratio) for them in (tensors, plan.tensors))
    assert len(payload) == layout.total_bytes
    elements, all_elements = (
        sum(entry.nbytes for entry in it.entries if not entry.name.endswith(".scales")) for it in (layout, full)
    )
    assert elements * 4 == all_elements
    assert {
        name: factor.shape for name, factor in decode(payload, tensors, encoding, topk_ratio=plan.topk_ratio).items()
    } == {spec.name: spec.shape for spec in tensors}


@pytest.mark.parametrize("rank", [-1, 0, 5, 2**32 - 1])
def test_a_rank_that_the_plan_does_not_take_is_refused(rank: int) -> None:
    with pytest.raises(RankMismatch, match=f"rank {rank}, the plan takes 1 to 4"):
        tensors_at_rank(plan_of([(3, 2)], 4), rank)


def test_what_is_no_lora_factor_has_no_lower_rank() -> None:
    plan = plan_of([(3, 2)], 4)
    odd = dataclasses.replace(plan, tensors=(*plan.tensors, TensorSpec(name="norm.weight", shape=(4,))))
    assert tensors_at_rank(odd, 4) == odd.tensors
    with pytest.raises(RankMismatch, match=r"norm\.weight"):
        tensors_at_rank(odd, 3)


def test_a_widened_delta_shares_no_memory_with_what_it_came_from() -> None:
    plan = plan_of([(3, 2)], 2)
    factors = random_factors(plan)
    wide = widen(factors, plan.tensors)
    before = {name: factor.clone() for name, factor in factors.items()}
    for factor in wide.values():
        factor.fill_(math.pi)
    assert all(torch.equal(factors[name], before[name]) for name in factors)
