"""Log lines of a merge: one for each step that a delta takes, one for each version, with their ids as fields."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from coordinator.domain import CommitOutcome, DeltaRecord, QueuedDelta, Rejection, VersionRecord

log = logging.getLogger(__name__)


def log_claimed(deltas: Sequence[QueuedDelta], *, worker_id: str, again: bool = False) -> None:
    """Tell that this worker holds deltas now; `again` when a worker held them before."""
    message = "delta claimed again" if again else "delta claimed"
    for queued in deltas:
        log.info(message, extra={**ids(queued.delta), "worker_id": worker_id, "attempts": queued.attempts})


def log_rejected(rejections: Sequence[Rejection]) -> None:
    """Tell which deltas will not be merged, and why."""
    for rejection in rejections:
        fields = {"reason": rejection.reason, "detail": rejection.detail}
        log.warning("delta rejected", extra={**ids(rejection.queued.delta), **fields})


def log_buried(queued: QueuedDelta, detail: str) -> None:
    """Tell which delta is a dead letter."""
    log.error("delta is a dead letter", extra={**ids(queued.delta), "attempts": queued.attempts, "detail": detail})


def log_published(federation: str, version: VersionRecord, outcome: CommitOutcome) -> None:
    """Tell of every delta of a new version, and of the version."""
    assert version.merge is not None
    for delta in version.merge.deltas:
        log.info(
            "delta merged",
            extra={
                "federation": federation,
                "agent_id": delta.agent_id,
                "delta_id": delta.delta_id,
                "version": version.id.number,
                "base_version": delta.base.number,
                "staleness_versions": delta.staleness_versions,
                "weight": delta.weight,
                "coefficient": delta.coefficient,
                "cosine": delta.cosine,
            },
        )
    log.info(
        "version published",
        extra={
            "federation": federation,
            "version": version.id.number,
            "outcome": outcome.value,
            "deltas": len(version.merge.deltas),
            "calibration_loss": version.merge.calibration_loss_after,
        },
    )


def ids(delta: DeltaRecord) -> dict[str, Any]:
    """Return the fields that say which delta is meant."""
    return {
        "federation": delta.federation,
        "agent_id": delta.agent_id,
        "delta_id": delta.delta_id,
        "base_version": delta.base.number,
    }
