"""What an agent contributes: the trained adapter minus the version it was trained from."""

from __future__ import annotations

import dataclasses
import uuid

from alignfed.chunks import sha256_of
from alignfed.codec import Factors, check_finite, check_manifest, encode, narrow
from alignfed.error_feedback import encode_with_residual
from alignfed.errors import RequestInvalid
from alignfed.layout import tensors_at_rank
from alignfed.plan import Encoding, FederationPlan, TensorSpec
from edge_agent.domain import DeltaMeta, GlobalVersion, PreparedDelta, PreparedResidual
from edge_agent.outbox.leftovers import Leftovers
from edge_agent.training.feedback import Owed, pack_residual, read_owed
from edge_agent.training.trained_part import TrainedPart
from edge_agent.training.trainer import TrainingResult


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BaseAdapter:
    """A global version and its factors, fp32 on the CPU: what a delta is formed against. Never changed in place."""

    version: GlobalVersion
    factors: Factors

    def copy(self) -> Factors:
        """Return factors that a trainer may change."""
        return {name: factor.clone() for name, factor in self.factors.items()}


def delta_of(local: Factors, base: Factors) -> Factors:
    """Return `local - base`, fp32 on the CPU, factor by factor.

    `base` must be the version that training started from. Against a newer head the delta would undo what other agents
    have contributed since.
    """
    return {name: local[name].detach().to(base[name]) - base[name] for name in base}


def prepare_delta(
    result: TrainingResult,
    base: BaseAdapter,
    plan: FederationPlan,
    *,
    sequence: int,
    rank: int | None = None,
    leftovers: Leftovers | None = None,
) -> PreparedDelta:
    """Form, check and encode the delta of one training result, under a new delta id.

    Args:
        result: What the trainer returned.
        base: What the trainer started from.
        plan: Its encoding and manifest.
        sequence: The delta's place among the agent's deltas.
        rank: Leading LoRA components that were trained: the delta holds no others. None for all.
        leftovers: What earlier sparse deltas owe; None to start anew.

    Raises:
        RankMismatch: The plan takes no deltas of that rank.
        FrozenFactorChanged: The trainer changed what the plan or `rank` freezes.
        ManifestMismatch: The trainer returned other tensors than the plan lists.
        NonFinite: The trained adapter holds NaN or infinity.
        RequestInvalid: The trainer counted no examples or no steps.
    """
    if result.examples < 1 or result.steps < 1:
        raise RequestInvalid(
            f"the trainer reports {result.examples} examples and {result.steps} steps: both must be at least 1"
        )
    tensors = tensors_at_rank(plan, rank or plan.lora.rank)
    check_manifest(result.adapter, plan.tensors)
    part = TrainedPart(rank=rank, freeze_a=plan.lora.freeze_a)
    delta = delta_of(result.adapter, base.factors)
    check_finite(delta, what="the trained adapter")
    part.check_frozen(result.adapter, base.factors)
    for name, factor in delta.items():
        part.zero_frozen(name, factor)  # rounding in the trainer's dtype is no training
    payload, residual = _encoded(narrow(delta, tensors), plan, tensors, leftovers)
    meta = DeltaMeta(
        delta_id=str(uuid.uuid4()),
        sequence=sequence,
        base=base.version,
        base_model_digest=plan.base_model.digest,
        examples=result.examples,
        local_steps=result.steps,
        encoding=plan.delta_encoding,
        rank=rank or plan.lora.rank,
        tensors=tensors,
        total_bytes=len(payload),
        sha256=sha256_of(payload),
    )
    return PreparedDelta(meta=meta, payload=payload, residual=residual)


def _encoded(
    delta: Factors, plan: FederationPlan, tensors: tuple[TensorSpec, ...], leftovers: Leftovers | None
) -> tuple[bytearray, PreparedResidual | None]:
    """Return the payload, and in `topk` what it and those before it leave out."""
    if plan.delta_encoding is not Encoding.TOPK:
        return encode(delta, plan.delta_encoding), None
    owed = read_owed(leftovers, plan, tensors) if leftovers is not None else Owed()
    payload, rest = encode_with_residual(delta, owed.factors, topk_ratio=plan.topk_ratio)
    return payload, pack_residual(rest, plan, tensors, returned=owed.returned)
