"""The agent's own training loop: LoRA with peft on the frozen base model. The only file of the agent to import peft."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from alignfed.codec import Factors, check_manifest
from alignfed.errors import NonFinite
from alignfed.plan import FederationPlan, Lora
from alignfed.privacy.loss import SampledSteps
from edge_agent.data.batches import collate, index_batches
from edge_agent.data.tokens import TrainingSet
from edge_agent.privacy.sampling import poisson_batches, sampling_ratio
from edge_agent.privacy.settings import DpSettings
from edge_agent.training.compute import Compute
from edge_agent.training.dp_gradients import SequenceGradients, noisy_mean
from edge_agent.training.representation import feature_drift, features, recorded_features
from edge_agent.training.trained_part import TrainedPart
from edge_agent.training.trainer import Interrupted, StepReport, TrainingJob, TrainingResult

_LIVE_NAME = ".default."
"""peft puts the adapter's name into the names of live parameters and leaves it out when it saves them."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What one job trains and how: `trained` shares memory with the trained parts of the model's factors."""

    job: TrainingJob
    base: Factors
    trained: dict[str, torch.nn.Parameter]
    optimizer: torch.optim.Optimizer


class LoraTrainer:
    """Implements `edge_agent.training.trainer.Trainer` with AdamW on LoRA factors; owns the base model.

    The base model is loaded once, in bf16 where that is faster; LoRA factors are always fp32. Gradients of a frozen A
    are not computed; of the components beyond a job's rank they are, and dropped: a low rank saves traffic and memory
    of the optimiser, not time. A representation penalty costs one more forward pass without gradients in every step.

    With `privacy` it is DP-SGD: sequences are drawn for each step by chance instead of in turn, gradients are clipped
    sequence by sequence and get noise, and the plan's `max_grad_norm` is not used.

    Args:
        model_dir: The base model as `save_pretrained` writes it.
        plan: Its LoRA configuration and manifest.
        data: What to train on.
        pad_token_id: Any valid token; padding is masked.
        compute: Device and precision.
        privacy: How private training is; None for not.

    Raises:
        ManifestMismatch: peft makes other tensors from the plan's configuration than the plan lists.
        RequestInvalid: The plan or the data do not go with `privacy`, or its packages are not installed.
    """

    def __init__(
        self,
        *,
        model_dir: Path,
        plan: FederationPlan,
        data: TrainingSet,
        pad_token_id: int,
        compute: Compute,
        privacy: DpSettings | None = None,
    ) -> None:
        if privacy is not None:
            privacy.check_against(plan, sequences=len(data.examples))
        base = AutoModelForCausalLM.from_pretrained(
            model_dir, dtype=compute.dtype, local_files_only=True, use_safetensors=True
        )
        base.config.use_cache = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft reads a property that transformers has renamed
            self._model: Any = get_peft_model(base, _lora_config(plan.lora)).to(compute.device)
        self._parameters: dict[str, torch.nn.Parameter] = {
            name.replace(_LIVE_NAME, "."): parameter
            for name, parameter in self._model.named_parameters()
            if parameter.requires_grad
        }
        check_manifest(self._parameters, plan.tensors)
        for name, parameter in self._parameters.items():
            parameter.requires_grad_(TrainedPart(freeze_a=plan.lora.freeze_a).of(name, parameter).numel() > 0)
        self._data = data
        self._pad_token_id = pad_token_id
        self._compute = compute
        self._privacy = privacy
        self._gradients = SequenceGradients(self._model, self._parameters) if privacy is not None else None

    def cost_of(self, job: TrainingJob) -> SampledSteps:
        """Return what a private job will cost: its steps, and with which chance each sequence is in one."""
        assert self._privacy is not None
        return SampledSteps(
            sampling_ratio=sampling_ratio(len(self._data.examples), job.plan.training.batch_size),
            noise_multiplier=self._privacy.noise_multiplier,
            steps=job.plan.training.local_steps,
        )

    def train(self, adapter: Factors, job: TrainingJob) -> TrainingResult:
        """Train `job.plan.training.local_steps` steps from `adapter`; see `Trainer.train`.

        Rows follow on those of the agent's previous deltas. Examples are counted once each, however often a small data
        set repeats them; under privacy, where who was drawn is a secret, as many as are expected. Reported losses are
        of the task, without the representation penalty.

        Raises:
            Interrupted: Asked to stop between two steps.
            NonFinite: The loss became NaN or infinite.
            ManifestMismatch: `adapter` does not have the plan's tensors.
        """
        training = job.plan.training
        run = self._begin(adapter, job)
        used: set[int] = set()
        losses: list[float] = []
        self._model.train()
        with torch.random.fork_rng():
            torch.manual_seed(job.seed + job.sequence)  # LoRA dropout; the same job gives the same delta
            for indexes in self._batches(job):
                if job.should_stop():
                    raise Interrupted
                began = time.monotonic()
                losses.append(self._any_step(indexes, run, last=losses[-1] if losses else 0.0))
                used.update(indexes)
                seconds = time.monotonic() - began
                job.report(StepReport(step=len(losses), steps=training.local_steps, loss=losses[-1], seconds=seconds))
        return TrainingResult(
            adapter={name: parameter.detach().cpu().clone() for name, parameter in self._parameters.items()},
            examples=len(used) if self._privacy is None else self._expected_examples(job),
            steps=len(losses),
            mean_loss=sum(losses) / len(losses),
        )

    def _begin(self, adapter: Factors, job: TrainingJob) -> _Run:
        check_manifest(adapter, job.plan.tensors)
        self._load(adapter)
        parts = {name: job.part.of(name, parameter.detach()) for name, parameter in self._parameters.items()}
        trained = {name: torch.nn.Parameter(part) for name, part in parts.items() if part.numel()}
        training = job.plan.training
        optimizer = torch.optim.AdamW(trained.values(), lr=training.learning_rate, weight_decay=training.weight_decay)
        base = {name: factor.to(self._compute.device) for name, factor in adapter.items()}
        return _Run(job=job, base=base, trained=trained, optimizer=optimizer)

    def _load(self, factors: Factors) -> None:
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(factors[name])

    def _batches(self, job: TrainingJob) -> Iterator[list[int]]:
        """Yield the job's batches of example indexes: those after the agent's earlier deltas."""
        training = job.plan.training
        if self._privacy is not None:
            ratio = sampling_ratio(len(self._data.examples), training.batch_size)
            return poisson_batches(len(self._data.examples), ratio, steps=training.local_steps)
        endless = index_batches(
            len(self._data.examples),
            training.batch_size,
            seed=job.seed,
            skip_batches=job.sequence * training.local_steps,
        )
        return itertools.islice(endless, training.local_steps)

    def _expected_examples(self, job: TrainingJob) -> int:
        training = job.plan.training
        return min(len(self._data.examples), training.batch_size * training.local_steps)

    def _any_step(self, indexes: list[int], run: _Run, *, last: float) -> float:
        return self._step(indexes, run) if self._gradients is None else self._private_step(indexes, run, last=last)

    def _private_step(self, indexes: list[int], run: _Run, *, last: float) -> float:
        """Take one step of DP-SGD and return its mean loss, or `last` when no sequence was drawn."""
        assert self._privacy is not None
        assert self._gradients is not None
        size, settings, losses = run.job.plan.training.batch_size, self._privacy, []
        total = {name: torch.zeros_like(trained) for name, trained in run.trained.items()}
        for start in range(0, len(indexes), size):  # more than usual may be drawn, and memory is for a usual batch
            examples = [self._data.examples[index] for index in indexes[start : start + size]]
            losses += self._gradients.add_clipped(
                collate(examples, pad_token_id=self._pad_token_id, device=self._compute.device),
                total,
                max_norm=settings.max_grad_norm,
                part=run.job.part.of,
                forward=self._compute.autocast(),
            )
        count = len(self._data.examples)
        noisy = noisy_mean(
            total,
            noise_multiplier=settings.noise_multiplier,
            max_norm=settings.max_grad_norm,
            expected=count * sampling_ratio(count, size),
        )
        for name, trained in run.trained.items():
            trained.grad = noisy[name]
        run.optimizer.step()
        run.optimizer.zero_grad(set_to_none=True)
        return sum(losses) / len(losses) if losses else last

    def _step(self, indexes: list[int], run: _Run) -> float:
        """Take one optimiser step and return its task loss."""
        examples = [self._data.examples[index] for index in indexes]
        batch = collate(examples, pad_token_id=self._pad_token_id, device=self._compute.device)
        task, penalty = self._losses(batch, run)
        value, added = float(task.detach()), float(penalty.detach())
        if not math.isfinite(value + added):
            raise NonFinite(
                f"the training loss is {value} and its representation penalty {added}: lower the plan's learning rate "
                "or check the data"
            )
        (task + penalty).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        for name, trained in run.trained.items():
            parameter = self._parameters[name]
            assert parameter.grad is not None, name
            trained.grad, parameter.grad = run.job.part.of(name, parameter.grad), None
        torch.nn.utils.clip_grad_norm_(run.trained.values(), run.job.plan.training.max_grad_norm)
        run.optimizer.step()
        run.optimizer.zero_grad(set_to_none=True)
        return value

    def _losses(self, batch: dict[str, torch.Tensor], run: _Run) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the task's loss on a batch and the weighed representation penalty."""
        weight = run.job.plan.training.representation_penalty
        if not weight:
            with self._compute.autocast():
                loss: torch.Tensor = self._model(**batch).loss
            return loss, torch.zeros((), device=loss.device)
        body = self._model.get_base_model().base_model
        with self._at_base(run), torch.no_grad(), self._compute.autocast():
            snapshot = features(body, batch)
        with self._compute.autocast(), recorded_features(body) as local:
            loss = self._model(**batch).loss
        return loss, weight * feature_drift(local[0], snapshot, batch["attention_mask"])

    @contextlib.contextmanager
    def _at_base(self, run: _Run) -> Iterator[None]:
        """Set the factors to the base version's for a while, dropout off: no second model, and no features kept."""
        local = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        self._load(run.base)
        self._model.eval()
        try:
            yield
        finally:
            self._load(local)
            self._model.train()


def _lora_config(lora: Lora) -> LoraConfig:
    names = lora.target_modules
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=names[0] if names == ("all-linear",) else list(names),
        task_type="CAUSAL_LM",
    )
