"""Both sides in turn, payload by payload."""

from __future__ import annotations

import dataclasses
import functools
import statistics
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from bench.flower.goals import CONTESTS, Contest
from bench.flower.installed import Flower
from bench.flower.ours import Ours
from bench.flower.payloads import tiny
from bench.flower.rival import Rival
from bench.speed.goals import Row
from bench.speed.rounds import compare
from coordinator.local.processes import Supervisor

CLIENTS = 4
ROUNDS = 5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Processor seconds of each process in a round, medians."""

    ours: Mapping[str, float]
    theirs: Mapping[str, float]

    def __str__(self) -> str:
        mine, others = sum(self.ours.values()), sum(self.theirs.values())
        return f"{mine:.3g} s of processor time, against {others:.3g} s ({others / mine:.1f} times as much)"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was measured for one goal."""

    row: Row
    costs: Costs


def measure(
    flower: Flower,
    *,
    clients: int = CLIENTS,
    rounds: int = ROUNDS,
    contests: tuple[Contest, ...] = CONTESTS,
    say: Callable[[str], None],
) -> list[Found]:
    """Measure uploads of one client, and what `clients` of them upload until it is merged.

    Both deployments run all the time and idle while the other is measured.

    Args:
        flower: Where Flower is.
        clients: How many take part in a merge.
        rounds: Rounds that count.
        contests: What is carried.
        say: Told each round.

    Raises:
        LocalProcessFailed: A process does not get ready, or fails.
    """
    payloads = [it.payload for it in contests]
    with tempfile.TemporaryDirectory(prefix="alignfed-flower-") as folder, ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor())
        say(f"starting a coordinator, a worker and {clients} agents")
        ours = Ours(stack, supervisor, Path(folder) / "ours", payloads, clients)
        say(f"starting a SuperLink, a ServerApp and {clients} clients of Flower {flower.versions['flwr']}")
        theirs = Rival(stack, supervisor, Path(folder) / "flower", flower, clients)
        found = []
        for it in contests:
            kinds = [(it.upload, ours.upload, theirs.upload)]
            if it.merge is not None:
                kinds.append((it.merge, ours.merge, theirs.merge))
            for goal, mine, others in kinds:
                one, other = functools.partial(mine, it.payload), functools.partial(others, it.payload)
                row = compare(goal, one, other, rounds=rounds, say=say)
                costs = Costs(ours=_medians(ours.meter.take()), theirs=_medians(theirs.meter.take()))
                found.append(Found(row=row, costs=costs))
                say(f"goal {goal.number}: {costs}")
    return sorted(found, key=lambda it: it.row.goal.number)


def _medians(readings: list[Mapping[str, float]]) -> dict[str, float]:
    """Return each process's median, without the round that warms up."""
    return {name: statistics.median(reading[name] for reading in readings[1:]) for name in readings[0]}


def tiny_contests() -> tuple[Contest, ...]:
    """Return the same contests with payloads that take no time, whose ratios say nothing."""
    return tuple(dataclasses.replace(it, payload=tiny(it.payload)) for it in CONTESTS)
