"""What a fleet is and how long it runs: plain values that travel to the processes which drive it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Self

from alignfed.errors import RequestInvalid
from alignfed.plain import from_plain

AGENTS_PER_DELTA_OF_A_MERGE = 20
"""The buffer's size unless set: a twentieth of the federation, so that the fleet's size does not change how often it is
told of a version."""
LEAST_BUFFER, LARGEST_BUFFER = 4, 10_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """Agents of one speed: `slowdown` times the fastest one's training time; `share` of the fleet, in (0, 1]."""

    name: str
    slowdown: float
    share: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FleetSettings:
    """A fleet. Times are in seconds; every log-normal is given by its median and its sigma (of the logarithm).

    Attributes:
        agents: How many.
        seconds: How long figures are taken, after the ramp.
        ramp_seconds: Mean time until all have arrived; they come by a Poisson process.
        seed: Of every draw.
        tiers: Speed classes; shares are relative.
        train_seconds: Median training time of an agent with slowdown 1.
        train_sigma: Spread of every training around its agent's own time.
        latency_seconds: Median of an agent's round trip, slept before each call.
        latency_sigma: Its spread over agents.
        bytes_per_second: Median of an agent's bandwidth; payloads take so much longer. 0 for transfers without time.
        bandwidth_sigma: Its spread over agents.
        dropout_ratio: Chance that an agent vanishes after a training, without a word and without sending its delta.
        offline_seconds: Mean absence, exponential.
        following_ratio: Share of agents that keep a watch or a long poll open and so hear of each version at once; the
            others ask when they begin a training, as the agent of this repository does.
        watching_ratio: Share of those that watch; the others keep a long poll open.
        poll_seconds: Longest wait of a long poll.
        download_ratio: Chance that an agent downloads a version it begins from; otherwise it only learns of it.
        parameters: Elements of a delta (bf16 on the wire).
        buffer_size: Deltas of one merge; 0 for `AGENTS_PER_DELTA_OF_A_MERGE`.
        buffer_seconds: Longest time a delta waits for a merge to fill.
        processes: Processes that drive the fleet.
        connections: Connections of each, shared by its agents.
        federations: Over which the agents are dealt, one after the other; each has a lease of its own.
        coordinators: Processes that share one port, when a deployment is started here.
        workers: Processes that merge for all federations, when a deployment is started here.
    """

    agents: int = 1000
    seconds: float = 60.0
    ramp_seconds: float = 10.0
    seed: int = 0
    tiers: tuple[Tier, ...] = (
        Tier(name="1x", slowdown=1.0, share=0.5),
        Tier(name="4x", slowdown=4.0, share=0.3),
        Tier(name="16x", slowdown=16.0, share=0.2),
    )
    train_seconds: float = 30.0
    train_sigma: float = 0.3
    latency_seconds: float = 0.05
    latency_sigma: float = 0.5
    bytes_per_second: float = 2_500_000.0
    bandwidth_sigma: float = 0.7
    dropout_ratio: float = 0.02
    offline_seconds: float = 20.0
    following_ratio: float = 1.0
    watching_ratio: float = 0.5
    poll_seconds: float = 10.0
    download_ratio: float = 0.01
    parameters: int = 8192
    buffer_size: int = 0
    buffer_seconds: float = 15.0
    processes: int = 2
    connections: int = 4
    federations: int = 1
    coordinators: int = 1
    workers: int = 1

    @property
    def merged_at_once(self) -> int:
        """Deltas of one merge."""
        wanted = self.buffer_size or self.agents // self.federations // AGENTS_PER_DELTA_OF_A_MERGE
        return min(max(wanted, LEAST_BUFFER), LARGEST_BUFFER)

    @property
    def offered_per_second(self) -> float:
        """Deltas per second that agents make who never wait, drop out or fail: the mean over tiers of 1 / time."""
        total = math.fsum(tier.share for tier in self.tiers)
        mean_rate = math.fsum(tier.share / total / tier.slowdown for tier in self.tiers)
        return self.agents * mean_rate / (self.train_seconds * math.exp(self.train_sigma**2 / 2))

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """Build it from plain JSON values.

        Raises:
            PlainValueError: A key is unknown or missing, or a value has the wrong type.
        """
        return from_plain(cls, values)


def tiers_of(text: str) -> tuple[Tier, ...]:
    """Return the tiers that `SLOWDOWN:SHARE,...` names, such as `1:0.5,4:0.3,16:0.2`.

    Raises:
        RequestInvalid: It does not read like that, or a number is not above zero.
    """
    tiers = []
    for part in text.split(","):
        slowdown, _, share = part.partition(":")
        try:
            tier = Tier(name=f"{float(slowdown):g}x", slowdown=float(slowdown), share=float(share or 1.0))
        except ValueError as error:
            raise RequestInvalid(
                f"--tiers {text!r} must read SLOWDOWN:SHARE,..., such as 1:0.5,4:0.3,16:0.2"
            ) from error
        if not (0 < tier.slowdown < math.inf and 0 < tier.share < math.inf):
            raise RequestInvalid(f"--tiers {text!r}: slowdowns and shares must be above zero")
        tiers.append(tier)
    if len({tier.name for tier in tiers}) < len(tiers):
        raise RequestInvalid(f"--tiers {text!r} names a slowdown twice")
    return tuple(tiers)
