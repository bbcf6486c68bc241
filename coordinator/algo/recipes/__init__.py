"""The recipes a federation plan may name, one file each. To add one: write its file and list it here."""

from __future__ import annotations

from alignfed.errors import PlanInvalid
from coordinator.algo.recipe import Recipe
from coordinator.algo.recipes import (
    activation_transport,
    alignfed,
    alignfed_calibrated,
    alignfed_paper,
    alignfed_paper_corrected,
    alignfed_paper_unaligned,
    ca2fl,
    calibration_only,
    calibration_sgd,
    conflict_projection,
    delay_compensation,
    fadas,
    fedasync,
    fedavg,
    fedavgm,
    fedbuff,
    fedstaleweight,
    ffa_lora,
    flexlora,
    freshness,
    median,
    multi_krum,
    orthofl,
    participation,
    participation_corrected_map,
    participation_paced,
    participation_paper_map,
    trimmed_mean,
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        activation_transport.RECIPE,
        alignfed.RECIPE,
        alignfed_calibrated.RECIPE,
        alignfed_paper.RECIPE,
        alignfed_paper_corrected.RECIPE,
        alignfed_paper_unaligned.RECIPE,
        ca2fl.RECIPE,
        calibration_only.RECIPE,
        calibration_sgd.RECIPE,
        conflict_projection.RECIPE,
        delay_compensation.RECIPE,
        fadas.RECIPE,
        fedasync.RECIPE,
        fedavg.RECIPE,
        fedavgm.RECIPE,
        fedbuff.RECIPE,
        fedstaleweight.RECIPE,
        ffa_lora.RECIPE,
        flexlora.RECIPE,
        freshness.RECIPE,
        median.RECIPE,
        multi_krum.RECIPE,
        orthofl.RECIPE,
        participation.RECIPE,
        participation_corrected_map.RECIPE,
        participation_paced.RECIPE,
        participation_paper_map.RECIPE,
        trimmed_mean.RECIPE,
    )
}


def get_recipe(name: str) -> Recipe:
    """Return the recipe of that name.

    Raises:
        PlanInvalid: There is none; the message lists those that exist.
    """
    if name not in RECIPES:
        raise PlanInvalid(f"aggregation.recipe {name!r} is unknown: choose one of {', '.join(sorted(RECIPES))}")
    return RECIPES[name]
