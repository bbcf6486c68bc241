"""Feature-space alignment of stale groups, equation (6) of the AlignFed paper: a map T on LoRA's rank space.

One matrix on A and one on B per LoRA module, `dA <- M_A dA` and `dB <- dB M_B`, both `(r, r)` and at first the
identity, fitted so that the carried delta has a wanted effect on the language model's features phi over the fit rows.
With W_v the delta's base version and W_k the head:

    paper        ||phi(W_v + T D) - phi(W_k)||^2
    corrected    ||[phi(W_k + T D) - phi(W_k)] - [phi(W_v + D) - phi(W_v)]||^2

The paper's target pulls T D towards the move from W_v to W_k, which the head has already made; the corrected one asks
that the delta do at the head what it did at its base.

Deviates: our reading of the equation is second-hand. A group's objective is the mean over its deltas. The best map seen
is taken, so the objective never rises. A falling objective is no evidence that the merge got better.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
from collections.abc import Callable, Mapping

import torch

from alignfed.codec import Factors
from alignfed.errors import CalibrationMissing, NonFinite
from coordinator.algo.adam import Adam, Moments, adam_step
from coordinator.algo.align.alignment import METHOD_FEATURE, Align, Alignment, group_cosine, leave_alone, unchanged
from coordinator.algo.align.gauge import gauge_maps
from coordinator.algo.factors import add_scaled, copy_of
from coordinator.algo.grouping import VersionGroup
from coordinator.algo.modules import RankMap, a_of, apply_maps, b_of, modules_of
from coordinator.algo.values import AggregationInput, CalibrationProbe, DeltaInput, Load
from coordinator.domain import GroupRecord


class FeatureTarget(enum.StrEnum):
    """What the carried delta's features are compared with; see the module's docstring."""

    PAPER = "paper"
    CORRECTED = "corrected"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FeatureAlignment:
    """Settings. A fit costs `steps + 1` forward and backward passes over the fit rows per stale delta."""

    target: FeatureTarget = FeatureTarget.CORRECTED
    steps: int = 5
    learning_rate: float = 0.02


Parameters = Mapping[str, torch.Tensor]
"""The maps under fit by module: `(2, r, r)` fp32, the map on A and the map on B."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FeatureProblem:
    """One stale group's fit: features of `origin + T(delta)` against each delta's target, all in the head's gauge."""

    probe: CalibrationProbe
    origin: Factors
    deltas: tuple[DeltaInput, ...]
    targets: tuple[torch.Tensor, ...]


def feature_alignment(settings: FeatureAlignment) -> Align:
    """Return an `Align` that fits a rank-space map for every stale group, after gauge transport."""
    return functools.partial(align_features, settings=settings)


def align_features(inputs: AggregationInput, group: VersionGroup, settings: FeatureAlignment) -> Alignment:
    """Fit the map of one group; fresh groups are left alone.

    Raises:
        CalibrationMissing: There is a stale group but no calibration set.
        NonFinite: A delta makes the objective or its gradient NaN or infinite; `delta_id` in the metadata.
    """
    if group.fresh:
        return leave_alone(inputs, group)
    if inputs.probe is None:
        raise CalibrationMissing("feature alignment compares features on calibration rows: add a calibration set")
    gauge = gauge_maps(inputs, group)
    carry_gauge = functools.partial(apply_maps, maps=gauge) if gauge is not None else unchanged
    problem = _problem(inputs, inputs.probe, group, carry_gauge, settings.target)
    maps, before, after = fit_maps(problem, settings)
    carry = functools.partial(_carry, gauge=carry_gauge, maps=maps)
    record = GroupRecord(
        base=group.base,
        deltas=len(group.deltas),
        method=METHOD_FEATURE,
        cosine=group_cosine(group, carry),
        objective_before=before,
        objective_after=after,
    )
    return Alignment(record=record, carry=carry)


def fit_maps(problem: FeatureProblem, settings: FeatureAlignment) -> tuple[Mapping[str, RankMap], float, float]:
    """Fit the maps by a few steps of Adam from the identity.

    Returns:
        The best maps seen, the objective at the identity, and the objective at the maps.

    Raises:
        NonFinite: See `align_features`.
    """
    adam = Adam(learning_rate=settings.learning_rate)
    parameters = identity_parameters(problem.origin)
    moments = {
        module: Moments(mean=torch.zeros_like(maps), square=torch.zeros_like(maps))
        for module, maps in parameters.items()
    }
    before, gradients = objective_and_gradient(problem, parameters)
    best, after = parameters, before
    for _ in range(settings.steps):
        stepped = {}
        for module, maps in parameters.items():
            stepped[module], moments[module] = adam_step(maps, gradients[module], moments[module], adam)
        parameters = stepped
        objective, gradients = objective_and_gradient(problem, parameters)
        if objective < after:
            best, after = parameters, objective
    return _rank_maps(best), before, after


def objective_and_gradient(problem: FeatureProblem, parameters: Parameters) -> tuple[float, Parameters]:
    """Return the objective, a mean over the group's deltas, and its gradient by each map.

    By the chain rule from the gradient G by the factors: `dL/dM_A = G_A dA^T` and `dL/dM_B = dB^T G_B`.

    Raises:
        NonFinite: See `align_features`.
    """
    maps = _rank_maps(parameters)
    share = 1.0 / len(problem.deltas)
    objective = 0.0
    gradients = {module: torch.zeros_like(parameter) for module, parameter in parameters.items()}
    for delta, target in zip(problem.deltas, problem.targets, strict=True):
        factors = delta.load()
        point = apply_maps(factors, maps)
        add_scaled(point, problem.origin, 1.0)
        gap, by_factors = problem.probe.feature_gap_and_gradient(point, target)
        objective += share * gap
        for module, gradient in gradients.items():
            gradient[0].add_(a_of(by_factors, module) @ a_of(factors, module).T, alpha=share)
            gradient[1].add_(b_of(factors, module).T @ b_of(by_factors, module), alpha=share)
        if not math.isfinite(gap) or not all(bool(torch.isfinite(g).all()) for g in gradients.values()):
            raise NonFinite(
                f"delta {delta.delta_id} drives the features to NaN or infinity: reject it", delta_id=delta.delta_id
            )
    return objective, gradients


def identity_parameters(factors: Factors) -> Parameters:
    """Return the identity maps for the LoRA modules of `factors`."""
    ranks = {module: a_of(factors, module).shape[0] for module in modules_of(factors)}
    return {module: torch.eye(rank).repeat(2, 1, 1) for module, rank in ranks.items()}


def _problem(
    inputs: AggregationInput,
    probe: CalibrationProbe,
    group: VersionGroup,
    carry_gauge: Callable[[Factors], Factors],
    target: FeatureTarget,
) -> FeatureProblem:
    base = carry_gauge(inputs.base_factors(group.base))
    deltas = tuple(
        dataclasses.replace(delta, load=functools.partial(_loaded, delta.load, carry_gauge), norm=None)
        for delta in group.deltas
    )
    at_head = probe.features(inputs.head)
    if target is FeatureTarget.PAPER:
        return FeatureProblem(probe=probe, origin=base, deltas=deltas, targets=(at_head,) * len(deltas))
    shift = at_head - probe.features(base)
    targets = tuple(shift + probe.features(_sum(base, delta.load())) for delta in deltas)
    return FeatureProblem(probe=probe, origin=inputs.head, deltas=deltas, targets=targets)


def _rank_maps(parameters: Parameters) -> Mapping[str, RankMap]:
    return {module: RankMap(left=maps[0], right=maps[1]) for module, maps in parameters.items()}


def _sum(left: Factors, right: Factors) -> Factors:
    total = copy_of(left)
    add_scaled(total, right, 1.0)
    return total


def _loaded(load: Load, carry: Callable[[Factors], Factors]) -> Factors:
    return carry(load())


def _carry(factors: Factors, *, gauge: Callable[[Factors], Factors], maps: Mapping[str, RankMap]) -> Factors:
    return apply_maps(gauge(factors), maps)
