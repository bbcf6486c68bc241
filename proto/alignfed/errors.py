"""The one tree of errors that AlignFed raises on purpose.

    AlignFedError
    ├── Rejected                 permanent: the same request will fail again; counted under its reason
    │   ├── UnknownFederation, FederationExists, PlanInvalid
    │   ├── UnknownAgent, AgentRevoked
    │   ├── BaseVersionUnknown, BaseVersionOtherBranch, BaseVersionTooOld, BaseVersionInFuture
    │   ├── VersionNotFound, DeltaNotFound, DeadLetterNotFound
    │   ├── WrongBaseModel, ManifestMismatch, RankMismatch, FrozenFactorChanged, EncodingNotAllowed, NonFinite
    │   ├── HeaderMissing, HeaderRepeated, HeaderInvalid
    │   ├── ChunkOutOfOrder, ChunkChecksumMismatch, PayloadTruncated, PayloadOversized, PayloadDigestMismatch
    │   ├── DeltaIdConflict, DeliveryExhausted, DeltaNormTooLarge, CandidateGated, DroppedByOperator,
    │   │                       DeadLetterExpired
    │   ├── RequestInvalid, DataUnusable, CalibrationMissing, StoreUnsafe
    │   ├── BackupForeign, BackupTooNew, BackupTruncated, BackupCorrupt
    ├── Unavailable              temporary: try again later, nothing was lost
    │   ├── StoreUnreachable, StoreFull, QueueFull, AgentOverQuota, UploadsBusy, UploadStalled, Draining
    │   ├── CoordinatorUnreachable, LocalProcessFailed, BackupOvertaken, DiskFull
    └── InvariantBroken          stop: going on would corrupt the federation
        ├── Fenced, HeadMoved, StoreCorrupt, AggregationInvalid

Every leaf has a stable `reason`, which travels in `google.rpc.ErrorInfo` and in receipts; clients branch on it, never
on the message. Messages are for people and say what to do next.
"""

from __future__ import annotations

from typing import ClassVar

ERROR_DOMAIN = "alignfed"


class AlignFedError(Exception):
    """Root of the tree.

    Args:
        message: What happened and what to do next, one or two sentences.
        **metadata: Facts for machines, short strings; they travel with the reason.
    """

    reason: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, /, **metadata: object) -> None:  # any name may come over the wire as a fact
        super().__init__(message)
        self.message = message
        self.metadata = {key: str(value) for key, value in metadata.items()}


class Rejected(AlignFedError):
    """Permanent: the same request will fail again."""


class Unavailable(AlignFedError):
    """Temporary: try again later; nothing was lost."""


class InvariantBroken(AlignFedError):
    """Going on would corrupt the federation: stop."""


class UnknownFederation(Rejected):
    """No federation of that name exists."""

    reason = "FEDERATION_UNKNOWN"


class FederationExists(Rejected):
    """The federation's name is taken."""

    reason = "FEDERATION_EXISTS"


class PlanInvalid(Rejected):
    """A federation plan breaks a rule."""

    reason = "PLAN_INVALID"


class UnknownAgent(Rejected):
    """The agent has not registered with this federation."""

    reason = "AGENT_UNKNOWN"


class AgentRevoked(Rejected):
    """An operator has revoked the agent."""

    reason = "AGENT_REVOKED"


class BaseVersionUnknown(Rejected):
    """The delta's base version never existed here."""

    reason = "BASE_VERSION_UNKNOWN"


class BaseVersionOtherBranch(Rejected):
    """The delta's base version was abandoned by a rollback, or belongs to another history."""

    reason = "BASE_VERSION_OTHER_BRANCH"


class BaseVersionTooOld(Rejected):
    """The delta's base version is no longer retained."""

    reason = "BASE_VERSION_TOO_OLD"


class BaseVersionInFuture(Rejected):
    """The delta's base version is newer than the head."""

    reason = "BASE_VERSION_IN_FUTURE"


class VersionNotFound(Rejected):
    """The version does not exist or its adapter is no longer retained."""

    reason = "VERSION_NOT_FOUND"


class DeltaNotFound(Rejected):
    """No delta of that id was ever accepted, and none is being uploaded."""

    reason = "DELTA_NOT_FOUND"


class DeadLetterNotFound(Rejected):
    """No dead letter has that delta id."""

    reason = "DEAD_LETTER_NOT_FOUND"


class WrongBaseModel(Rejected):
    """The base model is not the federation's."""

    reason = "BASE_MODEL_MISMATCH"


class ManifestMismatch(Rejected):
    """Tensor names, shapes or dtypes differ from the plan."""

    reason = "MANIFEST_MISMATCH"


class RankMismatch(Rejected):
    """The LoRA rank is not one that the plan allows."""

    reason = "RANK_MISMATCH"


class FrozenFactorChanged(Rejected):
    """A delta changes factors that the plan or the agent's rank freezes."""

    reason = "FROZEN_FACTOR_CHANGED"


class EncodingNotAllowed(Rejected):
    """The payload's encoding is not the plan's."""

    reason = "ENCODING_NOT_ALLOWED"


class NonFinite(Rejected):
    """A tensor holds NaN or infinity."""

    reason = "NON_FINITE"


class HeaderMissing(Rejected):
    """A stream started without its header."""

    reason = "HEADER_MISSING"


class HeaderRepeated(Rejected):
    """A stream sent a second header."""

    reason = "HEADER_REPEATED"


class HeaderInvalid(Rejected):
    """A header's field is out of its range."""

    reason = "HEADER_INVALID"


class ChunkOutOfOrder(Rejected):
    """A chunk's offset is not the next one."""

    reason = "CHUNK_OUT_OF_ORDER"


class ChunkChecksumMismatch(Rejected):
    """A chunk's CRC-32C does not match its bytes."""

    reason = "CHUNK_CHECKSUM_MISMATCH"


class PayloadTruncated(Rejected):
    """A stream ended before the announced length."""

    reason = "PAYLOAD_TRUNCATED"


class PayloadOversized(Rejected):
    """A stream or chunk is longer than announced or allowed."""

    reason = "PAYLOAD_OVERSIZED"


class PayloadDigestMismatch(Rejected):
    """A payload's SHA-256 does not match the header."""

    reason = "PAYLOAD_DIGEST_MISMATCH"


class DeltaIdConflict(Rejected):
    """The delta id was used before, for other content or by another agent."""

    reason = "DELTA_ID_CONFLICT"


class DeliveryExhausted(Rejected):
    """A delta could not be merged after several tries: it is a dead letter."""

    reason = "DELIVERY_EXHAUSTED"


class DeltaNormTooLarge(Rejected):
    """A delta is many times as large as its peers: merged, it would drown them."""

    reason = "DELTA_NORM_TOO_LARGE"


class CandidateGated(Rejected):
    """The merged candidate made the calibration loss jump, so its deltas were not published."""

    reason = "CANDIDATE_GATED"


class DroppedByOperator(Rejected):
    """An operator dropped the delta."""

    reason = "DROPPED_BY_OPERATOR"


class DeadLetterExpired(Rejected):
    """A dead letter was kept for as long, or among as many, as the plan's retention allows."""

    reason = "DEAD_LETTER_EXPIRED"


class RequestInvalid(Rejected):
    """A request's field is missing or out of range."""

    reason = "REQUEST_INVALID"


class DataUnusable(Rejected):
    """Training data is empty, unreadable or of no known shape."""

    reason = "DATA_UNUSABLE"


class CalibrationMissing(Rejected):
    """The recipe needs a calibration set and there is none."""

    reason = "CALIBRATION_MISSING"


class StoreUnsafe(Rejected):
    """The store could lose data as it is configured, or is too old."""

    reason = "STORE_UNSAFE"


class BackupForeign(Rejected):
    """The file is not a backup that AlignFed wrote."""

    reason = "BACKUP_FOREIGN"


class BackupTooNew(Rejected):
    """The backup's format is newer than this AlignFed understands."""

    reason = "BACKUP_TOO_NEW"


class BackupTruncated(Rejected):
    """The backup ends before its end."""

    reason = "BACKUP_TRUNCATED"


class BackupCorrupt(Rejected):
    """The backup's bytes are not the ones that were written, or contradict each other."""

    reason = "BACKUP_CORRUPT"


class StoreUnreachable(Unavailable):
    """The store does not answer."""

    reason = "STORE_UNREACHABLE"


class StoreFull(Unavailable):
    """The store has no memory left for writes."""

    reason = "STORE_FULL"


class QueueFull(Unavailable):
    """As many deltas wait to be merged as the plan and the coordinator allow."""

    reason = "QUEUE_FULL"


class AgentOverQuota(Unavailable):
    """The agent has as many uploads open, or as much unmerged in the store, as its share allows."""

    reason = "AGENT_OVER_QUOTA"


class UploadsBusy(Unavailable):
    """The coordinator handles as many transfers as it can."""

    reason = "UPLOADS_BUSY"


class UploadStalled(Unavailable):
    """A stream made no progress for too long; what arrived is kept for resumption."""

    reason = "UPLOAD_STALLED"


class Draining(Unavailable):
    """The coordinator is shutting down; another one will answer."""

    reason = "DRAINING"


class CoordinatorUnreachable(Unavailable):
    """No coordinator answers at the address."""

    reason = "COORDINATOR_UNREACHABLE"


class DiskFull(Unavailable):
    """The agent's disk, or its user's quota on it, has no space left for what it must keep."""

    reason = "DISK_FULL"


class LocalProcessFailed(Unavailable):
    """A process of a federation on one machine ended by itself, or did not get ready in time."""

    reason = "LOCAL_PROCESS_FAILED"


class BackupOvertaken(Unavailable):
    """Merging went on faster than the payloads could be copied, or a restore took longer than its records may wait."""

    reason = "BACKUP_OVERTAKEN"


class Fenced(InvariantBroken):
    """Another worker holds a newer lease: this one's work must not be committed."""

    reason = "FENCED"


class HeadMoved(InvariantBroken):
    """The head is not the one the merge started from."""

    reason = "HEAD_MOVED"


class StoreCorrupt(InvariantBroken):
    """The store holds something that AlignFed never writes, or lacks something it wrote."""

    reason = "STORE_CORRUPT"


class AggregationInvalid(InvariantBroken):
    """Aggregation got input that it must never see, such as no deltas or a total weight of zero."""

    reason = "AGGREGATION_INVALID"


def _leaves(base: type[AlignFedError]) -> dict[str, type[AlignFedError]]:
    found: dict[str, type[AlignFedError]] = {}
    for child in base.__subclasses__():
        found |= _leaves(child) or {child.reason: child}
    return found


ERRORS_BY_REASON: dict[str, type[AlignFedError]] = _leaves(AlignFedError)
"""Every leaf of the tree by its reason: how a client turns a received reason back into an exception."""
