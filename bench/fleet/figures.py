"""What agents count and time, in a form that adds up over processes and subtracts over time. Pure: no clock, no I/O."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Self

GROWTH = 1.02
"""Ratio of one bucket's bound to the last one's: every quantile is right within two percent."""
SMALLEST_SECONDS = 1e-5
TICKS_PER_SECOND = 200
"""When agents learn of a version is kept to five milliseconds."""
Version = tuple[str, int]
"""A federation's name and a number: which version of which."""


class Durations:
    """A histogram of durations in seconds whose quantiles are right within `GROWTH`."""

    def __init__(self, buckets: Mapping[int, int] | None = None) -> None:
        self._buckets: Counter[int] = Counter(buckets or {})

    def add(self, seconds: float) -> None:
        """Count one duration; what is shorter than ten microseconds counts as that."""
        self._buckets[round(math.log(max(seconds, SMALLEST_SECONDS) / SMALLEST_SECONDS) / math.log(GROWTH))] += 1

    @property
    def count(self) -> int:
        """How many were counted."""
        return sum(self._buckets.values())

    def quantile(self, fraction: float) -> float | None:
        """Return the duration that `fraction` of all do not exceed; None when there are none."""
        wanted, seen = fraction * self.count, 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return SMALLEST_SECONDS * GROWTH**bucket
        return None

    def plus(self, other: Durations) -> Durations:
        """Return both together."""
        return Durations(self._buckets + other._buckets)

    def minus(self, earlier: Durations) -> Durations:
        """Return what was counted since an earlier state of the same histogram."""
        return Durations(self._buckets - earlier._buckets)

    def to_plain(self) -> dict[str, int]:
        """Return it as plain JSON values."""
        return {str(bucket): count for bucket, count in self._buckets.items()}

    @classmethod
    def from_plain(cls, values: Mapping[str, int]) -> Self:
        """Build it from plain JSON values."""
        return cls({int(bucket): count for bucket, count in values.items()})


@dataclasses.dataclass(slots=True)
class Figures:
    """What some agents did and saw.

    Attributes:
        counts: Events by name: `registered`, `polls`, `long_polls`, `watch_events`, `downloads`, `queries`,
            `acknowledged`, ...
        refusals: Answers of a coordinator that says no, by reason.
        failures: Calls without an answer, by gRPC status.
        durations: How long calls took, by name, the agent's own network not included.
        news: By version: how many agents learnt of it, or of a newer one, at a tick after the Unix epoch.
    """

    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    refusals: Counter[str] = dataclasses.field(default_factory=Counter)
    failures: Counter[str] = dataclasses.field(default_factory=Counter)
    durations: dict[str, Durations] = dataclasses.field(default_factory=dict)
    news: dict[Version, Counter[int]] = dataclasses.field(default_factory=dict)

    def took(self, what: str, seconds: float) -> None:
        """Count how long something took."""
        self.durations.setdefault(what, Durations()).add(seconds)

    def learnt(self, federation: str, known: int, newer: int, *, at: float) -> None:
        """Count an agent of a federation that knew version `known` and learns of `newer` at a Unix time in seconds.

        It has then learnt of all between them too.
        """
        tick = round(at * TICKS_PER_SECOND)
        for version in range(known + 1, newer + 1):
            self.news.setdefault((federation, version), Counter())[tick] += 1

    def since(self, earlier: Figures) -> Figures:
        """Return what was counted since an earlier state of the same figures; news are not subtracted."""
        none = Durations()
        return Figures(
            counts=self.counts - earlier.counts,
            refusals=self.refusals - earlier.refusals,
            failures=self.failures - earlier.failures,
            durations={name: it.minus(earlier.durations.get(name, none)) for name, it in self.durations.items()},
            news=self.news,
        )

    def to_plain(self, *, with_news: bool = True) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "counts": dict(self.counts),
            "refusals": dict(self.refusals),
            "failures": dict(self.failures),
            "durations": {name: it.to_plain() for name, it in self.durations.items()},
            "news": [
                [*version, {str(t): n for t, n in ticks.items()}] for version, ticks in self.news.items() if with_news
            ],
        }

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Self:
        """Build it from plain JSON values."""
        return cls(
            counts=Counter(values["counts"]),
            refusals=Counter(values["refusals"]),
            failures=Counter(values["failures"]),
            durations={name: Durations.from_plain(it) for name, it in values["durations"].items()},
            news={(name, v): Counter({int(t): n for t, n in ticks.items()}) for name, v, ticks in values["news"]},
        )


def summed(parts: Iterable[Figures]) -> Figures:
    """Return the figures of several processes together."""
    total = Figures()
    for part in parts:
        total.counts += part.counts
        total.refusals += part.refusals
        total.failures += part.failures
        for name, durations in part.durations.items():
            total.durations[name] = total.durations.get(name, Durations()).plus(durations)
        for version, ticks in part.news.items():
            total.news[version] = total.news.get(version, Counter()) + ticks
    return total
