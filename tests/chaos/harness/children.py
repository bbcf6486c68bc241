"""What the nursery's children run: the real commands' functions, with times short enough to see many deaths."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

import edge_agent.runtime
from alignfed.codec import Factors
from alignfed.failpoints import arm_from
from alignfed.plan import FederationPlan
from alignfed.settings import exit_codes, set_up_logging
from coordinator.cli.main import main as alignfed
from coordinator.worker import loop
from coordinator.worker.process import WorkerConfig, run
from edge_agent.runtime import AgentSettings, run_agent
from edge_agent.stopping import Interrupted
from edge_agent.training.trainer import TrainingJob, TrainingResult
from tests.chaos.harness.journals import WitnessedOutbox
from tests.chaos.harness.sender import SenderSettings, run_sender

OUTLIER_FACTOR = 1e4
"""How much larger than usual a delta is that the worker must reject."""
STOP_POLL_SECONDS = 0.02


def run_coordinator(arguments: list[str]) -> None:
    """Be `alignfed coordinator`."""
    alignfed(["coordinator", *arguments])


def run_worker(*, discover_seconds: float, log_level: str, **config: Any) -> None:
    """Be `alignfed worker`, whose lease and patience are settings here: 15 s and 2 s are long in a test of deaths."""
    with exit_codes():
        arm_from(os.environ)
        set_up_logging(log_level)
        loop.DISCOVER_SECONDS = discover_seconds
        asyncio.run(run(WorkerConfig(metrics_listen="", threads=1, **config)))


class DrawingTrainer:
    """Implements `Trainer`: draws what it has "learnt" from the agent's seed and the delta's number.

    Args:
        seconds: How long a delta takes.
        outlier_every: Every so many deltas one is far too large; 0 for never.
    """

    def __init__(self, _plan: FederationPlan, _model: Path, *, seconds: float, outlier_every: int) -> None:
        self._seconds = seconds
        self._outlier_every = outlier_every

    def train(self, adapter: Factors, job: TrainingJob) -> TrainingResult:
        until = time.monotonic() + self._seconds
        while time.monotonic() < until:
            if job.should_stop():
                raise Interrupted
            time.sleep(STOP_POLL_SECONDS)
        drawn = torch.Generator().manual_seed(job.seed * 1_000_003 + job.sequence)
        outlier = self._outlier_every and job.sequence % self._outlier_every == self._outlier_every - 1
        for factor in adapter.values():
            change = torch.randn(factor.shape, generator=drawn) * 0.01
            factor.add_(change * (OUTLIER_FACTOR if outlier else 1.0))
        return TrainingResult(adapter=adapter, examples=4, steps=1, mean_loss=1.0)


def run_an_agent(*, seconds: float, outlier_every: int, state_dir: str, **settings: Any) -> None:
    """Be an agent with a loop of its own, as in examples/custom_trainer.py; its outbox is witnessed."""
    with exit_codes():
        arm_from(os.environ)
        set_up_logging("info")
        edge_agent.runtime.Outbox = WitnessedOutbox  # type: ignore[misc]
        trainer = partial(DrawingTrainer, seconds=seconds, outlier_every=outlier_every)
        run_agent(AgentSettings(state_dir=Path(state_dir), **settings), trainer)


def run_a_sender(**settings: Any) -> None:
    """Be a sender of prepared deltas."""
    with exit_codes():
        arm_from(os.environ)
        set_up_logging("info")
        run_sender(SenderSettings(**settings))


KINDS: dict[str, Callable[..., None]] = {
    "coordinator": run_coordinator,
    "worker": run_worker,
    "agent": run_an_agent,
    "sender": run_a_sender,
}


def run_child(kind: str, settings: dict[str, Any]) -> None:
    """Run a child of a kind until its end."""
    KINDS[kind](**settings)
