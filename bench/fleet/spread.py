"""How news of a version spread over a fleet: from its making, and from the first agent that knew. Pure arithmetic."""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from bench.fleet.figures import TICKS_PER_SECOND, Version


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """When agents knew of one version, in seconds.

    Attributes:
        federation: Whose it is.
        version: Its number.
        told: Agents that learnt of it, or of a newer one, while connected.
        p50, p99, last: From its making by the worker, which then stores and commits it, until so many knew.
        fanned_p50, fanned_p99, fanned_last: From the first agent that knew.
    """

    federation: str
    version: int
    told: int
    p50: float
    p99: float
    last: float
    fanned_p50: float
    fanned_p99: float
    fanned_last: float


def spread_of(version: Version, ticks: Mapping[int, int], *, made_at: float) -> Spread:
    """Return how one version's news spread.

    Args:
        version: Which.
        ticks: How many learnt of it at each tick; at least one.
        made_at: When the worker made it, in Unix seconds by its own clock.
    """
    first = min(ticks) / TICKS_PER_SECOND
    p50, p99, last = (_reached(ticks, fraction) for fraction in (0.5, 0.99, 1.0))
    return Spread(
        federation=version[0],
        version=version[1],
        told=sum(ticks.values()),
        p50=p50 - made_at,
        p99=p99 - made_at,
        last=last - made_at,
        fanned_p50=p50 - first,
        fanned_p99=p99 - first,
        fanned_last=last - first,
    )


def spreads(news: Mapping[Version, Counter[int]], made_at: Mapping[Version, float], *, least_told: int) -> list[Spread]:
    """Return the spread of each version that at least `least_told` agents learnt of, by federation, oldest first.

    A version that was made too late in the run for most to hear of it says nothing about how fast they do.
    """
    return [
        spread_of(version, news[version], made_at=made_at[version])
        for version in sorted(news.keys() & made_at.keys())
        if sum(news[version].values()) >= max(least_told, 1)
    ]


def typical(of: Iterable[Spread], figure: Callable[[Spread], float]) -> float | None:
    """Return the median over versions of one of their figures; None when there is no version."""
    values = [figure(spread) for spread in of]
    return statistics.median(values) if values else None


def _reached(ticks: Mapping[int, int], fraction: float) -> float:
    """Return when `fraction` of all had learnt of it, in Unix seconds."""
    wanted, seen = fraction * sum(ticks.values()), 0
    for tick in sorted(ticks):
        seen += ticks[tick]
        if seen >= wanted:
            return tick / TICKS_PER_SECOND
    return max(ticks) / TICKS_PER_SECOND
