"""What a merge spends on aligning, against what an agent spends on training one delta: the same model, in turn.

Both are the production code: the agent's own trainer with the plan's usual steps, batches and sequences, and the
worker's `aggregate` with the plan's usual calibration rows. Processor time of this process, one thread.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from alignfed.base_model import digest_of
from alignfed.codec import Factors, manifest_of
from alignfed.plan import BaseModel, FederationPlan
from bench.federation.tiny_model import pretraining_files
from bench.speed.goals import ALIGN_ACTIVATIONS, ALIGN_DEFAULT, ALIGN_FEATURES, Goal, Row
from bench.speed.local_model import make_local_model
from coordinator.algo.aggregate import aggregate
from coordinator.algo.recipes import get_recipe
from coordinator.algo.values import AggregationInput, CalibrationProbe, DeltaInput
from coordinator.domain import VersionId
from coordinator.worker.adapter import initial_adapter, resolve_target_modules
from coordinator.worker.calibration import CalibrationModel
from coordinator.worker.calibration_rows import CalibrationRow, split_rows
from edge_agent.domain import GlobalVersion
from edge_agent.training.trainer import Trainer, TrainingJob
from edge_agent.training.workload import read_workload

RECIPES: dict[Goal, str] = {
    ALIGN_DEFAULT: "alignfed",
    ALIGN_FEATURES: "alignfed-paper",
    ALIGN_ACTIVATIONS: "activation-transport",
}
ALIGNING = ("align", "calibrate")
"""Steps of `aggregate` that a plain mean of the deltas does without."""
DELTAS = 4
"""The plan's usual buffer; each is from another base version, the freshest from the head: the others are stale."""
TEXT_CHARACTERS, ROW_CHARACTERS = 400_000, 1_200
"""Of training text, and of a calibration row: more tokens than a plan uses, so that every sequence is full."""
NOISE = 1e-3

Say = Callable[[str], None]


def measure_alignment(folder: Path, *, model_dir: Path | None, layers: int, rounds: int, say: Say) -> list[Row]:
    """Train a delta, then merge four with each recipe that aligns; again and again, the first time not counted.

    Args:
        folder: For the training text and a model made here.
        model_dir: The base model; None makes a small one.
        layers: Of a model made here.
        rounds: How often.
        say: Told each round.

    Returns:
        A row for each recipe: seconds of its alignment, against seconds of training.

    Raises:
        WrongBaseModel: The directory holds no causal language model.
    """
    texts = _texts()
    directory = model_dir or make_local_model(folder / "local-model", texts, layers=layers)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        bench = _Bench(folder, directory, "".join(texts))
        seconds: dict[Goal, list[float]] = {goal: [] for goal in RECIPES}
        trained: list[float] = []
        for number in range(rounds + 1):
            training = bench.train(number)
            spent = {goal: bench.align(recipe) for goal, recipe in RECIPES.items()}
            if not number:
                continue
            trained.append(training)
            for goal, value in spent.items():
                seconds[goal].append(value)
                say(f"goal {goal.number}, round {number} of {rounds}: {value:.4g} s, ceiling {training:.4g} s")
    finally:
        torch.set_num_threads(threads)
    return [Row(goal=goal, ours=tuple(seconds[goal]), ceilings=tuple(trained)) for goal in RECIPES]


class _Bench:
    """An agent's trainer and a worker's calibration model on the same base model, and a buffer of deltas to merge."""

    def __init__(self, folder: Path, model_dir: Path, text: str) -> None:
        form = FederationPlan(
            federation="speed", base_model=BaseModel(name=str(model_dir), digest=digest_of(model_dir))
        )
        lora = dataclasses.replace(form.lora, target_modules=resolve_target_modules(model_dir, form.lora))
        self._head = initial_adapter(model_dir, lora, seed=0)
        self._plan = dataclasses.replace(form, lora=lora, tensors=manifest_of(self._head)).validate()
        file = folder / "training.txt"
        file.write_text(text, "utf-8")
        workload = read_workload(data=[str(file)], extensions=None, device="cpu", precision="auto", threads=1)
        self._trainer: Trainer = workload.make_trainer(self._plan, model_dir)
        settings = self._plan.calibration
        pieces = [text[start : start + ROW_CHARACTERS] for start in range(0, len(text), ROW_CHARACTERS)]
        rows = split_rows(
            [CalibrationRow(prompt="", answer=piece) for piece in pieces],
            fit_rows=settings.fit_rows,
            judge_rows=settings.judge_rows,
            version_number=DELTAS,
        )
        model = CalibrationModel(model_dir, lora, sequence_length=settings.sequence_length, threads=1)
        self._probe: CalibrationProbe = model.probe(rows)

    def train(self, sequence: int) -> float:
        """Return the seconds of training one delta."""
        job = TrainingJob(plan=self._plan, base=GlobalVersion(epoch=0, number=0, digest="0" * 64), sequence=sequence)
        began = time.process_time()
        self._trainer.train({name: factor.clone() for name, factor in self._head.items()}, job)
        return time.process_time() - began

    def align(self, recipe: str) -> float:
        """Return the seconds that a merge with a recipe spends on aligning and calibrating."""
        steps: Counter[str] = Counter()

        @contextlib.contextmanager
        def watch(step: str) -> Iterator[None]:
            began = time.process_time()
            yield
            steps[step] += time.process_time() - began  # type: ignore[assignment]  # a counter of seconds

        aggregate(self._inputs(), get_recipe(recipe), watch)
        return float(sum(steps[step] for step in ALIGNING))

    def _inputs(self) -> AggregationInput:
        """Return a buffer: its contents decide nothing of what it costs, but that no two versions are the same."""
        generator = torch.Generator().manual_seed(0)
        versions = [VersionId(epoch=0, number=number, digest=f"{number:064x}") for number in range(DELTAS)]
        bases = {version: _near(self._head, generator) for version in versions[:-1]} | {versions[-1]: self._head}
        deltas = [_noise(self._head, generator) for _ in versions]
        return AggregationInput(
            head=self._head,
            deltas=tuple(
                DeltaInput(
                    delta_id=f"delta-{version.number}",
                    agent_id=f"agent-{version.number}",
                    base=version,
                    staleness_versions=versions[-1].number - version.number,
                    examples=64,
                    load=lambda delta=delta: delta,  # type: ignore[misc]  # a default binds the loop's name
                )
                for version, delta in zip(versions, deltas, strict=True)
            ),
            merged_by_agent={f"agent-{version.number}": 1 for version in versions},
            base_factors=lambda base: bases[base],
            server_learning_rate=self._plan.aggregation.server_learning_rate,
            probe=self._probe,
            version_number=DELTAS,
        )


def _noise(like: Factors, generator: torch.Generator) -> Factors:
    return {name: NOISE * torch.randn(factor.shape, generator=generator) for name, factor in like.items()}


def _near(factors: Factors, generator: torch.Generator) -> Factors:
    return {name: factors[name] + noise for name, noise in _noise(factors, generator).items()}


def _texts() -> list[str]:
    """Return enough of the source of Python's library."""
    texts: list[str] = []
    for file in pretraining_files(Path(sysconfig.get_path("stdlib"))):
        with contextlib.suppress(UnicodeDecodeError):
            texts.append(file.read_text("utf-8"))
        if sum(map(len, texts)) >= TEXT_CHARACTERS:
            break
    return texts
