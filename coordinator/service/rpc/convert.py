"""Domain values to and from protobuf. Only servicers call this; nothing behind them sees a message."""

from __future__ import annotations

import dataclasses
import functools
import random
import re

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from alignfed.chunks import ChunkData
from alignfed.errors import PlanInvalid, RequestInvalid
from alignfed.plan import AGENT_ID, FederationPlan, TensorSpec
from alignfed.plan_proto import ENCODING_FROM_PROTO, plan_from_proto, tensors_from_proto
from alignfed.v1 import operator_service_pb2 as op
from alignfed.v1 import types_pb2 as pb
from alignfed.version_manifest import SignedManifest
from coordinator.domain import (
    AdapterKind,
    AgentRecord,
    BlobRef,
    Contribution,
    DeadLetter,
    DeltaState,
    Head,
    MergeRecord,
    Receipt,
    VersionId,
    VersionKind,
    VersionRecord,
)
from coordinator.service.admission import MAX_INTEGER, DeltaHeader

SPREAD = (0.75, 1.5)
"""Times after which to come back are multiplied by a random factor between these."""

_REMEMBERED_MANIFEST_BYTES = 128 * 1024
"""A thousand tensors; longer manifests, which cost a sender nothing, are not kept."""

_LABEL = re.compile(r"[A-Za-z0-9 ._:+-]{0,64}")

_STATES = {
    DeltaState.QUEUED: pb.DELTA_STATE_QUEUED,
    DeltaState.MERGED: pb.DELTA_STATE_MERGED,
    DeltaState.REJECTED: pb.DELTA_STATE_REJECTED,
}
_VERSION_KINDS = {
    VersionKind.INITIAL: op.VERSION_KIND_INITIAL,
    VersionKind.MERGE: op.VERSION_KIND_MERGE,
    VersionKind.ROLLBACK: op.VERSION_KIND_ROLLBACK,
}


def timestamp(seconds: float) -> Timestamp:
    """Return seconds since the Unix epoch as a message, to the microsecond."""
    message = Timestamp()
    message.FromMicroseconds(round(seconds * 1e6))
    return message


def moment(seconds: float | None) -> Timestamp | None:
    """Return seconds since the Unix epoch as a message; None for None, which leaves a field unset."""
    return None if seconds is None else timestamp(seconds)


def wait_seconds(message: Duration, *, longest: float) -> float:
    """Return a requested wait in seconds, between 0 and `longest`."""
    return min(max(message.seconds + message.nanos / 1e9, 0.0), longest)


def spread_duration(seconds: float) -> Duration:
    """Return a time to wait as a message, times a random factor of `SPREAD`: who is told together comes apart."""
    message = Duration()
    message.FromMilliseconds(round(seconds * random.uniform(*SPREAD) * 1000))  # noqa: S311 - spreads load, guards nothing
    return message


def version_id_to_proto(value: VersionId) -> pb.VersionId:
    """Return a version's identity as a message."""
    return pb.VersionId(epoch=value.epoch, number=value.number, digest=value.digest)


def version_id_from_proto(message: pb.VersionId) -> VersionId:
    """Return a version's identity, unchecked."""
    return VersionId(epoch=message.epoch, number=message.number, digest=message.digest)


def head_to_proto(head: Head) -> pb.HeadStatus:
    """Return a federation's state as a message."""
    return pb.HeadStatus(
        head=version_id_to_proto(head.id),
        oldest_retained_number=head.oldest_retained,
        paused=head.paused,
        hold_reason=head.hold_reason,
    )


def receipt_to_proto(receipt: Receipt) -> pb.Receipt:
    """Return a receipt as a message."""
    return pb.Receipt(
        delta_id=receipt.delta_id,
        state=_STATES[receipt.state],
        accepted_at=timestamp(receipt.accepted_at),
        merged_version=None if receipt.version is None else version_id_to_proto(receipt.version),
        reason=receipt.reason,
        detail=receipt.detail,
    )


def adapter_header_to_proto(version: VersionId, blob: BlobRef, signed: SignedManifest | None) -> pb.AdapterHeader:
    """Return the announcement of a download."""
    return pb.AdapterHeader(
        version=version_id_to_proto(version),
        total_bytes=blob.total_bytes,
        sha256=blob.sha256,
        manifest=None if signed is None else signed_manifest_to_proto(signed),
    )


def signed_manifest_to_proto(signed: SignedManifest) -> pb.SignedManifest:
    """Return what was signed of a version as a message."""
    return pb.SignedManifest(
        manifest=signed.manifest, signature=bytes.fromhex(signed.signature), key_fingerprint=signed.key_fingerprint
    )


def chunk_from_proto(message: pb.Chunk) -> ChunkData:
    """Return the chunk of a message."""
    return ChunkData(offset=message.offset, data=message.data, crc32c=message.crc32c)


def header_from_proto(message: pb.DeltaHeader) -> DeltaHeader:
    """Return the delta header of a message, unchecked."""
    return DeltaHeader(
        federation=message.federation,
        agent_id=message.agent_id,
        delta_id=message.delta_id,
        base=version_id_from_proto(message.base_version),
        base_model_digest=message.base_model_digest,
        examples=message.examples,
        local_steps=message.local_steps,
        encoding=ENCODING_FROM_PROTO.get(message.encoding),
        rank=message.rank,
        tensors=_manifest_of(message),
        total_bytes=message.total_bytes,
        sha256=message.sha256,
    )


def _manifest_of(message: pb.DeltaHeader) -> tuple[TensorSpec, ...]:
    """Return a header's manifest; all agents of a federation send the same one, and reading it takes a millisecond."""
    alone = pb.DeltaHeader()
    alone.tensors.MergeFrom(message.tensors)  # by a copy in C, which the constructor does not make
    encoded = alone.SerializeToString()
    if len(encoded) > _REMEMBERED_MANIFEST_BYTES:
        return tensors_from_proto(message.tensors)
    return _remembered_manifest(encoded)


@functools.lru_cache(maxsize=32)
def _remembered_manifest(encoded: bytes) -> tuple[TensorSpec, ...]:
    return tensors_from_proto(pb.DeltaHeader.FromString(encoded).tensors)


def adapter_kind_from_proto(value: int) -> AdapterKind:
    """Return which adapter is wanted; unset means the training adapter."""
    return AdapterKind.SERVED if value == pb.ADAPTER_KIND_SERVED else AdapterKind.TRAINING


def checked_plan_from_proto(message: pb.FederationPlan) -> FederationPlan:
    """Return the plan of a message, validated.

    Raises:
        PlanInvalid: A value is out of its range.
    """
    try:
        return plan_from_proto(message)
    except OverflowError as error:
        raise PlanInvalid(f"a duration of the plan is out of range ({error}): correct the plan file") from error


def agent_from_proto(agent_id: str, message: pb.AgentCapabilities, *, at: float) -> AgentRecord:
    """Return what an agent says of itself as a record made at `at` (Unix seconds).

    Raises:
        RequestInvalid: The id or a capability is out of its range.
    """
    if not AGENT_ID.fullmatch(agent_id):
        raise RequestInvalid(
            f"agent_id {agent_id[:80]!r} must be 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit"
        )
    for name in ("device", "software_version", "tier"):
        if not _LABEL.fullmatch(getattr(message, name)):
            raise RequestInvalid(f"capabilities.{name} must be at most 64 letters, digits or any of ' ._:+-'")
    for name in ("memory_bytes", "examples"):
        if getattr(message, name) > MAX_INTEGER:
            raise RequestInvalid(f"capabilities.{name} must be at most {MAX_INTEGER}")
    return AgentRecord(
        agent_id=agent_id,
        registered_at=at,
        last_seen_at=at,
        device=message.device,
        memory_bytes=message.memory_bytes,
        software_version=message.software_version,
        tier=message.tier,
        examples=message.examples,
    )


def agent_to_proto(agent: AgentRecord, contribution: Contribution) -> op.Agent:
    """Return an agent with what it has contributed as a message."""
    return op.Agent(
        agent_id=agent.agent_id,
        capabilities=pb.AgentCapabilities(
            device=agent.device,
            memory_bytes=agent.memory_bytes,
            software_version=agent.software_version,
            tier=agent.tier,
            examples=agent.examples,
        ),
        registered_at=timestamp(agent.registered_at),
        last_seen_at=timestamp(agent.last_seen_at),
        merged_deltas=contribution.merged,
        merged_weight=contribution.weight,
        rejected_deltas=contribution.rejected,
        revoked=agent.revoked,
    )


def version_to_proto(record: VersionRecord, *, with_merge: bool) -> op.GlobalVersion:
    """Return a version as a message, with its merge record on request."""
    merge = record.merge
    return op.GlobalVersion(
        id=version_id_to_proto(record.id),
        kind=_VERSION_KINDS[record.kind],
        parent_number=record.parent,
        created_at=timestamp(record.created_at),
        abandoned=record.abandoned,
        serves_average=record.served_average,
        merge=merge_to_proto(merge) if with_merge and merge is not None else None,
        deltas=0 if merge is None else len(merge.deltas) + merge.forgotten_deltas,
        calibration_loss=None if merge is None else merge.calibration_loss_after,
        manifest=None if record.signed is None else signed_manifest_to_proto(record.signed),
    )


def merge_to_proto(merge: MergeRecord) -> op.MergeRecord:
    """Return a merge record as a message."""
    return op.MergeRecord(
        recipe=merge.recipe,
        server_learning_rate=merge.server_learning_rate,
        deltas=[
            op.MergedDelta(
                delta_id=delta.delta_id,
                agent_id=delta.agent_id,
                base_version=version_id_to_proto(delta.base),
                staleness_versions=delta.staleness_versions,
                examples=delta.examples,
                freshness=delta.freshness,
                fairness=delta.fairness,
                weight=delta.weight,
                coefficient=delta.coefficient,
                cosine=delta.cosine,
                norm=delta.norm,
                clip=delta.clip,
            )
            for delta in merge.deltas
        ],
        groups=[
            op.VersionGroup(
                base_version=version_id_to_proto(group.base),
                deltas=group.deltas,
                method=group.method,
                cosine=group.cosine,
                objective_before=group.objective_before,
                objective_after=group.objective_after,
            )
            for group in merge.groups
        ],
        calibration_loss_before=merge.calibration_loss_before,
        calibration_loss_after=merge.calibration_loss_after,
        calibration_loss_served=merge.calibration_loss_served,
        unrecorded=merge.unrecorded,
        robust=merge.robust,
        privacy=None if merge.privacy is None else op.PrivacySpent(**dataclasses.asdict(merge.privacy)),
    )


def dead_letter_to_proto(letter: DeadLetter) -> op.DeadLetter:
    """Return a dead letter as a message."""
    return op.DeadLetter(
        delta_id=letter.delta.delta_id,
        agent_id=letter.delta.agent_id,
        detail=letter.detail,
        buried_at=timestamp(letter.buried_at),
    )
