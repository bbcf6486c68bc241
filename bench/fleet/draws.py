"""Who the agents are: every draw comes from the fleet's seed and the agent's number, whichever process drives it."""

from __future__ import annotations

import dataclasses
import math
import random

from bench.fleet.settings import FleetSettings, Tier


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One agent; `arrives_after_seconds` counts from the fleet's beginning. Who `follows` either `watches` or polls."""

    number: int
    tier: Tier
    arrives_after_seconds: float
    latency_seconds: float
    bytes_per_second: float
    follows: bool
    watches: bool

    def transfer_seconds(self, nbytes: int) -> float:
        """Return how long the agent's own network takes for a payload; 0 for a network that takes no time."""
        return nbytes / self.bytes_per_second if self.bytes_per_second > 0 else 0.0


class Habits:
    """One agent's draws over its life; the same for the same seed and number.

    Args:
        settings: The fleet.
        number: The agent, from 0.
    """

    def __init__(self, settings: FleetSettings, number: int) -> None:
        self._settings = settings
        self._rng = random.Random(f"{settings.seed}/{number}")  # noqa: S311 (no secret)
        self.profile = self._profile(number)

    def training_seconds(self) -> float:
        """Return how long the next training takes: log-normal around the agent's own time."""
        own = self._settings.train_seconds * self.profile.tier.slowdown
        return own * self._rng.lognormvariate(0.0, self._settings.train_sigma)

    def first_training_seconds(self) -> float:
        """Return what is left of the training that the agent is in when it arrives: a fleet is never in step."""
        return self.training_seconds() * self._rng.random()

    def vanishes(self) -> bool:
        """Whether the agent drops out now."""
        return self._rng.random() < self._settings.dropout_ratio

    def offline_seconds(self) -> float:
        """Return how long an agent that dropped out stays away."""
        return self._rng.expovariate(1.0 / self._settings.offline_seconds)

    def downloads(self) -> bool:
        """Whether the agent downloads the version it begins from, or only learns of it."""
        return self._rng.random() < self._settings.download_ratio

    @property
    def rng(self) -> random.Random:
        """Where an agent's jitter comes from."""
        return self._rng

    def _profile(self, number: int) -> Profile:
        fleet, rng = self._settings, self._rng
        (tier,) = rng.choices(fleet.tiers, [tier.share for tier in fleet.tiers])
        return Profile(
            number=number,
            tier=tier,
            arrives_after_seconds=arrival_seconds(fleet, number),
            latency_seconds=fleet.latency_seconds * rng.lognormvariate(0.0, fleet.latency_sigma),
            bytes_per_second=fleet.bytes_per_second * rng.lognormvariate(0.0, fleet.bandwidth_sigma),
            follows=rng.random() < fleet.following_ratio,
            watches=rng.random() < fleet.watching_ratio,
        )


def arrival_seconds(settings: FleetSettings, number: int) -> float:
    """Return when an agent arrives, in seconds from the fleet's beginning.

    Given how many come within a time, the arrivals of a Poisson process are independent and uniform over it, so each is
    drawn without the others, in whichever process.
    """
    return settings.ramp_seconds * random.Random(f"{settings.seed}/arrival/{number}").random()  # noqa: S311 (no secret)


def share_of(agents: int, processes: int, index: int) -> range:
    """Return the numbers of the agents that a process drives: as even as can be, all of them once."""
    first = math.floor(agents * index / processes)
    return range(first, math.floor(agents * (index + 1) / processes))
