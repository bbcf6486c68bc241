"""Multi-Krum within version groups: the mean of the deltas with the closest neighbours.

Source: Blanchard et al. 2017 (NeurIPS).

Deviates: deltas of different base versions are pooled, aligned, where a group is too small by itself; groups and pool
are weighed by participation, deltas within them alike.
"""

from __future__ import annotations

from coordinator.algo.merge.mixed_rank import RankAveraging
from coordinator.algo.merge.multi_krum import MULTI_KRUM
from coordinator.algo.recipe import Recipe
from coordinator.algo.weigh.weighting import Weighting, inverse_share

RECIPE = Recipe(
    name=MULTI_KRUM.name,
    weighting=Weighting(fairness=inverse_share(0.5)),
    robust=MULTI_KRUM,
    rank_averaging=RankAveraging.ZERO_PADDED,
)
