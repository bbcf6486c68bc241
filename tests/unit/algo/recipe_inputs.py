"""Buffers that every recipe can merge, for tests that run all recipes."""

from __future__ import annotations

from alignfed.codec import Factors
from coordinator.algo.align.alignment import leave_alone
from coordinator.algo.align.gauge import transport_gauge
from coordinator.algo.recipes import RECIPES
from coordinator.algo.values import AggregationInput, MergeSpace
from tests.unit.algo.support import QuadraticProbe, make_delta, make_factors, make_input, only_b

NAMES = sorted(RECIPES)
LINEAR = [
    name
    for name, recipe in sorted(RECIPES.items())
    if recipe.align in (leave_alone, transport_gauge)
    and recipe.server_step is None
    and recipe.calibration_training is None
    and (recipe.robust is None or recipe.robust.combine is None)
    and recipe.space is MergeSpace.FACTOR
]
"""Recipes whose candidate is the head plus a weighted sum of the deltas as they came."""


def delta_factors(seed: int, name: str) -> Factors:
    factors = make_factors(seed, scale=0.1)
    return only_b(factors) if RECIPES[name].fleet.freeze_a else factors


def stale_input(staleness: list[int], seed: int = 0, *, name: str = "alignfed") -> AggregationInput:
    deltas = [
        make_delta(seed + i, staleness=tau, examples=3 + i, factors=delta_factors(seed + i, name))
        for i, tau in enumerate(staleness)
    ]
    return make_input(
        deltas,
        merged={delta.agent_id: i for i, delta in enumerate(deltas)} | {"idle": 0},
        base_factors=lambda base: make_factors(base.number),
        eta=0.7,
        probe=QuadraticProbe(make_factors(4321)),
    )


def loader(inputs: AggregationInput) -> dict[str, Factors]:
    return {delta.delta_id: delta.load() for delta in inputs.deltas}
