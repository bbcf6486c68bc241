"""What operators ask in trouble, as messages: one delta's explanation, a coordinator's inspection."""

from __future__ import annotations

from alignfed import __version__
from alignfed.v1 import operator_service_pb2 as op
from coordinator.domain import StoreServer
from coordinator.service.explanations import DeltaFate, Explanation
from coordinator.service.inspection import FederationHealth, Inspection
from coordinator.service.rpc import convert

_FATES = {
    DeltaFate.UPLOADING: op.DELTA_FATE_UPLOADING,
    DeltaFate.QUEUED: op.DELTA_FATE_QUEUED,
    DeltaFate.CLAIMED: op.DELTA_FATE_CLAIMED,
    DeltaFate.DEAD_LETTER: op.DELTA_FATE_DEAD_LETTER,
    DeltaFate.MERGED: op.DELTA_FATE_MERGED,
    DeltaFate.REJECTED: op.DELTA_FATE_REJECTED,
}


def explanation_to_proto(found: Explanation) -> op.ExplainDeltaResponse:
    """Return one delta's explanation as a message."""
    receipt = found.receipt
    return op.ExplainDeltaResponse(
        delta_id=found.delta_id,
        agent_id=found.agent_id,
        fate=_FATES[found.fate],
        upload_begun_at=convert.moment(found.upload_begun_at),
        accepted_at=convert.moment(None if receipt is None else receipt.accepted_at),
        queue=_place(found),
        dead_letter=None if found.letter is None else convert.dead_letter_to_proto(found.letter),
        reason="" if receipt is None else receipt.reason,
        detail="" if receipt is None else receipt.detail,
        version=None if found.version is None else convert.version_to_proto(found.version, with_merge=True),
        abandoned_by=found.abandoned_by,
        status=convert.head_to_proto(found.head),
    )


def inspection_to_proto(found: Inspection) -> op.InspectCoordinatorResponse:
    """Return a coordinator's inspection as a message."""
    return op.InspectCoordinatorResponse(
        software_version=__version__,
        time=convert.timestamp(found.at),
        store=[_server(server) for server in found.store],
        store_problem=found.store_problem,
        federations=[_health(health) for health in found.federations],
    )


def _place(found: Explanation) -> op.QueuePlace | None:
    place = found.place
    if place is None:
        return None
    return op.QueuePlace(
        place=place.place,
        queue_deltas=max(place.place, 0 if found.depth is None else found.depth.queued),
        base_version=convert.version_id_to_proto(place.delta.base),
        staleness_versions=max(0, found.head.id.number - place.delta.base.number),
        examples=place.delta.examples,
        claimed_by=place.claimed_by or "",
        attempts=place.attempts,
    )


def _server(server: StoreServer) -> op.StoreServer:
    return op.StoreServer(
        software=server.software,
        time=convert.timestamp(server.now),
        eviction_policy=server.eviction_policy,
        append_only=server.append_only,
        append_fsync=server.append_fsync,
        append_failing=server.append_failing,
        memory_used_bytes=server.memory_used_bytes,
        memory_limit_bytes=server.memory_limit_bytes,
    )


def _health(health: FederationHealth) -> op.FederationHealth:
    message = op.FederationHealth(
        federation=health.federation,
        worker_id=health.worker_id,
        paused=health.paused,
        head_stored=health.head_stored,
        calibration_wanted=health.calibration_wanted,
        calibration_stored=health.calibration_stored,
    )
    message.lease_left.FromMilliseconds(round(health.lease_left_seconds * 1000))
    return message
