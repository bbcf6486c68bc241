"""How a loss falls over time, and when it reaches a target. Pure arithmetic."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

SAME_LOSS = 1e-3
"""Nats by which a loss may miss a target: sums are rounded in other orders on each side."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A version: seconds from the start until it was made, and its loss on rows that nobody trains on, in nats."""

    seconds: float
    loss: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One contender's race.

    Attributes:
        name: Who.
        points: Its versions in the order of their making; the first is what all begin from, at 0 seconds.
        trainings: How many deltas agents have trained.
        late: Trainings among them that took longer than their agent's time: the machine had other things to do.
    """

    name: str
    points: tuple[Point, ...]
    trainings: int
    late: int

    @property
    def best(self) -> float:
        """The lowest loss of any version."""
        return min(point.loss for point in self.points)

    def seconds_to(self, loss: float) -> float | None:
        """Return when the first version had such a loss (within `SAME_LOSS`) or a lower one; None if none had."""
        return next((point.seconds for point in self.points if point.loss <= loss + SAME_LOSS), None)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A loss that Flower reached after a round, and seconds until each contender had it, by name."""

    round: int
    loss: float
    seconds: dict[str, float | None]


def targets_of(flower: Run, others: Sequence[Run]) -> list[Target]:
    """Return a target for each of Flower's rounds: what it had reached by then."""
    found = []
    for number, point in enumerate(flower.points[1:], 1):
        seconds = {run.name: run.seconds_to(point.loss) for run in (flower, *others)}
        found.append(Target(round=number, loss=point.loss, seconds=seconds))
    return found


def table(runs: Sequence[Run]) -> str:
    """Return the targets and how each run ended, for people; Flower's run comes first."""
    flower, *others = runs
    names = [run.name for run in runs]
    lines = [
        "seconds to the loss that Flower has after",
        " ".join([f"{'round':<7}{'loss':>8}", *(f"{n:>13}" for n in names)]),
    ]
    for target in targets_of(flower, others):
        cells = []
        for name in names:
            seconds = target.seconds[name]
            cells.append(f"{'never':>13}" if seconds is None else f"{seconds:>13.1f}")
        lines.append(" ".join([f"{target.round:<7}{target.loss:>8.4f}", *cells]))
    rows = {
        "versions": [str(len(run.points) - 1) for run in runs],
        "trainings": [str(run.trainings) for run in runs],
        "of them late": [str(run.late) for run in runs],
        "first loss": [f"{run.points[0].loss:.4f}" for run in runs],
        "last loss": [f"{run.points[-1].loss:.4f}" for run in runs],
        "lowest loss": [f"{run.best:.4f}" for run in runs],
        "seconds": [f"{run.points[-1].seconds:.1f}" for run in runs],
    }
    lines += [" ".join([f"{what:<15}", *(f"{value:>13}" for value in values)]) for what, values in rows.items()]
    return "\n".join(lines)
