"""Robust means: what stands for several deltas when some of them may be hostile.

A version group is a cohort: its deltas come from one adapter and are alike in all but data. Groups that are smaller
than the method needs are pooled, and when what is pooled is smaller too, all deltas are one cohort: after alignment
they are all meant for the head. Within a cohort deltas count alike, whatever their examples, so that nobody gains by
claiming many; between cohorts the recipe's weights decide. Every coordinate of the result is a convex combination of
the cohort's.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import torch

from alignfed.codec import Factors
from coordinator.algo.merge.merging import Term
from coordinator.domain import VersionId

BLOCK_ELEMENTS = 1 << 20
"""Elements of a tensor that are combined at a time: 4 MiB for each delta of the cohort, beside the deltas."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Robust:
    """One robust mean: it either combines coordinates or chooses deltas.

    Attributes:
        name: What merge records call it.
        smallest: Deltas from which on it withstands one that is hostile.
        combine: From `(deltas, elements)` fp32 to `(elements,)`, every element by itself.
        choose: Each delta's share of the mean, 0 or more with sum 1.
    """

    name: str
    smallest: int
    combine: Callable[[torch.Tensor], torch.Tensor] | None = None
    choose: Callable[[Sequence[Factors]], list[float]] | None = None


def cohorts(bases: Sequence[VersionId], smallest: int) -> list[list[int]]:
    """Return the cohorts as positions in `bases`, the base version of each delta in merge order."""
    groups: dict[VersionId, list[int]] = {}
    for position, base in enumerate(bases):
        groups.setdefault(base, []).append(position)
    alone = [group for group in groups.values() if len(group) >= smallest]
    pooled = sorted(position for group in groups.values() if len(group) < smallest for position in group)
    if pooled and len(pooled) < smallest:
        return [list(range(len(bases)))]
    return [*alone, pooled] if pooled else alone


def shared(terms: Sequence[Term], bases: Sequence[VersionId], robust: Robust) -> list[float]:
    """Return the coefficients of deltas within their cohorts: even shares, or those that the method chooses.

    A cohort's coefficients sum to what they summed to before. To choose, all deltas of a cohort are in memory.
    """
    coefficients = [0.0] * len(terms)
    for cohort in cohorts(bases, robust.smallest):
        total = math.fsum(terms[i].coefficient for i in cohort)
        even = [1.0 / len(cohort)] * len(cohort)
        shares = even if robust.choose is None else robust.choose([terms[i].load() for i in cohort])
        for i, share in zip(cohort, shares, strict=True):
            coefficients[i] = total * share
    return coefficients


def combined(terms: Sequence[Term], bases: Sequence[VersionId], robust: Robust) -> list[Term]:
    """Return one term per cohort, whose delta is the cohort's robust mean; the terms themselves when it chooses.

    The same terms in the same order give the same bits. A mean is kept once it was made: one delta per cohort, in fp32;
    while it is made, all deltas of its cohort are in memory.
    """
    if robust.combine is None:
        return list(terms)
    return [
        Term(
            coefficient=math.fsum(terms[i].coefficient for i in cohort),
            load=functools.cache(functools.partial(_mean, [terms[i] for i in cohort], robust.combine)),
        )
        for cohort in cohorts(bases, robust.smallest)
    ]


def _mean(terms: Sequence[Term], combine: Callable[[torch.Tensor], torch.Tensor]) -> Factors:
    deltas = [term.load() for term in terms]
    mean: Factors = {}
    for name, first in deltas[0].items():
        mean[name] = torch.empty(first.shape, dtype=torch.float32)
        split = [torch.split(delta[name].detach().reshape(-1), BLOCK_ELEMENTS) for delta in deltas]
        for into, *blocks in zip(torch.split(mean[name].view(-1), BLOCK_ELEMENTS), *split, strict=True):
            into.copy_(combine(torch.stack([block.float() for block in blocks])))
    return mean
