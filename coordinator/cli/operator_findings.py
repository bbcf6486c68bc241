"""Messages about one delta and about a coordinator's own state, as what the commands show."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from alignfed.v1 import operator_service_pb2 as pb
from coordinator.cli.operator_messages import dead_letter_of, head_of, seconds_of, version_id_of, version_of
from coordinator.cli.operator_views import (
    DeltaFate,
    DeltaView,
    FederationHealthView,
    InspectionView,
    QueuePlaceView,
)
from coordinator.domain import StoreServer

_FATES = {
    pb.DELTA_FATE_UPLOADING: DeltaFate.UPLOADING,
    pb.DELTA_FATE_QUEUED: DeltaFate.QUEUED,
    pb.DELTA_FATE_CLAIMED: DeltaFate.CLAIMED,
    pb.DELTA_FATE_DEAD_LETTER: DeltaFate.DEAD_LETTER,
    pb.DELTA_FATE_MERGED: DeltaFate.MERGED,
    pb.DELTA_FATE_REJECTED: DeltaFate.REJECTED,
}


def delta_of(message: pb.ExplainDeltaResponse) -> DeltaView:
    """Return what became of a delta."""
    return DeltaView(
        delta_id=message.delta_id,
        agent_id=message.agent_id,
        fate=_FATES[message.fate],
        head=head_of(message.status),
        upload_begun_at=_moment(message, "upload_begun_at"),
        accepted_at=_moment(message, "accepted_at"),
        place=_place_of(message.queue) if message.HasField("queue") else None,
        letter=dead_letter_of(message.dead_letter) if message.HasField("dead_letter") else None,
        reason=message.reason,
        detail=message.detail,
        version=version_of(message.version) if message.HasField("version") else None,
        abandoned_by=message.abandoned_by if message.HasField("abandoned_by") else None,
    )


def inspection_of(message: pb.InspectCoordinatorResponse) -> InspectionView:
    """Return how a coordinator is."""
    return InspectionView(
        software_version=message.software_version,
        now=seconds_of(message.time),
        store=tuple(map(_server_of, message.store)),
        store_problem=message.store_problem,
        federations=tuple(map(_health_of, message.federations)),
    )


def _place_of(message: pb.QueuePlace) -> QueuePlaceView:
    return QueuePlaceView(
        place=message.place,
        queued=message.queue_deltas,
        base=version_id_of(message.base_version),
        staleness_versions=message.staleness_versions,
        examples=message.examples,
        claimed_by=message.claimed_by,
        attempts=message.attempts,
    )


def _server_of(message: pb.StoreServer) -> StoreServer:
    return StoreServer(
        software=message.software,
        now=seconds_of(message.time),
        eviction_policy=message.eviction_policy,
        append_only=message.append_only,
        append_fsync=message.append_fsync,
        append_failing=message.append_failing,
        memory_used_bytes=message.memory_used_bytes,
        memory_limit_bytes=message.memory_limit_bytes,
    )


def _health_of(message: pb.FederationHealth) -> FederationHealthView:
    return FederationHealthView(
        federation=message.federation,
        worker_id=message.worker_id,
        lease_left_seconds=message.lease_left.seconds + message.lease_left.nanos / 1e9,
        paused=message.paused,
        head_stored=message.head_stored,
        calibration_wanted=message.calibration_wanted,
        calibration_stored=message.calibration_stored,
    )


def _moment(message: pb.ExplainDeltaResponse, field: str) -> float | None:
    stamp: Timestamp = getattr(message, field)
    return seconds_of(stamp) if message.HasField(field) else None
