"""What central differential privacy costs in loss: `python -m bench.privacy`, on a simulated fleet and a tiny model.

Every row is a run of one fleet of equal agents that train B alone, with `ffa-lora`: as it is, clipped, and with noise
for an epsilon. Merges go through the worker's own private merge. An agent takes part as often as the plan would allow.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click
import torch

from alignfed.privacy.central import CentralPrivacy
from alignfed.privacy.noise import standard_normal
from bench.federation.fleet import Layout
from bench.federation.regimes import Network, Regime, Tier
from bench.federation.tiny_federation import tiny_federation
from bench.simulator.engine import Engine
from bench.simulator.scenario import Defence, Guarded, Scenario, View
from bench.simulator.simulation import Setup, simulate
from coordinator.algo.factors import zeros_like
from coordinator.algo.merge.server_step import ServerStep, StepInput, Stepped
from coordinator.algo.privacy.budget import epsilon_after
from coordinator.algo.privacy.merge import Normal, PrivateMerge, aggregate_privately
from coordinator.algo.recipe import Recipe
from coordinator.algo.recipes import RECIPES
from coordinator.algo.values import AggregationInput, DeltaInput, norm_of

RECIPE = RECIPES["ffa-lora"]
JOB_SECONDS = 16.0


def noise_for(epsilon: float, *, participations: int, delta: float) -> float:
    """Return the smallest noise multiplier, to a thousandth, with which so many participations cost at most epsilon."""
    low, high = 0.0, 1000.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        cost = epsilon_after(participations, CentralPrivacy(noise_multiplier=middle, delta=delta))
        low, high = (middle, high) if cost > epsilon else (low, middle)
    return high


def private_recipe(clip_norm: float, multiplier: float, *, buffer_size: int) -> Recipe:
    """Return the recipe with the worker's private merge for a server step; a multiplier of 0 only clips."""
    normal: Normal = standard_normal if multiplier else torch.zeros
    settings = PrivateMerge(
        privacy=CentralPrivacy(noise_multiplier=multiplier, clip_norm=clip_norm),
        buffer_size=buffer_size,
        freeze_a=True,
        normal=normal,
    )

    def step(found: StepInput) -> Stepped:
        inputs = AggregationInput(
            head=zeros_like(found.merged),
            deltas=found.deltas,
            merged_by_agent=found.merged_by_agent,
            base_factors=lambda _base: found.merged,
            server_learning_rate=1.0,
            probe=None,
            version_number=1,
        )
        return Stepped(direction=aggregate_privately(inputs, RECIPE, settings).adapter, state={})

    server_step: ServerStep = step
    return dataclasses.replace(RECIPE, server_step=server_step)


class Ledger:
    """Lets one delta of an agent into a merge, as often as it may take part, and notes the norms that it sees."""

    def __init__(self, participations: int) -> None:
        self._participations = participations
        self.norms: list[float] = []

    def __call__(self, deltas: Sequence[DeltaInput], view: View) -> Guarded:
        """See `bench.simulator.scenario.Guard`."""
        seen: Counter[str] = Counter()
        kept: list[DeltaInput] = []
        rejected: dict[str, str] = {}
        for delta in deltas:
            self.norms.append(norm_of(delta))
            seen[delta.agent_id] += 1
            if seen[delta.agent_id] > 1 or view.merged_by_agent[delta.agent_id] >= self._participations:
                rejected[delta.delta_id] = "PARTICIPATION"
            else:
                kept.append(delta)
        return Guarded(kept=tuple(kept), rejected=rejected)


@click.command()
@click.option("--agents", default=128, show_default=True)
@click.option("--buffer-size", default=64, show_default=True)
@click.option("--participations", default=4, show_default=True, help="Merges that an agent may be in.")
@click.option("--epsilon", "epsilons", multiple=True, type=float, default=(8.0, 2.0), show_default=True)
@click.option("--delta", default=1e-3, show_default=True)
@click.option("--eta", default=1.0, show_default=True, help="Server learning rate.")
@click.option("--seed", default=0, show_default=True)
@click.option("--cache-dir", type=click.Path(path_type=Path), default=Path(".alignfed"), show_default=True)
def main(
    agents: int, buffer_size: int, participations: int, epsilons: tuple[float, ...], delta: float, eta: float,
    seed: int, cache_dir: Path,
) -> None:  # fmt: skip
    """Print mean held-out loss of the base model and of the final adapter: not private, clipped, at each epsilon."""
    federation = tiny_federation(cache_dir, say=lambda line: click.echo(line, err=True))
    engine = Engine(federation, threads=1)
    regime = Regime(
        name="equal",
        tiers=(Tier(agents=agents, speed=1),),
        buffer_size=buffer_size,
        duration_seconds=JOB_SECONDS * (participations + 1),
        network=Network(),
    ).validate()

    def run(recipe: Recipe, label: str) -> Ledger:
        ledger = Ledger(participations)
        setup = Setup(regime=regime, layout=Layout.TIED, recipe=recipe, server_learning_rate=eta, seed=seed)
        result = simulate(setup, engine, scenario=Scenario(defence=Defence(guards=(ledger,)), evaluation_shares=(1.0,)))
        before, after = (statistics.fmean(losses.test.values()) for losses in (result.base, result.final.raw))
        click.echo(f"{label:<44} {result.merges:>3} merges   base {before:.4f}   final {after:.4f}")
        return ledger

    plain = run(RECIPE, "not private")
    clip_norm = statistics.median(plain.norms)
    parameters = sum(value.numel() for name, value in engine.initial(seed).items() if "lora_B" in name)
    click.echo(f"{parameters} parameters in B; deltas have a median norm of {clip_norm:.4g}, which they are clipped to")
    run(private_recipe(clip_norm, 0.0, buffer_size=buffer_size), "clipped")
    for epsilon in epsilons:
        multiplier = noise_for(epsilon, participations=participations, delta=delta)
        label = f"epsilon {epsilon:g} at delta {delta:g} (noise {multiplier:.3f})"
        run(private_recipe(clip_norm, multiplier, buffer_size=buffer_size), label)


if __name__ == "__main__":
    main()
