"""Which recipes have a provable bound on what one agent's delta can do, and what it is.

In a bounded recipe a merge's sum is `sum_i f(tau_i) clip(T(D_i))`, with `0 <= f <= 1` by staleness alone and `T` a map
that depends on the delta's base and the head. Replacing all deltas of one agent by zeros changes it by `clip_norm` at
most, whatever all the others sent: the L2 sensitivity of the sum is exactly `clip_norm`, as long as an agent has one
delta in a merge at most.

What every other recipe does breaks that: weights by examples or norms, or that sum to one, change when another agent's
delta does; coefficients fitted to calibration rows depend on inner products with all deltas; a server's memory carries
deltas into later merges beside the noise; a product of factors has no such bound.
"""

from __future__ import annotations

from alignfed.errors import PlanInvalid
from coordinator.algo.align.alignment import leave_alone
from coordinator.algo.align.centering import Centering
from coordinator.algo.recipe import Recipe
from coordinator.algo.recipes import RECIPES
from coordinator.algo.values import MergeSpace
from coordinator.algo.weigh.weighting import Denominator, Weighting, equal


def is_bounded(recipe: Recipe) -> bool:
    """Whether one agent's delta can move a merge by a bound that no other delta changes."""
    return (
        recipe.align is leave_alone
        and recipe.centering is Centering.NONE
        and recipe.pace is None
        and recipe.calibrate is None
        and recipe.robust is None
        and recipe.calibration_training is None
        and recipe.server_step is None
        and recipe.space is MergeSpace.FACTOR
        and _weighs_by_staleness_alone(recipe.weighting)
    )


def check_bounded(recipe: Recipe) -> None:
    """Check that a recipe can be private.

    Raises:
        PlanInvalid: It cannot; the message names those that can.
    """
    if not is_bounded(recipe):
        fit = " or ".join(sorted(name for name, other in RECIPES.items() if is_bounded(other)))
        raise PlanInvalid(
            f"recipe {recipe.name} has no bound on what one agent's delta can do, which [privacy] needs: set "
            f"aggregation.recipe to {fit}, or privacy.noise_multiplier to 0"
        )


def _weighs_by_staleness_alone(weighting: Weighting) -> bool:
    return (
        weighting.fairness is equal
        and not weighting.by_examples
        and not weighting.inverse_norm
        and not weighting.cap_newcomers
        and not weighting.remembers_staleness
        and weighting.denominator is Denominator.COUNT
        and weighting.largest_share == 1
        and weighting.mixing == 1
    )
