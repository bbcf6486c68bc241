"""Deltas on their way: in the queue, settled, or given up."""

from __future__ import annotations

import dataclasses
import enum

from alignfed.plan import Encoding
from alignfed.tracing.context import sound_traceparent
from coordinator.domain.payloads import BlobRef
from coordinator.domain.versions import VersionId


class DeltaState(enum.StrEnum):
    """What has become of a delta."""

    QUEUED = "queued"
    MERGED = "merged"
    REJECTED = "rejected"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeltaRecord:
    """Reference to an accepted delta: what travels in the queue. `accepted_at` is seconds since the Unix epoch.

    `trace_context` is the W3C `traceparent` of the span that accepted it, for merges to link to; empty without one.
    """

    federation: str
    agent_id: str
    delta_id: str
    base: VersionId
    examples: int
    local_steps: int
    encoding: Encoding
    rank: int
    payload: BlobRef
    accepted_at: float
    trace_context: str = ""

    def __post_init__(self) -> None:
        """Drop a malformed trace context: it says nothing about the delta, and must never cost it."""
        object.__setattr__(self, "trace_context", sound_traceparent(self.trace_context))


def delta_blob_id(federation: str, agent_id: str, delta_id: str, *, sha256: str) -> str:
    """Return the name of a delta's payload in the store: bound to all four, so that other content never mixes in."""
    return f"{delta_blob_prefix(federation)}{agent_id}.{delta_id}.{sha256[:16]}"


def delta_blob_prefix(federation: str) -> str:
    """Return how the names of all deltas' payloads of a federation begin."""
    return f"delta.{federation}."


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeltaBlobName:
    """Whose payload a blob is, as its name says."""

    agent_id: str
    delta_id: str


def parse_delta_blob_id(federation: str, blob_id: str) -> DeltaBlobName | None:
    """Return whose payload a blob is; None when it is no delta's. Inverse of `delta_blob_id`.

    Agent ids may contain dots, delta ids and digests never do.
    """
    start = delta_blob_prefix(federation)
    parts = blob_id.removeprefix(start).rsplit(".", 2)
    if not blob_id.startswith(start) or len(parts) != 3:
        return None
    return DeltaBlobName(agent_id=parts[0], delta_id=parts[1])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class QueuedDelta:
    """A claimed delta: `entry_id` is its place in the queue, `attempts` counts the merges begun with it."""

    entry_id: str
    delta: DeltaRecord
    attempts: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class QueuePlace:
    """Where a delta stands in the queue: `place` counts from 1, the entry that is claimed next or was claimed first.

    `claimed_by` is the worker that has claimed it, None while nobody has; `attempts` counts the merges begun with it.
    """

    delta: DeltaRecord
    place: int
    claimed_by: str | None = None
    attempts: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Durable acknowledgement of a delta."""

    delta_id: str
    agent_id: str
    state: DeltaState
    sha256: str
    accepted_at: float
    version: VersionId | None = None
    reason: str = ""
    detail: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A queued delta that will not be merged, with its stable reason and advice for people."""

    queued: QueuedDelta
    reason: str
    detail: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A delta that could not be merged after several tries; its payload is kept."""

    delta: DeltaRecord
    detail: str
    buried_at: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepth:
    """`queued` deltas are neither merged nor rejected; `pending` of them are claimed; `dead` letters wait apart.

    `oldest_accepted_at` is when the oldest queued delta was accepted, None when the queue is empty.
    """

    queued: int
    pending: int
    dead: int
    oldest_accepted_at: float | None = None
