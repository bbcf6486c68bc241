"""From weighed deltas to the candidate: add them up in the recipe's space, step, train. One way for each recipe.

A candidate can be had at a shorter step without weighing again; what the server remembers is the same at every length.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

from alignfed.codec import Factors, check_finite
from coordinator.algo.calibrate.training import CalibrationTraining, Trained, train
from coordinator.algo.factors import add_scaled, copy_of, zeros_like
from coordinator.algo.merge.cohorts import combined
from coordinator.algo.merge.merging import Term, merge
from coordinator.algo.merge.products import ProductTerm, merge_products
from coordinator.algo.merge.server_step import ServerStep, StepInput
from coordinator.algo.recipe import Recipe
from coordinator.algo.values import AggregationInput, DeltaInput, MergeSpace, ServerState

STEPPED = "server step"
TRAINED = "calibration training"
PRODUCT = "product space"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """What a candidate is made of, all in merge order.

    Attributes:
        deltas: The buffer.
        terms: Its aligned deltas with their coefficients.
        norms: Frobenius norms of the deltas as they came.
        bases: What each delta was trained from, for merges in product space; empty otherwise.
    """

    deltas: tuple[DeltaInput, ...]
    terms: tuple[Term, ...]
    norms: tuple[float, ...]
    bases: tuple[Factors, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """The candidate at a given step scale, what is to be remembered, and how it came about.

    Attributes:
        at_step_scale: The candidate of a shorter step.
        state: What the server step remembers.
        unrecorded: What made it beside the weighted sum of deltas.
        losses: On the fit rows, before each step of the training.
    """

    at_step_scale: Callable[[float], Factors]
    state: ServerState = dataclasses.field(default_factory=dict)
    unrecorded: tuple[str, ...] = ()
    losses: tuple[float, ...] = ()


def make_candidate(inputs: AggregationInput, recipe: Recipe, weighed: Weighed) -> Candidate:
    """Merge as the recipe says.

    Raises:
        AggregationInvalid: The server's memory does not fit the adapter.
        CandidateGated: Training on the calibration rows met a loss that is not finite.
        ManifestMismatch: A delta's tensors are not the head's.
        NonFinite: The server step, or a product, holds NaN or infinity.
    """
    if recipe.space is MergeSpace.PRODUCT:
        merged = _in_product_space(inputs, weighed)
    elif recipe.server_step is not None:
        merged = _stepped(inputs, recipe.server_step, weighed)
    else:
        merged = Candidate(at_step_scale=functools.partial(_added, inputs, _robust_terms(recipe, weighed)))
    if recipe.calibration_training is not None:
        return _trained(inputs, recipe.calibration_training, weighed, merged)
    return merged


def own_bases(inputs: AggregationInput, deltas: Sequence[DeltaInput]) -> tuple[Factors, ...]:
    """Return the factors each delta was trained from: the head itself for fresh ones, one object per base."""
    bases = {delta.base: inputs.head for delta in deltas if delta.staleness_versions == 0}
    for delta in deltas:
        if delta.base not in bases:
            bases[delta.base] = inputs.base_factors(delta.base)
    return tuple(bases[delta.base] for delta in deltas)


def _robust_terms(recipe: Recipe, weighed: Weighed) -> Sequence[Term]:
    if recipe.robust is None:
        return weighed.terms
    return combined(weighed.terms, [delta.base for delta in weighed.deltas], recipe.robust)


def _added(inputs: AggregationInput, terms: Sequence[Term], scale: float) -> Factors:
    return merge(inputs.head, terms, server_learning_rate=inputs.server_learning_rate * scale)


def _in_product_space(inputs: AggregationInput, weighed: Weighed) -> Candidate:
    terms = [
        ProductTerm(coefficient=term.coefficient, base=base, load=term.load)
        for term, base in zip(weighed.terms, weighed.bases, strict=True)
    ]

    def at_step_scale(scale: float) -> Factors:
        return merge_products(inputs.head, terms, server_learning_rate=inputs.server_learning_rate * scale)

    return Candidate(at_step_scale=at_step_scale, unrecorded=(PRODUCT,))


def _stepped(inputs: AggregationInput, step: ServerStep, weighed: Weighed) -> Candidate:
    merged = merge(zeros_like(inputs.head), weighed.terms, server_learning_rate=1.0)
    stepped = step(
        StepInput(
            merged=merged,
            deltas=weighed.deltas,
            terms=weighed.terms,
            state=inputs.state,
            merged_by_agent=inputs.merged_by_agent,
        )
    )
    check_finite(stepped.direction, what="the direction of the server step")
    along = (Term(coefficient=1.0, load=lambda: stepped.direction),)
    return Candidate(at_step_scale=functools.partial(_added, inputs, along), state=stepped.state, unrecorded=(STEPPED,))


def _trained(inputs: AggregationInput, settings: CalibrationTraining, weighed: Weighed, merged: Candidate) -> Candidate:
    assert inputs.probe is not None  # a recipe that trains needs a probe, and aggregate checks that
    trained = train(
        merged.at_step_scale(1.0),
        inputs.probe.fit_loss_and_gradient,
        settings,
        mean_delta_norm=math.fsum(weighed.norms) / len(weighed.norms),
    )
    return dataclasses.replace(
        merged,
        at_step_scale=functools.partial(_part_way, inputs.head, trained),
        unrecorded=(*merged.unrecorded, TRAINED),
        losses=trained.losses,
    )


def _part_way(head: Factors, trained: Trained, scale: float) -> Factors:
    """Shorten the whole move, merge and training together, without training again."""
    if scale == 1.0:
        return trained.adapter
    shorter = copy_of(head)
    add_scaled(shorter, head, -scale)
    add_scaled(shorter, trained.adapter, scale)
    return shorter
