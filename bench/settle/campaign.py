"""Which runs an experiment consists of, and their results on disk: one JSON file per finished run, written at once."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import coordinator.algo
import coordinator.policy
from alignfed.plain import PlainValueError, from_plain
from bench.federation.federation import Federation
from bench.federation.fleet import Layout
from bench.federation.regimes import Regime
from bench.findings.tuning import UNTUNED
from bench.results import RunResult
from bench.simulator.simulation import Setup
from coordinator.algo.recipes import get_recipe


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """What is to be compared.

    Attributes:
        regimes: Where.
        layouts: How domains go with speed.
        recipes: Names of recipes.
        tuned: Those of the recipes that also run with every other rate of `rates`.
        rates: Server learning rates that tuning chooses from; the untuned one always runs.
        seeds: How often, with which seeds.
        variants: Controls of the calibration set besides the plain one, for recipes that use it.
    """

    regimes: tuple[Regime, ...]
    layouts: tuple[Layout, ...]
    recipes: tuple[str, ...]
    tuned: frozenset[str] = frozenset()
    rates: tuple[float, ...] = (0.5, 2.0)
    seeds: tuple[int, ...] = (0,)
    variants: tuple[str, ...] = ()

    def setups(self) -> tuple[Setup, ...]:
        """Return every run, those of one seed before those of the next, so that a broken-off contest still says much.

        Raises:
            PlanInvalid: A recipe is unknown.
        """
        recipes = [get_recipe(name) for name in self.recipes]
        return tuple(
            Setup(
                regime=regime,
                layout=layout,
                recipe=recipe,
                server_learning_rate=rate,
                seed=seed,
                variant=variant,
            )
            for seed in self.seeds
            for regime in self.regimes
            for layout in self.layouts
            for recipe in recipes
            for rate in (UNTUNED, *(rate for rate in self.rates if recipe.name in self.tuned and rate != UNTUNED))
            for variant in ("", *(self.variants if recipe.needs_probe and rate == UNTUNED else ()))
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A finished run, and the digest of the code that made it."""

    result: RunResult
    code: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Finished runs in a folder. A file holds the result, its regime, and the digest of the code that made it.

    Attributes:
        folder: Where.
        federation: Whose.
        tasks: Digest of the problems that final adapters are asked; empty when scores do not matter. A run that was not
            scored by just these is run again, because no run leaves its adapter behind.
    """

    folder: Path
    federation: Federation
    tasks: str = ""

    def find(self, setup: Setup) -> RunResult | None:
        """Return the run of this very setup.

        None when it has not finished here, its regime meant something else, or it was not asked these problems.
        """
        try:
            found = json.loads(self._path(setup).read_text("utf-8"))
            result = RunResult.from_dict(found["result"])
            regime = from_plain(Regime, found["regime"])  # settings that came later have the value they stood for
        except (OSError, ValueError, KeyError, TypeError, PlainValueError):  # a damaged file is a run to do again
            return None
        same = regime == setup.regime and result.key == setup.key(self.federation)
        return result if same and self.tasks in ("", found.get("tasks", "")) else None

    def keep(self, setup: Setup, result: RunResult) -> None:
        """Write a finished run."""
        path = self._path(setup)
        path.parent.mkdir(parents=True, exist_ok=True)
        written = {
            "regime": dataclasses.asdict(setup.regime),
            "code": code_digest(),
            "tasks": self.tasks,
            "result": result.to_dict(),
        }
        part = path.with_suffix(".part")
        part.write_text(json.dumps(written) + "\n", "utf-8")
        part.replace(path)

    def finished(self, regimes: Iterable[Regime]) -> tuple[Finished, ...]:
        """Return every run of this federation that has finished here in one of `regimes`, whoever asked for it.

        Only scores on the problems of `tasks` are returned with them: others cannot be compared.
        """
        meanings = {regime.name: regime for regime in regimes}
        found = []
        for path in sorted((self.folder / self.federation.digest).glob("*.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, PlainValueError):
                values = json.loads(path.read_text("utf-8"))
                result = RunResult.from_dict(values["result"])
                if not self.tasks or values.get("tasks", "") != self.tasks:
                    result = dataclasses.replace(result, solved={})
                if meanings.get(result.key.regime) == from_plain(Regime, values["regime"]):
                    found.append(Finished(result=result, code=str(values["code"])))
        return tuple(found)

    def _path(self, setup: Setup) -> Path:
        key = setup.key(self.federation)
        eta = f"{setup.server_learning_rate:g}"
        parts = [key.regime, key.layout, key.recipe, f"eta{eta}", f"seed{key.seed}", key.variant]
        return self.folder / key.federation / ("_".join(part for part in parts if part) + ".json")


def code_digest(*more: Path) -> str:
    """Return a digest of the aggregation, the policy, the simulator and `more` files (SHA-256, 12 hex digits)."""
    algo = Path(coordinator.algo.__path__[0])
    simulator = Path(__file__).parents[1] / "simulator"
    files = [*sorted(algo.rglob("*.py")), Path(str(coordinator.policy.__file__)), *sorted(simulator.glob("*.py"))]
    digest = hashlib.sha256()
    for file in (*files, *more):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def left_to_do(setups: Sequence[Setup], results: Results) -> list[Setup]:
    """Return the setups that have no result yet, in order."""
    return [setup for setup in setups if results.find(setup) is None]
