"""Regimes: how unequal the machines are, and how the network and the owners treat them. All times are virtual."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from pathlib import Path

from alignfed.errors import PlanInvalid
from alignfed.plain import PlainValueError, from_plain


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """Machines of one kind.

    Attributes:
        agents: How many.
        speed: Relative to machines of speed 1.
        learning_rate_ratio: Factor on the learning rate; hot machines have more than 1.
        rank: Leading LoRA components that they train; None for all.
    """

    agents: int
    speed: float
    learning_rate_ratio: float = 1.0
    rank: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Seconds that a download and an upload take, and the share of deltas that never arrive."""

    download_seconds: float = 0.05
    upload_seconds: float = 0.1
    lost_ratio: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """When machines are there. A machine that goes away loses the job in hand.

    Attributes:
        online_seconds: Mean time until a machine drops out, exponential; 0 for never.
        offline_seconds: Mean time until it is back, exponential.
        day_seconds: Length of a day; 0 for no days. Every machine has its own time zone.
        awake_ratio: Share of the day that it is there.
    """

    online_seconds: float = 0.0
    offline_seconds: float = 0.0
    day_seconds: float = 0.0
    awake_ratio: float = 1.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Regime:
    """One way a fleet can be.

    Attributes:
        name: For tables.
        tiers: The machines.
        buffer_size: Deltas per merge, K.
        buffer_timeout_seconds: Merge what is there when the oldest delta has waited so long.
        duration_seconds: Virtual time at which everything ends.
        job_seconds: Time of one local training at speed 1.
        jitter_ratio: Standard deviation of a job's time, relative to it (log-normal).
        local_steps: Optimiser steps per delta.
        dirichlet_alpha: 0 gives every agent one domain as the layout says; above 0 each agent's data is a mixture of
            domains drawn from a symmetric Dirichlet distribution, the smaller the purer, and the layout does not count.
        network: What the network does.
        presence: When machines are there.
    """

    name: str
    tiers: tuple[Tier, ...]
    buffer_size: int
    duration_seconds: float
    buffer_timeout_seconds: float = 60.0
    job_seconds: float = 16.0
    jitter_ratio: float = 0.1
    local_steps: int = 6
    dirichlet_alpha: float = 0.0
    network: Network = Network()
    presence: Presence = Presence()

    @property
    def agents(self) -> int:
        """How many machines there are."""
        return sum(tier.agents for tier in self.tiers)

    def validate(self) -> Regime:
        """Return the regime itself when it can be run.

        Raises:
            PlanInvalid: A value is out of range; the message names it.
        """
        numbers = {
            "duration_seconds": self.duration_seconds, "buffer_timeout_seconds": self.buffer_timeout_seconds,
            "job_seconds": self.job_seconds, "local_steps": self.local_steps, "buffer_size": self.buffer_size,
            "presence.awake_ratio": self.presence.awake_ratio, "agents": self.agents,
            **{f"tiers[{i}].speed": tier.speed for i, tier in enumerate(self.tiers)},
            **{f"tiers[{i}].learning_rate_ratio": tier.learning_rate_ratio for i, tier in enumerate(self.tiers)},
            **{f"tiers[{i}].rank": tier.rank for i, tier in enumerate(self.tiers) if tier.rank is not None},
        }  # fmt: skip
        for name, value in numbers.items():
            if not 0 < value < math.inf:
                raise PlanInvalid(f"regime {self.name}: {name} must be above 0, not {value!r}")
        if not 0 <= self.network.lost_ratio < 1 or self.jitter_ratio < 0 or self.dirichlet_alpha < 0:
            raise PlanInvalid(
                f"regime {self.name}: network.lost_ratio must be in [0, 1), jitter_ratio and dirichlet_alpha 0 or more"
            )
        if self.presence.online_seconds > 0 and not self.presence.offline_seconds > 0:
            raise PlanInvalid(f"regime {self.name}: presence.offline_seconds must be above 0 where machines drop out")
        return self


REGIMES: dict[str, Regime] = {
    regime.name: regime
    for regime in (
        Regime(
            name="mild",
            tiers=(Tier(agents=4, speed=4), Tier(agents=4, speed=2), Tier(agents=4, speed=1)),
            buffer_size=4,
            duration_seconds=176.0,
        ),
        Regime(
            name="stress",
            tiers=(Tier(agents=4, speed=16), Tier(agents=4, speed=4), Tier(agents=4, speed=1)),
            buffer_size=4,
            duration_seconds=64.0,
        ),
        Regime(
            name="extreme",
            tiers=(Tier(agents=4, speed=16, learning_rate_ratio=3.0), Tier(agents=4, speed=4), Tier(agents=4, speed=1)),
            buffer_size=2,
            duration_seconds=64.0,
        ),
        Regime(
            name="concurrent",
            tiers=(Tier(agents=16, speed=16), Tier(agents=16, speed=4), Tier(agents=16, speed=1)),
            buffer_size=4,
            duration_seconds=24.0,
        ),
        Regime(
            name="few",
            tiers=(Tier(agents=3, speed=8), Tier(agents=3, speed=4), Tier(agents=2, speed=1)),
            buffer_size=4,
            duration_seconds=14.0,
            local_steps=4,
        ),
        Regime(
            name="flaky",
            tiers=(Tier(agents=4, speed=16), Tier(agents=4, speed=4), Tier(agents=4, speed=1)),
            buffer_size=4,
            duration_seconds=96.0,
            network=Network(download_seconds=0.5, upload_seconds=2.0, lost_ratio=0.1),
            presence=Presence(online_seconds=48.0, offline_seconds=16.0, day_seconds=48.0, awake_ratio=0.7),
        ),
    )
}
"""The built-in regimes. `mild`, `stress`, `extreme` (hot agents, small buffer) and `concurrent` (many agents, deep
staleness) are the grid of the evidence; `few` is small enough for a real language model on two cores; `flaky` adds
drop-outs, lost uploads and day and night."""


def get_regime(name_or_file: str) -> Regime:
    """Return a built-in regime, or read one from a TOML file with the fields of `Regime`.

    Raises:
        PlanInvalid: There is no such regime or file, or it cannot be read or run.
    """
    if name_or_file in REGIMES:
        return REGIMES[name_or_file].validate()
    path = Path(name_or_file)
    if not path.is_file():
        raise PlanInvalid(
            f"{name_or_file} is neither a regime ({', '.join(REGIMES)}) nor a TOML file: name one of them"
        )
    try:
        return from_plain(Regime, tomllib.loads(path.read_text("utf-8"))).validate()
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, PlainValueError) as error:
        raise PlanInvalid(f"{path} is no regime: {error}") from error
