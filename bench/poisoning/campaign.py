"""Which trials make up the benchmark, and their outcomes on disk: one JSON file per finished trial, written at once."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from alignfed.plain import PlainValueError, from_plain
from bench.federation.regimes import Regime
from bench.poisoning.defences import REFERENCE
from bench.poisoning.outcome import HONEST, Outcome, Placement, Trial, clean_trial
from bench.settle.campaign import code_digest


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Trials of every combination, with the clean runs that they are compared with."""

    attacks: tuple[str, ...]
    defences: tuple[str, ...]
    shares: tuple[float, ...] = (0.2,)
    placements: tuple[Placement, ...] = (Placement.EVEN,)
    seeds: tuple[int, ...] = (0,)

    def trials(self) -> list[Trial]:
        """Return the trials, clean ones of a seed first."""
        made = [clean_trial(defence, seed) for seed in self.seeds for defence in (REFERENCE, *self.defences)]
        for seed, attack, share, placement, defence in itertools.product(
            self.seeds, self.attacks, self.shares, self.placements, self.defences
        ):
            if attack != HONEST and share:
                made.append(Trial(attack=attack, share=share, placement=placement, defence=defence, seed=seed))
        return made


def trials_of(blocks: Iterable[Block]) -> tuple[Trial, ...]:
    """Return the trials of all blocks in order, each once."""
    return tuple(dict.fromkeys(trial for block in blocks for trial in block.trials()))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Finished trials in a folder. A file holds the outcome, its regime, and the digest of the code that made it.

    Attributes:
        folder: Where.
        federation: Digest of the federation.
        regime: The fleet.
        code: Digest of the code that is running: taken at the start, because files may change under a long run.
    """

    folder: Path
    federation: str
    regime: Regime
    code: str = dataclasses.field(default_factory=lambda: code_digest(*sorted(Path(__file__).parent.rglob("*.py"))))

    def find(self, trial: Trial) -> Outcome | None:
        """Return the outcome of this very trial; None when it has not finished here, or the fleet was another."""
        found = self._read(self._path(trial))
        return found[0] if found and found[0].trial == trial else None

    def keep(self, outcome: Outcome) -> None:
        """Write a finished trial."""
        path = self._path(outcome.trial)
        path.parent.mkdir(parents=True, exist_ok=True)
        written = {
            "regime": dataclasses.asdict(self.regime),
            "code": self.code,
            "outcome": dataclasses.asdict(outcome),
        }
        part = path.with_suffix(".part")
        part.write_text(json.dumps(written) + "\n", "utf-8")
        part.replace(path)

    def finished(self) -> tuple[list[Outcome], list[str]]:
        """Return every outcome of this federation and fleet, and the digests of the code that made them."""
        found = [self._read(path) for path in sorted(self._place.glob("*.json"))]
        outcomes = [pair for pair in found if pair is not None]
        return [outcome for outcome, _ in outcomes], sorted({code for _, code in outcomes})

    @property
    def _place(self) -> Path:
        return self.folder / self.federation / self.regime.name

    def _path(self, trial: Trial) -> Path:
        return self._place / f"{trial.name}.json"

    def _read(self, path: Path) -> tuple[Outcome, str] | None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, PlainValueError):
            values = json.loads(path.read_text("utf-8"))  # a damaged file is a trial to do again
            if from_plain(Regime, values["regime"]) == self.regime:
                return Outcome.from_dict(values["outcome"]), str(values["code"])
        return None


def left_to_do(trials: Sequence[Trial], outcomes: Outcomes) -> list[Trial]:
    """Return the trials that have no outcome yet, in order."""
    return [trial for trial in trials if outcomes.find(trial) is None]
