"""The one call: group, align, weigh, calibrate, merge, step. And for auditors: a version derived from its record."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import math
import operator
from collections.abc import Callable, Sequence

from alignfed.codec import Factors, check_finite
from alignfed.errors import AggregationInvalid, CalibrationMissing, ManifestMismatch, NonFinite, RankMismatch
from coordinator.algo.align.alignment import METHOD_NONE, Alignment, unchanged
from coordinator.algo.align.centering import Centering, centre_group, fold
from coordinator.algo.calibrate.coefficients import Fitted, fit_coefficients, group_term, spread
from coordinator.algo.clipping import clipped, shortened, shortened_again
from coordinator.algo.factors import check_all_finite, check_same_shapes, norm
from coordinator.algo.grouping import VersionGroup, group_by_base
from coordinator.algo.merge.agreement import agreement
from coordinator.algo.merge.candidate import Candidate, Weighed, make_candidate, own_bases
from coordinator.algo.merge.cohorts import combined, shared
from coordinator.algo.merge.merging import Term, merge
from coordinator.algo.merge.mixed_rank import RankAveraging, average_by_component
from coordinator.algo.merge.robust import robust_mean
from coordinator.algo.modules import check_frozen_a
from coordinator.algo.recipe import Fleet, Recipe
from coordinator.algo.values import Aggregated, AggregationInput, DeltaInput, Load, MergeSpace, in_fp32, norm_of
from coordinator.algo.weigh.pace import paced
from coordinator.algo.weigh.staleness_memory import remember_staleness
from coordinator.algo.weigh.weighting import History, Weight, weigh
from coordinator.domain import MergedDelta, MergeRecord

MIXED_RANKS = "mixed ranks"

DELTA_FAULTS = (ManifestMismatch, NonFinite, RankMismatch)
"""Errors of a merge that may be one delta's fault: its `delta_id` is then in the metadata, and the others can merge."""

Watch = Callable[[str], contextlib.AbstractContextManager[object]]
"""Is told which step begins, and notices its end."""


def _unwatched(_step: str) -> contextlib.AbstractContextManager[object]:
    return contextlib.nullcontext()


def aggregate(inputs: AggregationInput, recipe: Recipe, watch: Watch = _unwatched) -> Aggregated:
    """Merge a buffer of deltas into the candidate for the next version.

    Deterministic: the order in which deltas arrived does not matter, and the same inputs give the same bits. `watch`
    is opened around each of the steps `align`, `calibrate` and `merge`, and decides nothing.

    Raises:
        CalibrationMissing: The recipe needs a calibration set and `inputs.probe` is None.
        ManifestMismatch: A delta's tensors are not the head's, or it changes an A that the recipe freezes; `delta_id`
            in the metadata.
        NonFinite: A delta holds NaN or infinity, or is too large for its norm; `delta_id` in the metadata.
        RankMismatch: A delta's rank is not one that can be averaged by component; `delta_id` in the metadata.
        CandidateGated: The merged candidate makes the calibration loss NaN or infinite.
        AggregationInvalid: The inputs contradict each other; see `group_by_base`, `weigh`, the recipe's alignment and
            its server step.

    Source: AlignFed, sections on version-aware grouping, alignment and fair merging.
    """
    _check(inputs, recipe)
    sent = [delta for group in group_by_base(inputs.deltas) for delta in group.deltas]
    sizes = [_checked_norm(delta, inputs.head, recipe.fleet) for delta in sent]
    short = list(map(shortened, sent))
    deltas = [delta for delta, _ in short]
    norms = [size * clip for size, (_, clip) in zip(sizes, short, strict=True)]
    groups = group_by_base(deltas)

    centred = [centre_group(group, recipe.centering) for group in groups]
    with watch("align"):
        alignments = [recipe.align(inputs, _in_fp32(group)) for group in centred]
    carried = [one for group, alignment in zip(groups, alignments, strict=True) for one in _carried(group, alignment)]
    loads = [load for load, _ in carried]
    clips = [clip * again for (_, clip), (_, again) in zip(short, carried, strict=True)]

    history = _history(inputs, recipe)
    weights = weigh(deltas, _norms_that_weigh(centred, norms, recipe), history, recipe.weighting)
    kappa, pace_memory = (1.0, {}) if recipe.pace is None else paced(recipe.pace, inputs.state, deltas)
    ranked = _ranked(inputs, recipe, deltas, weights, loads)
    terms = [
        Term(coefficient=kappa * weight.coefficient, load=load) for weight, load in zip(weights, ranked, strict=True)
    ]
    with watch("calibrate"):
        fitted = _calibrated(inputs, recipe, groups, terms)
    coefficients = _taken(_folded(groups, fitted.coefficients, recipe), recipe)
    terms = [Term(coefficient=value, load=load) for value, load in zip(coefficients, ranked, strict=True)]
    if recipe.robust is not None:
        coefficients = shared(terms, [delta.base for delta in deltas], recipe.robust)
        terms = [Term(coefficient=value, load=load) for value, load in zip(coefficients, ranked, strict=True)]
    bases = own_bases(inputs, deltas) if recipe.space is MergeSpace.PRODUCT else ()
    weighed = Weighed(deltas=tuple(deltas), terms=tuple(terms), norms=tuple(norms), bases=bases)
    with watch("merge"):
        candidate = make_candidate(inputs, recipe, weighed)
        adapter = candidate.at_step_scale(1.0)
    cosines = agreement(inputs, weighed, adapter, recipe.space)
    return Aggregated(
        adapter=adapter,
        deltas=tuple(map(_merged_delta, sent, weights, coefficients, cosines, zip(sizes, clips, strict=True))),
        groups=tuple(alignment.record for alignment in alignments),
        at_step_scale=functools.partial(_at_step_scale, candidate, adapter),
        fit_losses=(*fitted.losses, *candidate.losses),
        state={**history.staleness, **pace_memory, **candidate.state},
        space=recipe.space,
        robust="" if recipe.robust is None else recipe.robust.name,
        unrecorded=candidate.unrecorded if ranked is loads else (*candidate.unrecorded, MIXED_RANKS),
    )


def replay(head: Factors, record: MergeRecord, load: Callable[[str], Factors]) -> Factors:
    """Derive a version's adapter again from its parent's and its merge record, bit for bit.

    Args:
        head: Factors of the parent version.
        record: The version's merge record.
        load: Brings the factors of a delta by its id.

    Raises:
        AggregationInvalid: A group was carried by a map, or something else than its deltas made the version, which
            records do not hold; or the record has no deltas, or names a robust mean that there is not.
        ManifestMismatch: A delta's tensors are not the head's.
    """
    carried = [group for group in record.groups if group.method != METHOD_NONE]
    if carried:
        named = ", ".join(f"{group.method} of base version {group.base.number}" for group in carried)
        raise AggregationInvalid(
            f"the record does not hold the alignment maps ({named}): aggregate again from the same inputs instead"
        )
    if record.unrecorded:
        raise AggregationInvalid(
            f"the version was also made by what its record does not hold ({', '.join(record.unrecorded)}): "
            "aggregate again from the same inputs instead"
        )
    if not record.deltas:
        raise AggregationInvalid("the record names no deltas: it is not the record of a merge")
    terms = [
        Term(coefficient=delta.coefficient, load=clipped(functools.partial(load, delta.delta_id), delta.clip))
        for delta in record.deltas
    ]
    if record.robust:
        terms = combined(terms, [delta.base for delta in record.deltas], robust_mean(record.robust))
    return merge(head, terms, server_learning_rate=record.server_learning_rate)


def _check(inputs: AggregationInput, recipe: Recipe) -> None:
    if recipe.needs_probe and inputs.probe is None:
        raise CalibrationMissing(
            f"recipe {recipe.name} needs a calibration set: give the federation one, "
            "or choose a recipe without, such as participation"
        )
    if not 0 < inputs.server_learning_rate < math.inf:
        raise AggregationInvalid(f"the server learning rate is {inputs.server_learning_rate}: it must be above 0")
    check_all_finite(inputs.head, what="the head")


def _history(inputs: AggregationInput, recipe: Recipe) -> History:
    if not recipe.weighting.remembers_staleness:
        return History(merged_by_agent=inputs.merged_by_agent)
    staleness = remember_staleness(inputs.state, inputs.deltas, inputs.merged_by_agent)
    return History(merged_by_agent=inputs.merged_by_agent, staleness=staleness)


def _checked_norm(delta: DeltaInput, head: Factors, fleet: Fleet) -> float:
    factors = delta.load()
    try:
        check_same_shapes(factors, head, what=f"delta {delta.delta_id}")
        if fleet.freeze_a:
            check_frozen_a(factors, what=f"delta {delta.delta_id}")
        size = norm_of(delta)
        if not math.isfinite(size):
            check_finite(factors, what=f"delta {delta.delta_id}")
            raise NonFinite(f"delta {delta.delta_id} is so large that its norm overflows: lower the learning rate")
    except (ManifestMismatch, NonFinite) as error:
        raise type(error)(error.message, delta_id=delta.delta_id) from error
    return size


def _carried(group: VersionGroup, alignment: Alignment) -> list[tuple[Load, float]]:
    """Return how each delta of a group is loaded at the head, and by what it was shortened after that."""
    if alignment.carry is unchanged:
        return [(delta.load, 1.0) for delta in group.deltas]
    return [
        shortened_again(functools.partial(_load_carried, delta.load, alignment), delta.max_norm)
        for delta in group.deltas
    ]


def _load_carried(load: Load, alignment: Alignment) -> Factors:
    return alignment.carry(in_fp32(load))


def _in_fp32(group: VersionGroup) -> VersionGroup:
    deltas = tuple(dataclasses.replace(delta, load=functools.partial(in_fp32, delta.load)) for delta in group.deltas)
    return dataclasses.replace(group, deltas=deltas)


def _ranked(
    inputs: AggregationInput,
    recipe: Recipe,
    deltas: Sequence[DeltaInput],
    weights: Sequence[Weight],
    loads: Sequence[Load],
) -> Sequence[Load]:
    """Make up for components that only some agents trained; products need no such thing. `loads` itself if all did."""
    if recipe.space is MergeSpace.PRODUCT or recipe.rank_averaging is RankAveraging.ZERO_PADDED:
        return loads
    ranked = average_by_component(inputs, deltas, [weight.coefficient for weight in weights], loads)
    return loads if all(map(operator.is_, ranked, loads)) else ranked


def _norms_that_weigh(centred: Sequence[VersionGroup], norms: Sequence[float], recipe: Recipe) -> Sequence[float]:
    """Return the norms of the centred deltas where they differ from the deltas' and matter."""
    if not recipe.weighting.inverse_norm or recipe.centering is Centering.NONE:
        return norms
    return [norm(delta.load()) for group in centred for delta in group.deltas]


def _calibrated(
    inputs: AggregationInput, recipe: Recipe, groups: Sequence[VersionGroup], terms: Sequence[Term]
) -> Fitted:
    if recipe.calibrate is None or inputs.probe is None:
        return Fitted(coefficients=tuple(term.coefficient for term in terms), losses=())
    members = _by_group(groups, terms) if recipe.calibrate.per_group else [[term] for term in terms]
    fitted = fit_coefficients(
        inputs.head,
        [group_term(group) for group in members] if recipe.calibrate.per_group else terms,
        inputs.probe.fit_loss_and_gradient,
        server_learning_rate=inputs.server_learning_rate,
        settings=recipe.calibrate,
    )
    if not recipe.calibrate.per_group:
        return fitted
    shares = [spread(value, group) for value, group in zip(fitted.coefficients, members, strict=True)]
    return Fitted(coefficients=tuple(itertools.chain.from_iterable(shares)), losses=fitted.losses)


def _by_group(groups: Sequence[VersionGroup], terms: Sequence[Term]) -> list[list[Term]]:
    remaining = iter(terms)
    return [list(itertools.islice(remaining, len(group.deltas))) for group in groups]


def _taken(coefficients: list[float], recipe: Recipe) -> list[float]:
    """Take nothing of the deltas where a control trains the head alone."""
    training = recipe.calibration_training
    return coefficients if training is None or training.take_deltas else [0.0] * len(coefficients)


def _folded(groups: Sequence[VersionGroup], coefficients: Sequence[float], recipe: Recipe) -> list[float]:
    folded: list[float] = []
    for group in groups:
        start = len(folded)
        folded += fold(coefficients[start : start + len(group.deltas)], recipe.centering)
    return folded


def _at_step_scale(candidate: Candidate, full: Factors, scale: float) -> Factors:
    return full if scale == 1.0 else candidate.at_step_scale(scale)


def _merged_delta(
    delta: DeltaInput, weight: Weight, coefficient: float, agreement: float, lengths: tuple[float, float]
) -> MergedDelta:
    size, clip = lengths
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
        clip=clip,
    )
