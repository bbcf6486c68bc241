"""What all sides of a race share. Plain values."""

from __future__ import annotations

import dataclasses

from alignfed.plan import (
    Aggregation,
    BaseModel,
    Buffer,
    Calibration,
    Encoding,
    FederationPlan,
    Lora,
    Retention,
    Training,
)
from bench.federation.federation import DEFAULT_CALIBRATION

KEPT_VERSIONS = 10_000
"""All of a race: they are judged when it is over, so that judging takes no time from it."""
NEVER_SECONDS = 86_400.0
UNCALIBRATED = Calibration(fit_rows=0, judge_rows=0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """A fleet and what it trains.

    Attributes:
        slowdowns: One for each agent: how many times `train_seconds` each of its trainings takes.
        train_seconds: Of the fastest agent. Training is real, and the rest of the time is slept.
        rounds: Of Flower; every other contender gets as many seconds as these take.
        local_steps, batch_size, sequence_length, learning_rate: Of local training.
        rank: Of the adapter.
        test_rows: Held-out rows of each domain.
    """

    slowdowns: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 2.0, 4.0, 8.0, 16.0)
    train_seconds: float = 1.0
    rounds: int = 3
    local_steps: int = 8
    batch_size: int = 4
    sequence_length: int = 64
    learning_rate: float = 5e-3
    rank: int = 4
    test_rows: int = 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way in which AlignFed runs.

    Attributes:
        name: Of it and of its federation.
        recipe: How the worker merges.
        buffer: Deltas of a merge.
        waits: Whether agents wait for a version that holds their delta: with a buffer of all agents, rounds.
        calibrated: Whether the server has rows of its own, to fit coefficients on and to judge candidates by.
    """

    name: str
    recipe: str
    buffer: int
    waits: bool = False
    calibrated: bool = False

    def plan(self, terms: Terms, model: BaseModel, lora: Lora) -> FederationPlan:
        """Return the plan of its federation, without the adapter's tensors."""
        return FederationPlan(
            federation=self.name,
            base_model=model,
            lora=lora,
            training=Training(
                local_steps=terms.local_steps,
                batch_size=terms.batch_size,
                sequence_length=terms.sequence_length,
                learning_rate=terms.learning_rate,
                wait_for_version=self.waits,
            ),
            delta_encoding=Encoding.FP32,
            buffer=Buffer(size=self.buffer, timeout_seconds=NEVER_SECONDS),
            aggregation=Aggregation(recipe=self.recipe),
            calibration=DEFAULT_CALIBRATION if self.calibrated else UNCALIBRATED,
            retention=Retention(versions=KEPT_VERSIONS, receipt_versions=KEPT_VERSIONS, record_versions=KEPT_VERSIONS),
        )


def contenders(terms: Terms) -> tuple[Contender, ...]:
    """Return who races against Flower: its own method here, the same without waiting, and the default."""
    return (
        Contender(name="synchronous", recipe="fedavg", buffer=len(terms.slowdowns), waits=True),
        Contender(name="asynchronous", recipe="fedbuff", buffer=4),
        Contender(name="default", recipe="alignfed", buffer=4, calibrated=True),
    )
