"""The same federation once per encoding and seed, and what came of it; finished runs are kept and not run again."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from alignfed.plain import PlainValueError, from_plain
from bench.encodings.forms import FORMS
from bench.federation.federation import Federation
from bench.federation.fleet import Layout
from bench.federation.regimes import Regime
from bench.settle.campaign import code_digest
from bench.simulator.engine import Engine
from bench.simulator.simulation import Setup, simulate
from bench.simulator.wire import Wire
from coordinator.algo.recipes import get_recipe

SERVER_LEARNING_RATE = 1.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What is run: every form under every recipe with every seed, in one regime, domains tied to speed."""

    regime: Regime
    recipes: tuple[str, ...]
    seeds: tuple[int, ...]
    forms: tuple[str, ...] = tuple(FORMS)

    def cases(self) -> list[tuple[int, str, str]]:
        """Return seed, recipe and form of each run: all forms of one seed before the next seed."""
        return [(seed, recipe, form) for seed in self.seeds for recipe in self.recipes for form in self.forms]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EncodedRun:
    """One run.

    Attributes:
        federation: Digest of model, data and training settings.
        regime: Its name.
        recipe: Its name.
        form: A key of `FORMS`.
        seed: Decides everything random.
        base_loss: Of the base model without an adapter, mean over domains, in nats per token.
        final_loss: Of what is served at the end, the same.
        merges: Versions published.
        gated: Candidates that the judge refused.
        relative_error: Of one delta alone, mean over the run's deltas.
        code: Digest of aggregation and simulator.
    """

    federation: str
    regime: str
    recipe: str
    form: str
    seed: int
    base_loss: float
    final_loss: float
    merges: int
    gated: int
    relative_error: float
    code: str


def carry_out(
    comparison: Comparison, federation: Federation, file: Path, *, say: Callable[[str], None]
) -> list[EncodedRun]:
    """Return all runs, carrying out those that `file` does not hold; each is written there as soon as it ends.

    Args:
        comparison: What to run.
        federation: On what.
        file: JSON Lines, one run each; created if missing.
        say: Told a line about every run.
    """
    found = {_key(run): run for run in read_runs(file)}
    engine: Engine | None = None
    code = code_digest()
    runs = []
    cases = comparison.cases()
    for number, (seed, recipe, form) in enumerate(cases, 1):
        run = found.get((federation.digest, comparison.regime.name, recipe, form, seed))
        if run is None:
            engine = engine or Engine(federation, threads=1)
            run = _run(comparison.regime, engine, recipe=recipe, form=form, seed=seed, code=code)
            with file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(dataclasses.asdict(run)) + "\n")
            say(f"[{number}/{len(cases)}] {recipe}, {form}, seed {seed}: {run.final_loss:.4f}")
        runs.append(run)
    return runs


def read_runs(file: Path) -> list[EncodedRun]:
    """Return the runs that a file holds; a line that a crash cut off is none."""
    runs = []
    for line in file.read_text("utf-8").splitlines() if file.exists() else ():
        try:
            runs.append(from_plain(EncodedRun, json.loads(line)))
        except (ValueError, PlainValueError):
            continue
    return runs


def _key(run: EncodedRun) -> tuple[str, str, str, str, int]:
    return (run.federation, run.regime, run.recipe, run.form, run.seed)


def _run(regime: Regime, engine: Engine, *, recipe: str, form: str, seed: int, code: str) -> EncodedRun:
    wire = Wire(FORMS[form], measures=True)
    setup = Setup(
        regime=regime,
        layout=Layout.TIED,
        recipe=get_recipe(recipe),
        server_learning_rate=SERVER_LEARNING_RATE,
        seed=seed,
    )
    result = simulate(setup, engine, wire=wire)
    return EncodedRun(
        federation=engine.federation.digest,
        regime=regime.name,
        recipe=recipe,
        form=form,
        seed=seed,
        base_loss=result.base.mean_test,
        final_loss=result.final.served.mean_test,
        merges=result.merges,
        gated=result.gated,
        relative_error=mean(wire.relative_errors),
        code=code,
    )


def mean(values: Sequence[float]) -> float:
    """Return the mean of at least one value."""
    return math.fsum(values) / len(values)
