"""What one simulated run leaves behind: frozen values that go to JSON and back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Self

from alignfed.plain import from_plain


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunKey:
    """Identity of a run: what is the same between two keys was the same in the runs.

    Attributes:
        federation: Digest over base model, data, split, LoRA and evaluation rows.
        regime: Name of the regime: speeds, buffer, network, hot agents, duration.
        layout: How domains go with speed: `tied`, `independent` or `reversed`.
        recipe: Name in `coordinator.algo.recipes.RECIPES`.
        server_learning_rate: eta.
        seed: Decides everything random.
        variant: Empty, or which control changes the calibration set: `biased` or `prompts`.
    """

    federation: str
    regime: str
    layout: str
    recipe: str
    server_learning_rate: float
    seed: int
    variant: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Mean loss per token by domain, in nats, on the rows kept for tuning and on those kept for the final test."""

    tuning: Mapping[str, float]
    test: Mapping[str, float]

    @property
    def mean_tuning(self) -> float:
        """Mean over domains on the tuning rows."""
        return math.fsum(self.tuning.values()) / len(self.tuning)

    @property
    def mean_test(self) -> float:
        """Mean over domains on the test rows."""
        return math.fsum(self.test.values()) / len(self.test)

    @property
    def worst_test(self) -> float:
        """Loss of the worst domain on the test rows."""
        return max(self.test.values())


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The published adapter at a moment of virtual time.

    `raw` is the newest version, `average` its moving average; `served` is the test loss by domain of whichever the
    server would have served.
    """

    virtual_seconds: float
    version: int
    raw: Losses
    average: Losses
    serves_average: bool

    @property
    def served(self) -> Losses:
        """Losses of what is served."""
        return self.average if self.serves_average else self.raw


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AgentOutcome:
    """One agent at the end: its speed relative to the slowest, merged deltas, weight and the final loss on its domains.

    `weight` is the sum of the normalised weights of its merged deltas, `coefficient` of what they were multiplied by.
    """

    agent_id: str
    domains: Mapping[str, float]
    speed: float
    merged: int
    weight: float
    coefficient: float
    test_loss: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServerCost:
    """What aggregating took in all: real seconds in aggregation and judging, and rows passed through the model.

    `guard_seconds` are those of `seconds` that went into looking at deltas before they were merged.
    """

    seconds: float
    forward_rows: int
    backward_rows: int
    guard_seconds: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One finished run.

    Attributes:
        key: Which run.
        base: Losses before anything was merged.
        curve: Evaluations in order of virtual time; the last is the final one.
        agents: Every agent.
        staleness: How many merged deltas had each staleness in versions (JSON keys are text).
        merges: Versions published.
        gated: Merges whose candidate was not published.
        spikes: Evaluations whose served mean test loss exceeds the best before it by more than 5 %.
        diverged: The final served loss is not finite, or above the base model's.
        server: Cost of aggregation.
        training_seconds: Real seconds of local training.
        solved: Share of held-out problems that the adapter served at the end solved, by measure (`GSM8K exact match`,
            `pass@1`); empty when none was asked.
    """

    key: RunKey
    base: Losses
    curve: tuple[Point, ...]
    agents: tuple[AgentOutcome, ...]
    staleness: Mapping[str, int]
    merges: int
    gated: int
    spikes: int
    diverged: bool
    server: ServerCost
    training_seconds: float
    solved: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def final(self) -> Point:
        """The last evaluation."""
        return self.curve[-1]

    def to_dict(self) -> dict[str, Any]:
        """Return the run as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build a run from `to_dict`'s values.

        Raises:
            PlainValueError: A key is unknown or missing, or a value has the wrong type.
        """
        return from_plain(cls, values)
