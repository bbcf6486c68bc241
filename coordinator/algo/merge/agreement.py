"""How far each delta agrees with what the merge did: a cosine for the record, in the space that was merged in."""

from __future__ import annotations

import math

from alignfed.codec import Factors
from coordinator.algo.factors import add_scaled, copy_of, cosine, inner, norm
from coordinator.algo.merge.candidate import Weighed
from coordinator.algo.merge.products import product_difference, product_inner
from coordinator.algo.values import AggregationInput, MergeSpace


def agreement(inputs: AggregationInput, weighed: Weighed, adapter: Factors, space: MergeSpace) -> list[float]:
    """Return the cosine between each delta as it was merged and the step from the head to `adapter`, in merge order.

    In product space both are changes of the products `B A`, each delta's against its own base.
    """
    if space is MergeSpace.PRODUCT:
        return _in_products(inputs, weighed, adapter)
    step = copy_of(adapter)
    add_scaled(step, inputs.head, -1.0)
    step_norm = norm(step)
    cosines = []
    for sent, size, term in zip(weighed.deltas, weighed.norms, weighed.terms, strict=True):
        delta = term.load()
        cosines.append(cosine(inner(delta, step), size if term.load is sent.load else norm(delta), step_norm))
    return cosines


def _in_products(inputs: AggregationInput, weighed: Weighed, adapter: Factors) -> list[float]:
    step = product_difference(inputs.head, adapter)
    step_norm = _product_norm(step)
    cosines = []
    for base, term in zip(weighed.bases, weighed.terms, strict=True):
        trained = copy_of(base)
        add_scaled(trained, term.load(), 1.0)
        change = product_difference(base, trained)
        cosines.append(cosine(product_inner(change, step), _product_norm(change), step_norm))
    return cosines


def _product_norm(difference: Factors) -> float:
    return math.sqrt(max(0.0, product_inner(difference, difference)))  # the max only takes off rounding
