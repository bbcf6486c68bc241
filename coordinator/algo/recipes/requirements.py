"""What a recipe asks of the plan it is named in, checked where a federation is created and where it is merged."""

from __future__ import annotations

from alignfed.errors import PlanInvalid
from alignfed.plan import FederationPlan
from coordinator.algo.privacy.bounded import check_bounded
from coordinator.algo.recipe import Recipe
from coordinator.algo.recipes import get_recipe


def recipe_of(plan: FederationPlan) -> Recipe:
    """Return the recipe that a plan names, once the plan asks of the agents what the recipe needs.

    Raises:
        PlanInvalid: There is no such recipe, or its fleet needs a setting that the plan does not have; the message says
            which. Or the plan is private, and the recipe cannot be.
    """
    recipe = get_recipe(plan.aggregation.recipe)
    if plan.privacy.enabled:
        check_bounded(recipe)
    needs = (
        ("lora.freeze_a", recipe.fleet.freeze_a, plan.lora.freeze_a, "agents that train only B"),
        ("training.wait_for_version", recipe.fleet.synchronous, plan.training.wait_for_version, "synchronous rounds"),
    )
    for setting, needed, given, what in needs:
        if needed and not given:
            raise PlanInvalid(
                f"recipe {recipe.name} needs {what}: set {setting} = true in the plan, or choose another recipe in "
                "aggregation.recipe"
            )
    return recipe
