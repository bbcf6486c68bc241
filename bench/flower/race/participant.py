"""An agent that trains for either side: for a client of Flower when it is told to, or as an agent of AlignFed.

python -m bench.flower.race.participant PORT NAME ORDERS

`ORDERS` is a JSON file: data, base model, plan, seconds of a training. The trainer is the agent's own, one for both.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from alignfed.codec import Factors
from alignfed.plan import FederationPlan
from bench.flower.lines import Handler, serve
from bench.flower.race.flat import read_flat, write_flat
from edge_agent.domain import GlobalVersion
from edge_agent.runtime import AgentProcess, AgentSettings
from edge_agent.training.trainer import Interrupted, Trainer, TrainingJob, TrainingResult
from edge_agent.training.workload import read_workload

LOOK_SECONDS = 0.05
_NOWHERE = GlobalVersion(epoch=0, number=0, digest="0" * 64)


class PacedTrainer:
    """Implements `edge_agent.training.trainer.Trainer`: trains, and then sleeps until the agent's own time is over.

    Args:
        trainer: The agent's own.
        seconds: How long every training takes; one that takes longer counts as `late`.
    """

    def __init__(self, trainer: Trainer, seconds: float) -> None:
        self._trainer = trainer
        self._seconds = seconds
        self.trainings = 0
        self.late = 0

    def train(self, adapter: Factors, job: TrainingJob) -> TrainingResult:
        """Train from `adapter`; see `Trainer.train`."""
        ends_at = time.monotonic() + self._seconds
        result = self._trainer.train(adapter, dataclasses.replace(job, seed=0))  # the same order of rows for all sides
        self.trainings += 1
        self.late += time.monotonic() > ends_at
        while (left := ends_at - time.monotonic()) > 0:
            if job.should_stop():
                raise Interrupted
            time.sleep(min(LOOK_SECONDS, left))
        return result


class Participant:
    """One agent and what it is told to do."""

    def __init__(self, name: str, orders: dict[str, Any]) -> None:
        self._name = name
        self._folder = Path(orders["folder"])
        self._plan = FederationPlan.from_dict(orders["plan"])
        workload = read_workload(data=[orders["data"]], extensions=None, device="cpu", precision="fp32", threads=1)
        self._model_dir = Path(orders["model_dir"])
        self._plain = workload.make_trainer(self._plan, self._model_dir)
        self._trainer = PacedTrainer(self._plain, orders["seconds"])
        self._thread: threading.Thread | None = None
        self._agent: AgentProcess | None = None

    def warm_up(self) -> dict[str, Any]:
        """Train once for nothing: the first training of a process takes longer. Returns how long another one takes."""
        job = TrainingJob(plan=self._plan, base=_NOWHERE)
        for _ in range(2):
            began = time.monotonic()
            self._plain.train({spec.name: torch.zeros(spec.shape) for spec in self._plan.tensors}, job)
        return {"seconds": time.monotonic() - began}

    def join_flower(self, port: int) -> dict[str, Any]:
        """Train for the client that listens there, in the background, until it says that this was all."""
        self._thread = threading.Thread(target=serve, args=(port, self._name, {"train": self._train_files}))
        self._thread.start()
        return {}

    def join_federation(self, coordinator: str, federation: str) -> dict[str, Any]:
        """Be an agent of a federation, in the background."""
        settings = AgentSettings(
            coordinator=coordinator,
            federation=federation,
            agent_id=self._name,
            base_model=str(self._model_dir),
            state_dir=self._folder / federation,
        )
        self._trainer.trainings = self._trainer.late = 0
        self._agent = AgentProcess(settings, lambda _plan, _model_dir: self._trainer)
        self._thread = threading.Thread(target=self._agent.run)
        self._thread.start()
        return {}

    def leave(self) -> dict[str, Any]:
        """Stop being an agent, or wait until Flower's client has said that this was all."""
        if self._agent is not None:
            self._agent.stop()
        assert self._thread is not None, "it has joined nothing"
        self._thread.join()
        self._agent = self._thread = None
        return {"trainings": self._trainer.trainings, "late": self._trainer.late}

    def _train_files(self, given: str, trained: str, sequence: int) -> dict[str, Any]:
        adapter = read_flat(Path(given), self._plan.tensors)
        job = TrainingJob(plan=self._plan, base=_NOWHERE, sequence=sequence)
        result = self._trainer.train(adapter, job)
        write_flat(Path(trained), result.adapter, self._plan.tensors)
        return {"examples": result.examples, "late": self._trainer.late}


def main(arguments: Sequence[str]) -> None:
    """Be a participant until told to end."""
    port, name, orders = arguments
    participant = Participant(name, json.loads(Path(orders).read_text("utf-8")))
    handlers: dict[str, Handler] = {
        "warm_up": participant.warm_up,
        "join_flower": participant.join_flower,
        "join_federation": participant.join_federation,
        "leave": participant.leave,
    }
    serve(int(port), name, handlers)


if __name__ == "__main__":
    main(sys.argv[1:])
