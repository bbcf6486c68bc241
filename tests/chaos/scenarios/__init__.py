"""Ways to break a federation, by name; each runs for itself and returns its outcome."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from tests.chaos.scenarios import (
    clock_jumps,
    corners,
    exactly_once,
    failovers,
    flapping,
    kills,
    rolling,
    store_kills,
    zombies,
)
from tests.chaos.verdict.outcome import Outcome


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """How much of it: `count` is whatever the scenario counts, `bounces` those of each side.

    `every_place` lets kills go on until every failpoint had its turn.
    """

    count: int
    bounces: int = 0
    every_place: bool = True
    seed: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A scenario, how much of it CI sees, and how much a soak."""

    run: Callable[[Path, Amount, str], Outcome]
    short: Amount
    long: Amount


def _kills(folder: Path, amount: Amount, software: str) -> Outcome:
    return kills.run(folder, seed=amount.seed, kills=amount.count, every_place=amount.every_place, software=software)


def _files(folder: Path, amount: Amount, software: str) -> Outcome:
    return kills.run(folder, seed=amount.seed, kills=amount.count, every_place=False, software=software, files=True)


def _store_kills(folder: Path, amount: Amount, software: str) -> Outcome:
    return store_kills.run(folder, seed=amount.seed, kills=amount.count, software=software)


def _exactly_once(folder: Path, amount: Amount, software: str) -> Outcome:
    return exactly_once.run(folder, seed=amount.seed, deltas=amount.count, bounces=amount.bounces, software=software)


def _zombies(folder: Path, amount: Amount, software: str) -> Outcome:
    return zombies.run(folder, seed=amount.seed, zombies=amount.count, software=software)


def _rolling(folder: Path, amount: Amount, software: str) -> Outcome:
    return rolling.run(folder, seed=amount.seed, rounds=amount.count, software=software)


def _corners(folder: Path, amount: Amount, software: str) -> Outcome:
    return corners.run(folder, seed=amount.seed, rounds=amount.count, software=software)


def _failovers(folder: Path, amount: Amount, _software: str) -> Outcome:
    return failovers.run_failovers(folder, seed=amount.seed, failovers=amount.count)


def _flapping(folder: Path, amount: Amount, _software: str) -> Outcome:
    return flapping.run_flapping(folder, flapping.Link(phases=amount.count), seed=amount.seed)


def _offline(folder: Path, amount: Amount, _software: str) -> Outcome:
    return flapping.run_offline(folder, away_versions=amount.count, seed=amount.seed)


def _clock_jumps(folder: Path, amount: Amount, _software: str) -> Outcome:
    return clock_jumps.run_clock_jumps(folder, seed=amount.seed, rounds=amount.count)


SCENARIOS = {
    "kills": Scenario(run=_kills, short=Amount(count=500), long=Amount(count=5_000)),
    "files": Scenario(run=_files, short=Amount(count=150), long=Amount(count=2_000)),
    "corners": Scenario(run=_corners, short=Amount(count=1), long=Amount(count=10)),
    "store-kills": Scenario(run=_store_kills, short=Amount(count=50), long=Amount(count=500)),
    "exactly-once": Scenario(
        run=_exactly_once, short=Amount(count=100_000, bounces=3), long=Amount(count=1_000_000, bounces=30)
    ),
    "zombies": Scenario(run=_zombies, short=Amount(count=100), long=Amount(count=1_000)),
    "rolling-restart": Scenario(run=_rolling, short=Amount(count=3), long=Amount(count=50)),
    "failovers": Scenario(run=_failovers, short=Amount(count=10), long=Amount(count=500)),
    "flapping-link": Scenario(run=_flapping, short=Amount(count=20), long=Amount(count=500)),
    "offline": Scenario(run=_offline, short=Amount(count=6), long=Amount(count=60)),
    "clock-jumps": Scenario(run=_clock_jumps, short=Amount(count=1), long=Amount(count=20)),
}
