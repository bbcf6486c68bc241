"""A stretch of a run: two looks at everything that counts, and what happened between them. Pure arithmetic."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from bench.fleet.figures import Figures, Version
from bench.fleet.machine import Usage

ANSWERED = ("registrations", "polls", "long_polls", "watch_events", "queries", "uploads", "downloads")
"""What a coordinator answers, by the names of `Figures.counts`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Everything that counts, at one time.

    Attributes:
        at: Unix seconds.
        figures: Of all agents.
        busiest_seconds: Time that the busiest process which drives agents ran, or would have had it got a processor.
        usages: Of the deployment's processes, as far as they are on this machine.
        queued: Deltas that wait to be merged, of all federations.
    """

    at: float
    figures: Figures
    busiest_seconds: float
    usages: Mapping[str, Usage]
    queued: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What happened between two looks, while agents trained `factor` times as fast as the settings say."""

    factor: float
    before: Look
    after: Look

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.after.at - self.before.at

    @property
    def figures(self) -> Figures:
        """What agents did and saw."""
        return self.after.figures.since(self.before.figures)

    def per_second(self, name: str) -> float:
        """Return how many events of a name there were per second."""
        return self.figures.counts[name] / self.seconds

    @property
    def answers_per_second(self) -> float:
        """Everything that the coordinator answered or pushed."""
        return sum(self.per_second(name) for name in ANSWERED)

    @property
    def generator_load(self) -> float:
        """How much of the time the busiest process that drives agents ran or wanted to: near 1, it is what limits."""
        return (self.after.busiest_seconds - self.before.busiest_seconds) / self.seconds

    def processes(self, role: str) -> list[str]:
        """Return the names of the deployment's processes of a role: `worker`, `worker-2`, ..."""
        return [name for name in self.after.usages if name.partition("-")[0] == role]

    def cpu_seconds(self, process: str) -> float | None:
        """Return the processor time that a process of the deployment took; None when it is not on this machine."""
        if process not in self.after.usages:
            return None
        return self.after.usages[process].cpu_seconds - self.before.usages[process].cpu_seconds

    def load(self, process: str) -> float | None:
        """Return the same per second."""
        cpu_seconds = self.cpu_seconds(process)
        return None if cpu_seconds is None else cpu_seconds / self.seconds

    def in_line(self, process: str) -> float | None:
        """Return how much of the time a process was ready to run and had no processor."""
        if process not in self.after.usages:
            return None
        waited = self.after.usages[process].waited_seconds - self.before.usages[process].waited_seconds
        return waited / self.seconds

    def fullness(self, process: str) -> float | None:
        """Return how much of the time a process ran or wanted to."""
        load, in_line = self.load(process), self.in_line(process)
        return None if load is None or in_line is None else load + in_line

    def quantile(self, what: str, fraction: float) -> float | None:
        """Return a quantile of calls of a kind, in seconds."""
        durations = self.figures.durations.get(what)
        return None if durations is None else durations.quantile(fraction)

    def merged_per_second(self, made_at: Mapping[Version, float], sizes: Mapping[Version, int]) -> float:
        """Return deltas per second in the versions that were made in this stretch."""
        within = [version for version, at in made_at.items() if self.before.at <= at < self.after.at]
        return sum(sizes[version] for version in within) / self.seconds
