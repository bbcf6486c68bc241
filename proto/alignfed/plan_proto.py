"""Federation plan and version identity to and from protobuf: the only place where both forms meet."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from alignfed.errors import ManifestMismatch
from alignfed.plan import (
    DEFAULT_TOPK_RATIO,
    Aggregation,
    BaseModel,
    Buffer,
    Calibration,
    Encoding,
    FederationPlan,
    Limits,
    Lora,
    Retention,
    TensorSpec,
    Training,
)
from alignfed.privacy.central import CentralPrivacy
from alignfed.screening import Screening
from alignfed.v1 import types_pb2 as pb

MAX_TENSORS = 32_768
"""In one manifest: a request message of 4 MiB holds fewer that carry a name as PEFT gives it."""
MAX_DIMENSIONS = 8

ENCODING_TO_PROTO = {
    Encoding.FP32: pb.ENCODING_FP32,
    Encoding.BF16: pb.ENCODING_BF16,
    Encoding.INT8: pb.ENCODING_INT8,
    Encoding.INT8_GROUPS: pb.ENCODING_INT8_GROUPS,
    Encoding.TOPK: pb.ENCODING_TOPK,
}
ENCODING_FROM_PROTO = {value: key for key, value in ENCODING_TO_PROTO.items()}


def duration_to_proto(seconds: float) -> Duration:
    """Return `seconds` as a protobuf duration, to the microsecond."""
    message = Duration()
    message.FromTimedelta(timedelta(seconds=seconds))
    return message


def duration_from_proto(message: Duration) -> float:
    """Return a protobuf duration in seconds, to the microsecond; a plan's rules say which of them make sense."""
    return message.seconds + round(message.nanos / 1000) / 1_000_000


def tensors_to_proto(tensors: tuple[TensorSpec, ...]) -> list[pb.TensorSpec]:
    """Return a manifest as messages, in its order."""
    return [pb.TensorSpec(name=spec.name, shape=spec.shape) for spec in tensors]


def tensors_from_proto(messages: Sequence[pb.TensorSpec]) -> tuple[TensorSpec, ...]:
    """Return a manifest from messages, in their order.

    An empty entry takes two bytes on the wire and a hundred in memory: what is too long is not converted.

    Raises:
        ManifestMismatch: It has more than `MAX_TENSORS` tensors, or one of more than `MAX_DIMENSIONS` dimensions.
    """
    if len(messages) > MAX_TENSORS:
        raise ManifestMismatch(f"the manifest names {len(messages)} tensors, at most {MAX_TENSORS} are allowed")
    return tuple(TensorSpec(name=message.name, shape=_shape_of(message)) for message in messages)


def _shape_of(message: pb.TensorSpec) -> tuple[int, ...]:
    if len(message.shape) > MAX_DIMENSIONS:
        raise ManifestMismatch(
            f"tensor {message.name[:200]!r} has {len(message.shape)} dimensions, {MAX_DIMENSIONS} are allowed"
        )
    return tuple(message.shape)


def plan_to_proto(plan: FederationPlan) -> pb.FederationPlan:
    """Return `plan` as a message."""
    b, c, s = plan.buffer, plan.calibration, plan.limits
    return pb.FederationPlan(
        federation=plan.federation,
        base_model=pb.BaseModel(
            name=plan.base_model.name, revision=plan.base_model.revision, digest=plan.base_model.digest
        ),
        lora=pb.LoraConfig(
            rank=plan.lora.rank,
            alpha=plan.lora.alpha,
            dropout=plan.lora.dropout,
            target_modules=plan.lora.target_modules,
            freeze_a=plan.lora.freeze_a,
        ),
        training=pb.TrainingConfig(
            local_steps=plan.training.local_steps,
            batch_size=plan.training.batch_size,
            sequence_length=plan.training.sequence_length,
            learning_rate=plan.training.learning_rate,
            weight_decay=plan.training.weight_decay,
            max_grad_norm=plan.training.max_grad_norm,
            representation_penalty=plan.training.representation_penalty,
            wait_for_version=plan.training.wait_for_version,
        ),
        delta_encoding=ENCODING_TO_PROTO[plan.delta_encoding],
        topk_ratio=plan.topk_ratio,
        buffer=pb.BufferConfig(size=b.size, timeout=duration_to_proto(b.timeout_seconds)),
        aggregation=pb.AggregationConfig(
            recipe=plan.aggregation.recipe,
            server_learning_rate=plan.aggregation.server_learning_rate,
            max_delta_norm_ratio=plan.aggregation.max_delta_norm_ratio,
        ),
        calibration=pb.CalibrationConfig(
            fit_rows=c.fit_rows,
            judge_rows=c.judge_rows,
            sequence_length=c.sequence_length,
            max_loss_increase_ratio=c.max_loss_increase_ratio,
        ),
        screening=_screening_to_proto(plan.screening),
        privacy=_privacy_to_proto(plan.privacy),
        limits=pb.Limits(
            chunk_bytes=s.chunk_bytes,
            max_queue_deltas=s.max_queue_deltas,
            upload_lifetime=duration_to_proto(s.upload_lifetime_seconds),
        ),
        retention=_retention_to_proto(plan.retention),
        tensors=tensors_to_proto(plan.tensors),
    )


def _privacy_to_proto(privacy: CentralPrivacy) -> pb.PrivacyConfig | None:
    return pb.PrivacyConfig(**dataclasses.asdict(privacy)) if privacy.enabled else None


def _privacy_from_proto(message: pb.FederationPlan) -> CentralPrivacy:
    """Return the settings of central privacy; a plan without them is not private."""
    if not message.HasField("privacy"):
        return CentralPrivacy()
    fields = dataclasses.fields(CentralPrivacy)
    return CentralPrivacy(**{field.name: getattr(message.privacy, field.name) for field in fields})


def _screening_to_proto(screening: Screening) -> pb.ScreeningConfig:
    return pb.ScreeningConfig(**dataclasses.asdict(screening))


def _screening_from_proto(message: pb.FederationPlan) -> Screening:
    """Return what is kept out of merges: the defaults, where the peer is older than such settings."""
    if not message.HasField("screening"):
        return Screening()
    return Screening(**{field.name: getattr(message.screening, field.name) for field in dataclasses.fields(Screening)})


def _retention_to_proto(kept: Retention) -> pb.Retention:
    return pb.Retention(
        versions=kept.versions,
        delta_versions=kept.delta_versions,
        receipt_versions=kept.receipt_versions,
        record_versions=kept.record_versions,
        dead_letters=kept.dead_letters,
        dead_letter=duration_to_proto(kept.dead_letter_seconds),
        agent=duration_to_proto(kept.agent_seconds),
    )


def _retention_from_proto(message: pb.Retention) -> Retention:
    """Return what is kept; what an older peer does not know of has its default."""
    default = Retention()
    letter, agent = message.HasField("dead_letter"), message.HasField("agent")
    return Retention(
        versions=message.versions,
        delta_versions=message.delta_versions,
        receipt_versions=message.receipt_versions or default.receipt_versions,
        record_versions=message.record_versions or default.record_versions,
        dead_letters=message.dead_letters or default.dead_letters,
        dead_letter_seconds=duration_from_proto(message.dead_letter) if letter else default.dead_letter_seconds,
        agent_seconds=duration_from_proto(message.agent) if agent else default.agent_seconds,
    )


def plan_from_proto(message: pb.FederationPlan) -> FederationPlan:
    """Return the plan of a message, validated.

    Raises:
        PlanInvalid: A value is out of its range, or the encoding is unset.
        ManifestMismatch: The manifest is longer than any adapter's.
    """
    m = message
    return FederationPlan.from_dict(
        {
            "federation": m.federation,
            "base_model": BaseModel(name=m.base_model.name, revision=m.base_model.revision, digest=m.base_model.digest),
            "lora": Lora(
                rank=m.lora.rank,
                alpha=m.lora.alpha,
                dropout=m.lora.dropout,
                target_modules=tuple(m.lora.target_modules),
                freeze_a=m.lora.freeze_a,
            ),
            "training": Training(
                local_steps=m.training.local_steps,
                batch_size=m.training.batch_size,
                sequence_length=m.training.sequence_length,
                learning_rate=m.training.learning_rate,
                weight_decay=m.training.weight_decay,
                max_grad_norm=m.training.max_grad_norm,
                representation_penalty=m.training.representation_penalty,
                wait_for_version=m.training.wait_for_version,
            ),
            "delta_encoding": ENCODING_FROM_PROTO.get(m.delta_encoding, "unset"),
            "topk_ratio": m.topk_ratio or DEFAULT_TOPK_RATIO,
            "buffer": Buffer(size=m.buffer.size, timeout_seconds=duration_from_proto(m.buffer.timeout)),
            "aggregation": Aggregation(
                recipe=m.aggregation.recipe,
                server_learning_rate=m.aggregation.server_learning_rate,
                max_delta_norm_ratio=m.aggregation.max_delta_norm_ratio,
            ),
            "calibration": Calibration(
                fit_rows=m.calibration.fit_rows,
                judge_rows=m.calibration.judge_rows,
                sequence_length=m.calibration.sequence_length,
                max_loss_increase_ratio=m.calibration.max_loss_increase_ratio,
            ),
            "screening": _screening_from_proto(m),
            "privacy": _privacy_from_proto(m),
            "limits": Limits(
                chunk_bytes=m.limits.chunk_bytes,
                max_queue_deltas=m.limits.max_queue_deltas,
                upload_lifetime_seconds=duration_from_proto(m.limits.upload_lifetime),
            ),
            "retention": _retention_from_proto(m.retention),
            "tensors": tensors_from_proto(m.tensors),
        }
    ).validate()
