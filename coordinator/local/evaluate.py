"""Held-out loss per domain, of the base model and of published versions (needs torch)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from alignfed.codec import Factors, decode
from alignfed.plan import Encoding, FederationPlan
from coordinator.cli.calibration_set import load_tokenizer, plain_record
from coordinator.cli.text_files import json_lines, read_records
from coordinator.local.run_record import HeldOut
from coordinator.worker.calibration import Batch, CalibrationModel
from coordinator.worker.calibration_rows import CalibrationRow, rows_from_jsonl


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutLosses:
    """Losses in nats per token: `base` and every version on the same tokens of each domain.

    Attributes:
        tokens: Scored tokens per domain; as equal as rows allow, so that no domain counts for more in a mean.
        base: Loss of the base model by domain.
        versions: Version number to loss by domain.
    """

    tokens: Mapping[str, int]
    base: Mapping[str, float]
    versions: Mapping[int, Mapping[str, float]]


def evaluate(
    plan: FederationPlan,
    model_dir: Path,
    held_out: Sequence[HeldOut],
    adapters: Mapping[int, bytes],
    *,
    say: Callable[[str], None],
) -> HeldOutLosses:
    """Evaluate the base model and every adapter on every domain's held-out rows.

    Args:
        plan: Says LoRA configuration, manifest and sequence length.
        model_dir: The base model.
        held_out: The domains.
        adapters: Version number to payload (safetensors, fp32).
        say: Told the progress, one line at a time.
    """
    model = CalibrationModel(model_dir, plan.lora, sequence_length=plan.training.sequence_length)
    batches = _equal_batches(model, model_dir, held_out)
    untouched: Factors = {spec.name: torch.zeros(spec.shape) for spec in plan.tensors}

    def losses(factors: Factors) -> dict[str, float]:
        return {domain: model.batch_loss(factors, rows) for domain, rows in batches.items()}

    say(f"evaluating the base model on {len(batches)} domains")
    base = losses(untouched)
    versions: dict[int, dict[str, float]] = {}
    for number, payload in sorted(adapters.items()):
        factors = decode(payload, plan.tensors, Encoding.FP32)
        if leaves_model_unchanged(factors):
            versions[number] = base
            continue
        say(f"evaluating version {number}")
        versions[number] = losses(factors)
    return HeldOutLosses(
        tokens={domain: sum(batch.scored for batch in rows) for domain, rows in batches.items()},
        base=base,
        versions=versions,
    )


def leaves_model_unchanged(factors: Factors) -> bool:
    """Whether an adapter adds nothing, as a fresh one does: in every pair of factors, B is zero."""
    return not any(bool(tensor.any()) for name, tensor in factors.items() if ".lora_B." in name)


def choose_versions(numbers: Sequence[int], most: int) -> list[int]:
    """Return at most `most` of the sorted version numbers, evenly spaced, the first and the last always among them."""
    if len(numbers) <= most:
        return list(numbers)
    return [numbers[i * (len(numbers) - 1) // (most - 1)] for i in range(most)]


def rows_for_budget(tokens: Sequence[int], budget: int) -> int:
    """Return how many of the first rows, of so many tokens each, are needed to reach a budget of tokens."""
    reached = list(itertools.accumulate(tokens))
    return next((count for count, total in enumerate(reached, start=1) if total >= budget), len(reached))


def _equal_batches(
    model: CalibrationModel, model_dir: Path, held_out: Sequence[HeldOut]
) -> dict[str, tuple[Batch, ...]]:
    """Tokenise every domain's rows, leaving rows out until all domains have about as many tokens as the smallest."""
    tokenizer = load_tokenizer(model_dir)
    rows = {domain.domain: _rows(domain, tokenizer) for domain in held_out}
    tokens = {name: [sum(b.scored for b in model.batches([row])) for row in found] for name, found in rows.items()}
    budget = min(sum(counts) for counts in tokens.values())
    return {name: model.batches(found[: rows_for_budget(tokens[name], budget)]) for name, found in rows.items()}


def _rows(domain: HeldOut, tokenizer: Any) -> tuple[CalibrationRow, ...]:
    records = read_records(Path(domain.path))
    plain = [plain_record(record, tokenizer, place=f"{domain.path} row {i}") for i, record in enumerate(records, 1)]
    return rows_from_jsonl(json_lines(plain).encode())
