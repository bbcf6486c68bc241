"""A private merge: each delta clipped, their sum with noise, divided by the size of a full buffer.

`theta' = theta + eta / K * (sum_i f(tau_i) clip(D_i) + N(0, (z C)^2 I))`, C the clip norm, z the noise multiplier, K
the plan's buffer size, also when fewer deltas are merged: a delta that is rejected is then no different from a delta of
zeros. Whatever is made of the result (a shorter step, the average, the judge's word) is post-processing.

Source: McMahan et al. 2018, "Learning Differentially Private Recurrent Language Models" (arXiv 1710.06963), Alg. 1,
with the fixed denominator of its estimator f~; FedBuff, Nguyen et al. 2022, section on differential privacy.

Deviates: no sampling is claimed, since agents come when they like; see `alignfed.privacy.loss`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Collection, Sequence

import torch

from alignfed.codec import Factors
from alignfed.errors import AggregationInvalid, ManifestMismatch, NonFinite
from alignfed.layout import LORA_A_SUFFIX
from alignfed.privacy.central import CentralPrivacy
from coordinator.algo.clipping import clip_factor
from coordinator.algo.factors import check_all_finite, check_same_shapes
from coordinator.algo.grouping import group_by_base
from coordinator.algo.merge.merging import Term, merge
from coordinator.algo.privacy.bounded import check_bounded
from coordinator.algo.recipe import Recipe
from coordinator.algo.values import Aggregated, AggregationInput, DeltaInput, Load
from coordinator.domain import MergedDelta

PRIVACY_NOISE = "privacy noise"

_ROUNDING = 1.0 - 1e-9
"""Norms and sums are computed in float64: what they may be off by is taken off the bound beforehand."""

Normal = Callable[[torch.Size], torch.Tensor]
"""Draws independent standard normal values from a source that nobody can draw from again."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PrivateMerge:
    """What a private merge needs beside its inputs.

    Attributes:
        privacy: The plan's settings.
        buffer_size: K, what the sum is divided by.
        freeze_a: Whether A is frozen: then it gets no noise and no change.
        normal: Draws the noise.
    """

    privacy: CentralPrivacy
    buffer_size: int
    freeze_a: bool
    normal: Normal


def aggregate_privately(inputs: AggregationInput, recipe: Recipe, settings: PrivateMerge) -> Aggregated:
    """Merge a buffer of deltas, at most one of each agent, into a candidate that is private towards each agent.

    The record of the deltas says nothing that depends on their values: norms, cosines and clip factors are left out.
    The noise is not recorded either, because with it whoever has the versions has the exact sums.

    Raises:
        PlanInvalid: The recipe has no bound on what one delta can do.
        AggregationInvalid: An agent has two deltas in the buffer, or there are more than K.
        ManifestMismatch: A delta's tensors are not the head's; `delta_id` in the metadata.
        NonFinite: A delta's norm is not finite; `delta_id` in the metadata.
    """
    check_bounded(recipe)
    check_all_finite(inputs.head, what="the head")
    agents = [delta.agent_id for delta in inputs.deltas]
    if len(set(agents)) < len(agents) or len(agents) > settings.buffer_size:
        raise AggregationInvalid("a private merge takes one delta of each agent, and no more than fill the buffer")
    groups = group_by_base(inputs.deltas)
    alignments = [recipe.align(inputs, group) for group in groups]
    deltas, terms = [], []
    for group in groups:
        freshness = recipe.weighting.freshness(group.staleness_versions)
        for delta in group.deltas:
            factor = _checked_factor(delta, inputs.head, settings.privacy.clip_norm)
            terms.append(Term(coefficient=freshness * factor, load=delta.load))
            deltas.append(_withheld(delta, freshness, freshness / settings.buffer_size))
    noisy = _with_noise(_sum(inputs.head, terms), settings)
    step = inputs.server_learning_rate / settings.buffer_size
    at_step_scale = functools.partial(_at_step_scale, inputs.head, lambda: noisy, step)
    return Aggregated(
        adapter=at_step_scale(1.0),
        deltas=tuple(deltas),
        groups=tuple(alignment.record for alignment in alignments),
        at_step_scale=at_step_scale,
        unrecorded=(PRIVACY_NOISE,),
    )


def _checked_factor(delta: DeltaInput, head: Factors, clip_norm: float) -> float:
    factors = delta.load()
    try:
        check_same_shapes(factors, head, what=f"delta {delta.delta_id}")
        size = math.sqrt(math.fsum(float(value.double().square().sum()) for value in factors.values()))
        if not math.isfinite(size):
            raise NonFinite(f"delta {delta.delta_id} holds NaN or infinity, or its norm overflows")
    except (ManifestMismatch, NonFinite) as error:
        raise type(error)(error.message, delta_id=delta.delta_id) from error
    return clip_factor(size, clip_norm) * _ROUNDING


def _sum(head: Factors, terms: Sequence[Term]) -> Factors:
    """Add the clipped deltas in float64: a sum in fp32 may move by more than the bound when deltas are many."""
    total = {name: torch.zeros(value.shape, dtype=torch.float64) for name, value in head.items()}
    for term in terms:
        for name, value in term.load().items():
            total[name].add_(value.double(), alpha=term.coefficient)
    return total


def _with_noise(total: Factors, settings: PrivateMerge) -> Factors:
    deviation = settings.privacy.noise_multiplier * settings.privacy.clip_norm
    frozen = _frozen(total) if settings.freeze_a else ()
    return {
        name: torch.zeros(value.shape) if name in frozen else (value + deviation * settings.normal(value.shape)).float()
        for name, value in total.items()
    }


def _frozen(factors: Factors) -> Collection[str]:
    return {name for name in factors if name.endswith(LORA_A_SUFFIX)}


def _at_step_scale(head: Factors, noisy: Load, step: float, scale: float) -> Factors:
    return merge(head, [Term(coefficient=scale, load=noisy)], server_learning_rate=step)


def _withheld(delta: DeltaInput, freshness: float, weight: float) -> MergedDelta:
    return MergedDelta(
        delta_id=delta.delta_id,
        agent_id=delta.agent_id,
        base=delta.base,
        staleness_versions=delta.staleness_versions,
        examples=delta.examples,
        freshness=freshness,
        fairness=1.0,
        weight=weight,
        coefficient=weight,
        cosine=0.0,
        norm=0.0,
    )
