"""What every backend must decide alike: pure functions on domain values."""

from __future__ import annotations

import dataclasses
import math

from alignfed.errors import AggregationInvalid, Fenced, HeadMoved
from alignfed.plan import Retention
from coordinator.backends import refusals
from coordinator.domain import BlobRef, Commit, DeltaRecord, Receipt, VersionId, VersionKind, VersionRecord

WHILE_NEEDED = math.inf
"""`kept_until` of a blob that nothing has scheduled for deletion: a queued delta's payload, the calibration set."""

CONDEMNED = -1.0
"""`kept_until` of a blob that the sweep is deleting whatever the head is."""

STATE_VERSIONS = 2
"""Newest versions whose server state is kept: the head, from which the next merge starts, and the one before it, for
undoing the last merge. A state may hold an adapter per agent: as many as there are adapters would not fit."""


def oldest_retained(head: int, retention: Retention) -> int:
    """Return the smallest version number whose adapter is kept when the head has number `head`."""
    return max(0, head - retention.versions + 1)


def adapters_of(version: VersionRecord) -> list[BlobRef]:
    """Return the payloads of a version's adapter and of its moving average, if there is one."""
    return [version.adapter] if version.average is None else [version.adapter, version.average]


def blobs_of(version: VersionRecord) -> list[BlobRef]:
    """Return all payloads of a version: its adapters, and the server state if there is one."""
    adapters = adapters_of(version)
    return adapters if version.state is None else [*adapters, version.state]


def kept_until(version: VersionRecord, retention: Retention) -> dict[str, float]:
    """Return the head number from which each payload of a version may be deleted, by blob id."""
    until = {blob.blob_id: float(version.id.number + retention.versions) for blob in adapters_of(version)}
    if version.state is not None:
        until[version.state.blob_id] = float(version.id.number + STATE_VERSIONS)
    return until


def restoration(target: VersionRecord, identity: VersionId, *, at: float) -> VersionRecord:
    """Return the version that publishes `target` again under a new identity, not signed yet."""
    return dataclasses.replace(
        target,
        id=identity,
        kind=VersionKind.ROLLBACK,
        parent=target.id.number,
        merge=None,
        created_at=at,
        abandoned=False,
        signed=None,
    )


def check_same_delta(delta: DeltaRecord, receipt: Receipt) -> Receipt:
    """Return the receipt that an earlier acceptance of the same delta left.

    Raises:
        DeltaIdConflict: The receipt is for other content or another agent.
    """
    if (receipt.sha256, receipt.agent_id) != (delta.payload.sha256, delta.agent_id):
        raise refusals.delta_conflict(delta, receipt)
    return receipt


def weights_of(commit: Commit) -> dict[str, float]:
    """Return each merged delta's normalised weight by delta id, once the commit agrees with itself.

    Raises:
        Fenced: The version's epoch is not the commit's token.
        HeadMoved: The version does not follow the expected head.
        AggregationInvalid: The merge record is missing or is not about the merged deltas, or a weight is not finite.
    """
    version = commit.version
    if version.id.epoch != commit.token:
        raise Fenced(f"the version carries epoch {version.id.epoch} but the commit token {commit.token}: merge again")
    if (version.id.number, version.parent) != (commit.expected_head.number + 1, commit.expected_head.number):
        raise HeadMoved(
            f"version {version.id.number} made from {version.parent} does not follow head "
            f"{commit.expected_head.number}: merge again from the head"
        )
    if version.kind is not VersionKind.MERGE or version.merge is None or not commit.merged:
        raise AggregationInvalid("a commit needs at least one merged delta and its merge record: nothing was written")
    weights = {merged.delta_id: merged.weight for merged in version.merge.deltas}
    claimed = [queued.delta.delta_id for queued in commit.merged]
    if sorted(weights) != sorted(claimed):
        raise AggregationInvalid("the merge record and the merged deltas name different deltas: nothing was written")
    if not all(math.isfinite(weight) for weight in weights.values()):
        raise AggregationInvalid("a merged delta's weight is not finite: nothing was written")
    return weights
