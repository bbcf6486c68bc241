"""The one call: group, align, weigh, calibrate, merge. And for auditors: a version derived again from its record."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

from alignfed.codec import Factors, check_finite
from alignfed.errors import AggregationInvalid, CalibrationMissing, ManifestMismatch, NonFinite
from coordinator.algo.alignment import METHOD_NONE, Alignment
from coordinator.algo.calibrated import Fitted, fit_coefficients
from coordinator.algo.centering import Centering, centre_group, fold
from coordinator.algo.factors import add_scaled, check_same_shapes, copy_of, cosine, inner, norm
from coordinator.algo.grouping import VersionGroup, group_by_base
from coordinator.algo.merging import Term, merge
from coordinator.algo.recipe import Recipe
from coordinator.algo.values import Aggregated, AggregationInput, DeltaInput, Load
from coordinator.algo.weighting import Weight, weigh
from coordinator.domain import MergedDelta, MergeRecord


def aggregate(inputs: AggregationInput, recipe: Recipe) -> Aggregated:
    """Merge a buffer of deltas into the candidate for the next version.

    Deterministic: the order in which deltas arrived does not matter, and the same inputs give the same bits.

    Raises:
        CalibrationMissing: The recipe needs a calibration set and `inputs.probe` is None.
        ManifestMismatch: A delta's tensors are not the head's; `delta_id` in the metadata.
        NonFinite: A delta holds NaN or infinity, or is too large for its norm; `delta_id` in the metadata.
        CandidateGated: The merged candidate makes the calibration loss NaN or infinite.
        AggregationInvalid: The inputs contradict each other; see `group_by_base`, `weigh` and the recipe's alignment.

    Source: AlignFed, sections on version-aware grouping, alignment and fair merging.
    """
    _check(inputs, recipe)
    groups = group_by_base(inputs.deltas)
    deltas = [delta for group in groups for delta in group.deltas]
    norms = [_checked_norm(delta, inputs.head) for delta in deltas]

    centred = [centre_group(group, recipe.centering) for group in groups]
    alignments = [recipe.align(inputs, group) for group in centred]
    loads = [load for group, alignment in zip(groups, alignments, strict=True) for load in _carried(group, alignment)]

    weights = weigh(deltas, _norms_that_weigh(centred, norms, recipe), inputs.merged_by_agent, recipe.weighting)
    terms = [Term(coefficient=weight.coefficient, load=load) for weight, load in zip(weights, loads, strict=True)]
    fitted = _calibrated(inputs, recipe, terms)
    coefficients = _folded(groups, fitted.coefficients, recipe)
    terms = [Term(coefficient=value, load=load) for value, load in zip(coefficients, loads, strict=True)]
    adapter = merge(inputs.head, terms, server_learning_rate=inputs.server_learning_rate)
    cosines = _cosines(terms, adapter, inputs.head)
    return Aggregated(
        adapter=adapter,
        deltas=tuple(map(_merged_delta, deltas, weights, coefficients, cosines, norms)),
        groups=tuple(alignment.record for alignment in alignments),
        at_step_scale=functools.partial(_at_step_scale, inputs, terms, adapter),
        fit_losses=fitted.losses,
    )


def replay(head: Factors, record: MergeRecord, load: Callable[[str], Factors]) -> Factors:
    """Derive a version's adapter again from its parent's and its merge record, bit for bit.

    Args:
        head: Factors of the parent version.
        record: The version's merge record.
        load: Brings the factors of a delta by its id.

    Raises:
        AggregationInvalid: A group was carried by a map, which records do not hold; or the record has no deltas.
        ManifestMismatch: A delta's tensors are not the head's.
    """
    carried = [group for group in record.groups if group.method != METHOD_NONE]
    if carried:
        named = ", ".join(f"{group.method} of base version {group.base.number}" for group in carried)
        raise AggregationInvalid(
            f"the record does not hold the alignment maps ({named}): aggregate again from the same inputs instead"
        )
    if not record.deltas:
        raise AggregationInvalid("the record names no deltas: it is not the record of a merge")
    terms = [
        Term(coefficient=delta.coefficient, load=functools.partial(load, delta.delta_id)) for delta in record.deltas
    ]
    return merge(head, terms, server_learning_rate=record.server_learning_rate)


def _check(inputs: AggregationInput, recipe: Recipe) -> None:
    if recipe.needs_probe and inputs.probe is None:
        raise CalibrationMissing(
            f"recipe {recipe.name} needs a calibration set: give the federation one, "
            "or choose a recipe without, such as participation"
        )
    if not 0 < inputs.server_learning_rate < math.inf:
        raise AggregationInvalid(f"the server learning rate is {inputs.server_learning_rate}: it must be above 0")
    check_finite(inputs.head, what="the head")


def _checked_norm(delta: DeltaInput, head: Factors) -> float:
    factors = delta.load()
    try:
        check_same_shapes(factors, head, what=f"delta {delta.delta_id}")
        size = norm(factors)
        if not math.isfinite(size):
            check_finite(factors, what=f"delta {delta.delta_id}")
            raise NonFinite(f"delta {delta.delta_id} is so large that its norm overflows: lower the learning rate")
    except (ManifestMismatch, NonFinite) as error:
        raise type(error)(error.message, delta_id=delta.delta_id) from error
    return size


def _carried(group: VersionGroup, alignment: Alignment) -> list[Load]:
    return [functools.partial(_load_carried, delta.load, alignment) for delta in group.deltas]


def _load_carried(load: Load, alignment: Alignment) -> Factors:
    return alignment.carry(load())


def _norms_that_weigh(centred: Sequence[VersionGroup], norms: Sequence[float], recipe: Recipe) -> Sequence[float]:
    """Return the norms of the centred deltas where they differ from the deltas' and matter."""
    if not recipe.weighting.inverse_norm or recipe.centering is Centering.NONE:
        return norms
    return [norm(delta.load()) for group in centred for delta in group.deltas]


def _calibrated(inputs: AggregationInput, recipe: Recipe, terms: Sequence[Term]) -> Fitted:
    if recipe.calibrate is None or inputs.probe is None:
        return Fitted(coefficients=tuple(term.coefficient for term in terms), losses=())
    return fit_coefficients(
        inputs.head,
        terms,
        inputs.probe.fit_loss_and_gradient,
        server_learning_rate=inputs.server_learning_rate,
        settings=recipe.calibrate,
    )


def _folded(groups: Sequence[VersionGroup], coefficients: Sequence[float], recipe: Recipe) -> list[float]:
    folded: list[float] = []
    for group in groups:
        start = len(folded)
        folded += fold(coefficients[start : start + len(group.deltas)], recipe.centering)
    return folded


def _at_step_scale(inputs: AggregationInput, terms: Sequence[Term], full: Factors, scale: float) -> Factors:
    if scale == 1.0:
        return full
    return merge(inputs.head, terms, server_learning_rate=inputs.server_learning_rate * scale)


def _cosines(terms: Sequence[Term], adapter: Factors, head: Factors) -> list[float]:
    """Return the cosine between each delta as it was merged and what the merge did to the head."""
    step = copy_of(adapter)
    add_scaled(step, head, -1.0)
    step_norm = norm(step)
    cosines = []
    for term in terms:
        delta = term.load()
        cosines.append(cosine(inner(delta, step), norm(delta), step_norm))
    return cosines


def _merged_delta(delta: DeltaInput, weight: Weight, coefficient: float, agreement: float, size: float) -> MergedDelta:
    return MergedDelta(
        delta_id=delta.delta_id,
        agent_id=delta.agent_id,
        base=delta.base,
        staleness_versions=delta.staleness_versions,
        examples=delta.examples,
        freshness=weight.freshness,
        fairness=weight.fairness,
        weight=weight.weight,
        coefficient=coefficient,
        cosine=agreement,
        norm=size,
    )
