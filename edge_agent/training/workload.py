"""The agent's own training: private data, a device, and the LoRA trainer made of both."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from alignfed.plan import FederationPlan
from edge_agent.data.sources import TEXT_EXTENSIONS, Corpus, read_corpus
from edge_agent.data.tokens import TrainingSet, tokenise
from edge_agent.privacy.settings import DpSettings
from edge_agent.training.base_model import load_tokenizer
from edge_agent.training.compute import Compute, choose_compute, memory_bytes
from edge_agent.training.lora_trainer import LoraTrainer
from edge_agent.training.trainer import Trainer

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Data that was read, where to train on it, and how private that is; None for not."""

    corpus: Corpus
    compute: Compute
    privacy: DpSettings | None = None

    @property
    def memory_bytes(self) -> int:
        """Memory of the device, in all."""
        return memory_bytes(self.compute.device)

    def make_trainer(self, plan: FederationPlan, model_dir: Path) -> Trainer:
        """Return the LoRA trainer for `plan` on the base model in `model_dir`.

        Raises:
            DataUnusable: Not one row has anything to learn.
            WrongBaseModel: The directory holds no usable tokenizer.
            ManifestMismatch: peft makes other tensors from the plan's configuration than the plan lists.
            RequestInvalid: The plan or the data do not go with private training.
        """
        transformers_logging.disable_progress_bar()  # a log is no terminal
        tokenizer = load_tokenizer(model_dir)
        data = tokenise(self.corpus.rows, tokenizer, sequence_length=plan.training.sequence_length)
        _log_data(self.corpus, data)
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id or 0
        logger.info("training on %s in %s", self.compute.device.type, str(self.compute.dtype).removeprefix("torch."))
        return LoraTrainer(
            model_dir=model_dir, plan=plan, data=data, pad_token_id=pad, compute=self.compute, privacy=self.privacy
        )


def read_workload(
    *,
    data: Sequence[str],
    extensions: str | None,
    device: str,
    precision: str,
    threads: int,
    privacy: DpSettings | None = None,
) -> Workload:
    """Read the data and choose the device; the first thing an agent does, so that mistakes show at once.

    Args:
        data: Sources, as `edge_agent.data.sources` describes.
        extensions: Endings of text files, separated by commas; None for the usual ones.
        device: `auto`, `cpu` or `cuda`.
        precision: `auto`, `bf16` or `fp32`.
        threads: CPU threads of this process; 0 for torch's choice.
        privacy: How private training is; None for not.

    Raises:
        DataUnusable: As `read_corpus`.
        RequestInvalid: The device is not there.
    """
    if threads:
        torch.set_num_threads(threads)
    endings = extensions.split(",") if extensions else TEXT_EXTENSIONS
    return Workload(
        corpus=read_corpus(data, extensions=endings),
        compute=choose_compute(device=device, precision=precision),
        privacy=privacy,
    )


def _log_data(corpus: Corpus, data: TrainingSet) -> None:
    logger.info("%d rows make %d sequences of training data", data.rows, len(data.examples))
    for reason, count in corpus.skipped_files.items():
        logger.warning("%d files were skipped: %s", count, reason)
    if data.rows_without_answer:
        logger.warning("%d rows have nothing to learn and are left out", data.rows_without_answer)
    if data.prompts_cut or data.answers_cut:
        logger.warning(
            "%d prompts and %d answers are longer than the plan's sequences and were cut",
            data.prompts_cut, data.answers_cut,
        )  # fmt: skip
