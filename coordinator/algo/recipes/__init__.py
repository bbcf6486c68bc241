"""The recipes a federation plan may name, one file each. To add one: write its file and list it here."""

from __future__ import annotations

from alignfed.errors import PlanInvalid
from coordinator.algo.recipe import Recipe
from coordinator.algo.recipes import alignfed, alignfed_paper, alignfed_paper_corrected, fedbuff, participation

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        alignfed.RECIPE,
        alignfed_paper.RECIPE,
        alignfed_paper_corrected.RECIPE,
        fedbuff.RECIPE,
        participation.RECIPE,
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
