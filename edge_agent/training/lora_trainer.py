"""The agent's own training loop: LoRA with peft on the frozen base model. The only file of the agent to import peft."""

from __future__ import annotations

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
from edge_agent.data.batches import collate, index_batches
from edge_agent.data.tokens import TrainingSet
from edge_agent.training.compute import Compute
from edge_agent.training.trainer import Interrupted, StepReport, TrainingJob, TrainingResult

_LIVE_NAME = ".default."
"""peft puts the adapter's name into the names of live parameters and leaves it out when it saves them."""


class LoraTrainer:
    """Implements `edge_agent.training.trainer.Trainer` with AdamW on LoRA factors; owns the base model.

    The base model is loaded once, in bf16 where that is faster; LoRA factors are always fp32.

    Args:
        model_dir: The base model as `save_pretrained` writes it.
        plan: Its LoRA configuration and manifest.
        data: What to train on.
        pad_token_id: Any valid token; padding is masked.
        compute: Device and precision.

    Raises:
        ManifestMismatch: peft makes other tensors from the plan's configuration than the plan lists.
    """

    def __init__(
        self, *, model_dir: Path, plan: FederationPlan, data: TrainingSet, pad_token_id: int, compute: Compute
    ) -> None:
        base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=compute.dtype, local_files_only=True)
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
        self._data = data
        self._pad_token_id = pad_token_id
        self._compute = compute

    def train(self, adapter: Factors, job: TrainingJob) -> TrainingResult:
        """Train `job.plan.training.local_steps` steps from `adapter`; see `Trainer.train`.

        Rows follow on those of the agent's previous deltas. Examples are counted once each, however often a small data
        set repeats them.

        Raises:
            Interrupted: Asked to stop between two steps.
            NonFinite: The loss became NaN or infinite.
            ManifestMismatch: `adapter` does not have the plan's tensors.
        """
        training = job.plan.training
        self._load(adapter, job.plan)
        optimizer = torch.optim.AdamW(
            self._parameters.values(), lr=training.learning_rate, weight_decay=training.weight_decay
        )
        used: set[int] = set()
        losses: list[float] = []
        self._model.train()
        with torch.random.fork_rng():
            torch.manual_seed(job.seed + job.sequence)  # LoRA dropout; the same job gives the same delta
            for indexes in self._batches(job):
                if job.should_stop():
                    raise Interrupted
                began = time.monotonic()
                losses.append(self._step(indexes, optimizer, max_grad_norm=training.max_grad_norm))
                used.update(indexes)
                seconds = time.monotonic() - began
                job.report(StepReport(step=len(losses), steps=training.local_steps, loss=losses[-1], seconds=seconds))
        return TrainingResult(
            adapter={name: parameter.detach().cpu().clone() for name, parameter in self._parameters.items()},
            examples=len(used),
            steps=len(losses),
            mean_loss=sum(losses) / len(losses),
        )

    def _load(self, adapter: Factors, plan: FederationPlan) -> None:
        check_manifest(adapter, plan.tensors)
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(adapter[name])

    def _batches(self, job: TrainingJob) -> Iterator[list[int]]:
        """Yield the job's batches of example indexes: those after the agent's earlier deltas."""
        training = job.plan.training
        endless = index_batches(
            len(self._data.examples),
            training.batch_size,
            seed=job.seed,
            skip_batches=job.sequence * training.local_steps,
        )
        return itertools.islice(endless, training.local_steps)

    def _step(self, indexes: list[int], optimizer: torch.optim.Optimizer, *, max_grad_norm: float) -> float:
        """Take one optimiser step and return its loss."""
        examples = [self._data.examples[index] for index in indexes]
        batch = collate(examples, pad_token_id=self._pad_token_id, device=self._compute.device)
        with self._compute.autocast():
            loss = self._model(**batch).loss
        value = float(loss.detach())
        if not math.isfinite(value):
            raise NonFinite(f"the training loss is {value}: lower the plan's learning rate or check the data")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters.values(), max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return value


def _lora_config(lora: Lora) -> LoraConfig:
    names = lora.target_modules
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=names[0] if names == ("all-linear",) else list(names),
        task_type="CAUSAL_LM",
    )
