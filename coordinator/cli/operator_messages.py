"""Operator messages to what the commands show: here and in `operator_findings` alone are protobuf fields read."""

from __future__ import annotations

import dataclasses

from google.protobuf.timestamp_pb2 import Timestamp

from alignfed.plan_proto import plan_from_proto
from alignfed.v1 import operator_service_pb2 as operator_pb
from alignfed.v1 import types_pb2 as pb
from alignfed.version_manifest import SignedManifest
from coordinator.cli.operator_views import AgentView, DeadLetterView, FederationView, VersionView
from coordinator.domain import (
    AdapterKind,
    AgentRecord,
    Contribution,
    GroupRecord,
    Head,
    MergedDelta,
    MergeRecord,
    PrivacyRecord,
    VersionId,
    VersionKind,
)

ADAPTER_KIND_TO_PROTO = {
    AdapterKind.TRAINING: pb.ADAPTER_KIND_TRAINING,
    AdapterKind.SERVED: pb.ADAPTER_KIND_SERVED,
}
_VERSION_KINDS = {
    operator_pb.VERSION_KIND_INITIAL: VersionKind.INITIAL,
    operator_pb.VERSION_KIND_MERGE: VersionKind.MERGE,
    operator_pb.VERSION_KIND_ROLLBACK: VersionKind.ROLLBACK,
}


def version_id_of(message: pb.VersionId) -> VersionId:
    """Return a version's identity."""
    return VersionId(epoch=message.epoch, number=message.number, digest=message.digest)


def head_of(message: pb.HeadStatus) -> Head:
    """Return a federation's state."""
    return Head(
        id=version_id_of(message.head),
        oldest_retained=message.oldest_retained_number,
        paused=message.paused,
        hold_reason=message.hold_reason,
    )


def federation_of(message: operator_pb.GetFederationResponse) -> FederationView:
    """Return one federation."""
    return FederationView(
        plan=plan_from_proto(message.plan),
        head=head_of(message.status),
        queued=message.queue_deltas,
        pending=message.pending_deltas,
        dead=message.dead_letters,
        agents=message.agents,
        created_at=seconds_of(message.created_at),
        oldest_queued_at=seconds_of(message.oldest_queued_at) if message.HasField("oldest_queued_at") else None,
    )


def version_of(message: operator_pb.GlobalVersion) -> VersionView:
    """Return one version, with its merge record when the message holds one."""
    return VersionView(
        id=version_id_of(message.id),
        kind=_VERSION_KINDS[message.kind],
        parent=message.parent_number if message.HasField("parent_number") else None,
        created_at=seconds_of(message.created_at),
        abandoned=message.abandoned,
        serves_average=message.serves_average,
        deltas=message.deltas,
        calibration_loss=message.calibration_loss if message.HasField("calibration_loss") else None,
        merge=_merge_of(message.merge) if message.HasField("merge") else None,
        signed=_signed_of(message.manifest) if message.HasField("manifest") else None,
    )


def _signed_of(message: pb.SignedManifest) -> SignedManifest:
    return SignedManifest(
        manifest=message.manifest, signature=message.signature.hex(), key_fingerprint=message.key_fingerprint
    )


def agent_of(message: operator_pb.Agent) -> AgentView:
    """Return one agent with its contribution."""
    said = message.capabilities
    return AgentView(
        agent=AgentRecord(
            agent_id=message.agent_id,
            registered_at=seconds_of(message.registered_at),
            last_seen_at=seconds_of(message.last_seen_at),
            device=said.device,
            memory_bytes=said.memory_bytes,
            software_version=said.software_version,
            tier=said.tier,
            examples=said.examples,
            revoked=message.revoked,
        ),
        contribution=Contribution(
            merged=message.merged_deltas, weight=message.merged_weight, rejected=message.rejected_deltas
        ),
    )


def dead_letter_of(message: operator_pb.DeadLetter) -> DeadLetterView:
    """Return one dead letter."""
    return DeadLetterView(
        delta_id=message.delta_id,
        agent_id=message.agent_id,
        detail=message.detail,
        buried_at=seconds_of(message.buried_at),
    )


def _merge_of(message: operator_pb.MergeRecord) -> MergeRecord:
    def loss(name: str) -> float | None:
        return float(getattr(message, name)) if message.HasField(name) else None

    return MergeRecord(
        recipe=message.recipe,
        server_learning_rate=message.server_learning_rate,
        deltas=tuple(_merged_delta_of(delta) for delta in message.deltas),
        groups=tuple(_group_of(group) for group in message.groups),
        calibration_loss_before=loss("calibration_loss_before"),
        calibration_loss_after=loss("calibration_loss_after"),
        calibration_loss_served=loss("calibration_loss_served"),
        unrecorded=tuple(message.unrecorded),
        robust=message.robust,
        privacy=_privacy_of(message.privacy) if message.HasField("privacy") else None,
    )


def _privacy_of(message: operator_pb.PrivacySpent) -> PrivacyRecord:
    return PrivacyRecord(**{field.name: getattr(message, field.name) for field in dataclasses.fields(PrivacyRecord)})


def _merged_delta_of(message: operator_pb.MergedDelta) -> MergedDelta:
    return MergedDelta(
        delta_id=message.delta_id,
        agent_id=message.agent_id,
        base=version_id_of(message.base_version),
        staleness_versions=message.staleness_versions,
        examples=message.examples,
        freshness=message.freshness,
        fairness=message.fairness,
        weight=message.weight,
        coefficient=message.coefficient,
        cosine=message.cosine,
        norm=message.norm,
        clip=message.clip if message.HasField("clip") else 1.0,
    )


def _group_of(message: operator_pb.VersionGroup) -> GroupRecord:
    return GroupRecord(
        base=version_id_of(message.base_version),
        deltas=message.deltas,
        method=message.method,
        cosine=message.cosine,
        objective_before=message.objective_before if message.HasField("objective_before") else None,
        objective_after=message.objective_after if message.HasField("objective_after") else None,
    )


def seconds_of(stamp: Timestamp) -> float:
    """Return a point in time as Unix seconds."""
    return stamp.seconds + stamp.nanos / 1e9
