"""What the coordinator, the worker and the stores speak of: frozen values, plain JSON in and out, no I/O."""

from __future__ import annotations

from coordinator.domain.commits import Commit, CommitOutcome
from coordinator.domain.deltas import (
    DeadLetter,
    DeltaBlobName,
    DeltaRecord,
    DeltaState,
    QueuedDelta,
    QueueDepth,
    QueuePlace,
    Receipt,
    Rejection,
    delta_blob_id,
    delta_blob_prefix,
    parse_delta_blob_id,
)
from coordinator.domain.federations import AgentRecord, Contribution, FederationRecord, LeaseHolder
from coordinator.domain.identities import JoinGrant, JoinGrantState, Redemption
from coordinator.domain.payloads import BlobRef
from coordinator.domain.plain import to_json
from coordinator.domain.stores import StoreMemory, StoreServer
from coordinator.domain.versions import (
    AdapterKind,
    GroupRecord,
    Head,
    MergedDelta,
    MergeRecord,
    PrivacyRecord,
    VersionId,
    VersionKind,
    VersionRecord,
    version_values,
)

__all__ = [
    "AdapterKind",
    "AgentRecord",
    "BlobRef",
    "Commit",
    "CommitOutcome",
    "Contribution",
    "DeadLetter",
    "DeltaBlobName",
    "DeltaRecord",
    "DeltaState",
    "FederationRecord",
    "GroupRecord",
    "Head",
    "JoinGrant",
    "JoinGrantState",
    "LeaseHolder",
    "MergeRecord",
    "MergedDelta",
    "PrivacyRecord",
    "QueueDepth",
    "QueuePlace",
    "QueuedDelta",
    "Receipt",
    "Redemption",
    "Rejection",
    "StoreMemory",
    "StoreServer",
    "VersionId",
    "VersionKind",
    "VersionRecord",
    "delta_blob_id",
    "delta_blob_prefix",
    "parse_delta_blob_id",
    "to_json",
    "version_values",
]
