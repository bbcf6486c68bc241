"""Agents in threads, and training loops that need no model."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from alignfed.codec import Factors
from alignfed.plan import FederationPlan
from alignfed.tracing.spans import Tracer
from edge_agent.domain import Totals
from edge_agent.runtime import AgentProcess, AgentSettings, MakeTrainer
from edge_agent.training.trainer import TrainingJob, TrainingResult

STOP_SECONDS = 20.0


MakeSettings = Callable[..., AgentSettings]


def read_status(settings: AgentSettings) -> dict[str, Any]:
    """Return what the agent's status file says."""
    if settings.status_file is None or not settings.status_file.exists():
        return {"state": "not started"}
    values: dict[str, Any] = json.loads(settings.status_file.read_text("utf-8"))
    return values


class AddingTrainer:
    """Implements `edge_agent.training.trainer.Trainer`: adds `amount` to every element that is trained, in place.

    Args:
        amount: What a delta then holds.
        before: Called at the start of each job, with its number in this run: where tests make things happen.
    """

    def __init__(self, amount: float = 1.0, *, before: Callable[[int, TrainingJob], None] | None = None) -> None:
        self._amount = amount
        self._before = before
        self.jobs: list[TrainingJob] = []

    def train(self, adapter: Factors, job: TrainingJob) -> TrainingResult:
        self.jobs.append(job)
        if self._before is not None:
            self._before(len(self.jobs), job)
        for name, factor in adapter.items():
            job.part.of(name, factor).add_(self._amount)
        return TrainingResult(adapter=adapter, examples=5, steps=1, mean_loss=1.0)

    def make(self, _plan: FederationPlan, _model_dir: Path) -> Self:
        """Stand in as a `MakeTrainer`."""
        return self


class AgentThread:
    """Runs one agent process object in a thread. Use it as a context manager: leaving stops it."""

    def __init__(self, settings: AgentSettings, make_trainer: MakeTrainer, *, tracer: Tracer | None = None) -> None:
        self._process = AgentProcess(settings, make_trainer, tracer=tracer)
        self._thread = threading.Thread(target=self._run, name="agent", daemon=True)
        self._totals: Totals | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.stop()
        self._thread.join(STOP_SECONDS)
        assert not self._thread.is_alive(), "the agent does not stop"

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._thread.is_alive()

    def stop(self) -> Totals:
        """Tell it to stop and return its totals."""
        self._process.stop()
        return self.finish()

    def finish(self, timeout_seconds: float = STOP_SECONDS) -> Totals:
        """Wait for its end and return its totals, or raise what it raised."""
        self._thread.join(timeout_seconds)
        assert not self._thread.is_alive(), f"the agent did not end within {timeout_seconds:.0f} s"
        if self._error is not None:
            raise self._error
        assert self._totals is not None
        return self._totals

    def _run(self) -> None:
        try:
            self._totals = self._process.run()
        except BaseException as error:  # noqa: BLE001  # handed to the test's thread
            self._error = error
