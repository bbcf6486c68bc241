"""The one tree of errors that AlignFed raises on purpose.

    AlignFedError
    ├── Rejected                 permanent: the same request will fail again; counted under its reason
    │   ├── UnknownFederation, FederationExists, PlanInvalid
    │   ├── UnknownAgent, AgentRevoked
    │   ├── IdentityMissing, IdentityMismatch, IdentityRevoked, RoleInsufficient, JoinTokenInvalid, AgentIdTaken
    │   ├── BaseVersionUnknown, BaseVersionOtherBranch, BaseVersionTooOld, BaseVersionInFuture
    │   ├── VersionNotFound, DeltaNotFound, DeadLetterNotFound
    │   ├── WrongBaseModel, ManifestMismatch, RankMismatch, FrozenFactorChanged, EncodingNotAllowed, NonFinite,
    │   │                       IndicesInvalid
    │   ├── HeaderMissing, HeaderRepeated, HeaderInvalid
    │   ├── ChunkOutOfOrder, ChunkChecksumMismatch, PayloadTruncated, PayloadOversized, PayloadDigestMismatch
    │   ├── DeltaIdConflict, DeliveryExhausted, DeltaNormTooLarge, DeltaNearZero, DeltaDuplicated,
    │   │                       DeltaAgainstCalibration, CandidateGated, DroppedByOperator, DeadLetterExpired
    │   ├── VersionRefused: VersionUnsigned, SignatureInvalid, ManifestForeign, ManifestChainBroken, VersionReplayed
    │   ├── PrivacyBudgetSpent, ParticipatedTooSoon
    │   ├── RequestInvalid, DataUnusable, CalibrationMissing, StoreUnsafe
    │   ├── BackupForeign, BackupTooNew, BackupTruncated, BackupCorrupt
    ├── Unavailable              temporary: try again later, nothing was lost
    │   ├── StoreUnreachable, StoreFull, QueueFull, AgentOverQuota, UploadsBusy, UploadStalled, Draining
    │   ├── CoordinatorUnreachable, LocalProcessFailed, BackupOvertaken, DiskFull, RateExceeded
    └── InvariantBroken          stop: going on would corrupt the federation
        ├── Fenced, HeadMoved, StoreCorrupt, AggregationInvalid

Every leaf has a stable `reason`, which travels in `google.rpc.ErrorInfo` and in receipts; clients branch on it, never
on the message. Messages are for people and say what to do next.
"""

from __future__ import annotations

from alignfed.errors.base import ERROR_DOMAIN, AlignFedError, InvariantBroken, Rejected, Unavailable
from alignfed.errors.federations import (
    AgentRevoked,
    BaseVersionInFuture,
    BaseVersionOtherBranch,
    BaseVersionTooOld,
    BaseVersionUnknown,
    DeadLetterNotFound,
    DeltaNotFound,
    FederationExists,
    PlanInvalid,
    UnknownAgent,
    UnknownFederation,
    VersionNotFound,
)
from alignfed.errors.identity import (
    AgentIdTaken,
    IdentityMismatch,
    IdentityMissing,
    IdentityRevoked,
    JoinTokenInvalid,
    RateExceeded,
    RoleInsufficient,
)
from alignfed.errors.integrity import (
    ManifestChainBroken,
    ManifestForeign,
    SignatureInvalid,
    VersionRefused,
    VersionReplayed,
    VersionUnsigned,
)
from alignfed.errors.merging import (
    AggregationInvalid,
    CalibrationMissing,
    CandidateGated,
    DeadLetterExpired,
    DeliveryExhausted,
    DeltaAgainstCalibration,
    DeltaDuplicated,
    DeltaNearZero,
    DeltaNormTooLarge,
    DroppedByOperator,
    Fenced,
    HeadMoved,
)
from alignfed.errors.privacy import ParticipatedTooSoon, PrivacyBudgetSpent
from alignfed.errors.processes import (
    CoordinatorUnreachable,
    DataUnusable,
    DiskFull,
    Draining,
    LocalProcessFailed,
    RequestInvalid,
)
from alignfed.errors.stores import (
    BackupCorrupt,
    BackupForeign,
    BackupOvertaken,
    BackupTooNew,
    BackupTruncated,
    StoreCorrupt,
    StoreFull,
    StoreUnreachable,
    StoreUnsafe,
)
from alignfed.errors.uploads import (
    AgentOverQuota,
    ChunkChecksumMismatch,
    ChunkOutOfOrder,
    DeltaIdConflict,
    EncodingNotAllowed,
    FrozenFactorChanged,
    HeaderInvalid,
    HeaderMissing,
    HeaderRepeated,
    IndicesInvalid,
    ManifestMismatch,
    NonFinite,
    PayloadDigestMismatch,
    PayloadOversized,
    PayloadTruncated,
    QueueFull,
    RankMismatch,
    UploadsBusy,
    UploadStalled,
    WrongBaseModel,
)

__all__ = [
    "ERRORS_BY_REASON",
    "ERROR_DOMAIN",
    "AgentIdTaken",
    "AgentOverQuota",
    "AgentRevoked",
    "AggregationInvalid",
    "AlignFedError",
    "BackupCorrupt",
    "BackupForeign",
    "BackupOvertaken",
    "BackupTooNew",
    "BackupTruncated",
    "BaseVersionInFuture",
    "BaseVersionOtherBranch",
    "BaseVersionTooOld",
    "BaseVersionUnknown",
    "CalibrationMissing",
    "CandidateGated",
    "ChunkChecksumMismatch",
    "ChunkOutOfOrder",
    "CoordinatorUnreachable",
    "DataUnusable",
    "DeadLetterExpired",
    "DeadLetterNotFound",
    "DeliveryExhausted",
    "DeltaAgainstCalibration",
    "DeltaDuplicated",
    "DeltaIdConflict",
    "DeltaNearZero",
    "DeltaNormTooLarge",
    "DeltaNotFound",
    "DiskFull",
    "Draining",
    "DroppedByOperator",
    "EncodingNotAllowed",
    "FederationExists",
    "Fenced",
    "FrozenFactorChanged",
    "HeadMoved",
    "HeaderInvalid",
    "HeaderMissing",
    "HeaderRepeated",
    "IdentityMismatch",
    "IdentityMissing",
    "IdentityRevoked",
    "IndicesInvalid",
    "InvariantBroken",
    "JoinTokenInvalid",
    "LocalProcessFailed",
    "ManifestChainBroken",
    "ManifestForeign",
    "ManifestMismatch",
    "NonFinite",
    "ParticipatedTooSoon",
    "PayloadDigestMismatch",
    "PayloadOversized",
    "PayloadTruncated",
    "PlanInvalid",
    "PrivacyBudgetSpent",
    "QueueFull",
    "RankMismatch",
    "RateExceeded",
    "Rejected",
    "RequestInvalid",
    "RoleInsufficient",
    "SignatureInvalid",
    "StoreCorrupt",
    "StoreFull",
    "StoreUnreachable",
    "StoreUnsafe",
    "Unavailable",
    "UnknownAgent",
    "UnknownFederation",
    "UploadStalled",
    "UploadsBusy",
    "VersionNotFound",
    "VersionRefused",
    "VersionReplayed",
    "VersionUnsigned",
    "WrongBaseModel",
]


def _leaves(base: type[AlignFedError]) -> dict[str, type[AlignFedError]]:
    found: dict[str, type[AlignFedError]] = {}
    for child in base.__subclasses__():
        found |= _leaves(child) or {child.reason: child}
    return found


ERRORS_BY_REASON: dict[str, type[AlignFedError]] = _leaves(AlignFedError)
"""Every leaf of the tree by its reason: how a client turns a received reason back into an exception."""
