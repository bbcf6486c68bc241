"""Coordinate-wise trimmed mean within version groups: withstands a quarter of hostile deltas.

Source: Yin et al. 2018 (arXiv 1803.01498).

Deviates: deltas of different base versions are pooled, aligned, where a group is too small by itself; groups and pool
are weighed by participation, deltas within them alike.
"""

from __future__ import annotations

from coordinator.algo.merge.mixed_rank import RankAveraging
from coordinator.algo.merge.trimmed_mean import TRIMMED_MEAN
from coordinator.algo.recipe import Recipe
from coordinator.algo.weigh.weighting import Weighting, inverse_share

RECIPE = Recipe(
    name=TRIMMED_MEAN.name,
    weighting=Weighting(fairness=inverse_share(0.5)),
    robust=TRIMMED_MEAN,
    rank_averaging=RankAveraging.ZERO_PADDED,
)
