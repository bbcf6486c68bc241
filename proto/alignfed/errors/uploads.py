"""Deltas that cannot be accepted, and uploads that must wait."""

from __future__ import annotations

from alignfed.errors.base import Rejected, Unavailable


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


class IndicesInvalid(Rejected):
    """A sparse payload names places outside a tensor, or not in ascending order."""

    reason = "INDICES_INVALID"


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
