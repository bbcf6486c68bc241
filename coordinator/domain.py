"""What the coordinator, the worker and the stores speak of: frozen values, plain JSON in and out, no I/O."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from alignfed.chunks import chunk_count
from alignfed.plan import Encoding, FederationPlan
from alignfed.tracing.context import sound_traceparent


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VersionId:
    """Identity of a global version: all three must match. `epoch` is the fencing token of its commit."""

    epoch: int
    number: int
    digest: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BlobRef:
    """A stored payload in parts of `part_bytes` (the last may be shorter)."""

    blob_id: str
    total_bytes: int
    part_bytes: int
    sha256: str

    def __post_init__(self) -> None:
        """Refuse lengths that no payload has."""
        if self.part_bytes < 1 or self.total_bytes < 0:
            raise ValueError(f"blob {self.blob_id} of {self.total_bytes} bytes in parts of {self.part_bytes}")

    @property
    def parts(self) -> int:
        """How many parts the payload has."""
        return chunk_count(self.total_bytes, self.part_bytes)


class AdapterKind(enum.StrEnum):
    """Which of a version's adapters is meant."""

    TRAINING = "training"
    SERVED = "served"


class VersionKind(enum.StrEnum):
    """How a version came about."""

    INITIAL = "initial"
    MERGE = "merge"
    ROLLBACK = "rollback"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MergedDelta:
    """One delta's part in a merge; see `MergedDelta` in operator_service.proto for each figure's meaning."""

    delta_id: str
    agent_id: str
    base: VersionId
    staleness_versions: int
    examples: int
    freshness: float
    fairness: float
    weight: float
    coefficient: float
    cosine: float
    norm: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GroupRecord:
    """One version group's alignment; see `VersionGroup` in operator_service.proto."""

    base: VersionId
    deltas: int
    method: str
    cosine: float
    objective_before: float | None = None
    objective_after: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MergeRecord:
    """How a version came about: enough to derive it again, bit for bit, from its parent and deltas.

    Unless something else made it too: `unrecorded` says what. The record of a version that is old has let go of its
    deltas and groups; `forgotten_deltas` is how many there were.
    """

    recipe: str
    server_learning_rate: float
    deltas: tuple[MergedDelta, ...]
    groups: tuple[GroupRecord, ...]
    calibration_loss_before: float | None = None
    calibration_loss_after: float | None = None
    calibration_loss_served: float | None = None
    unrecorded: tuple[str, ...] = ()
    forgotten_deltas: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VersionRecord:
    """One global version. `average` is the moving-average adapter (same layout); `served_average` says which is served.

    `parent` is the number it was made from. `state` is the server's memory after this merge, for recipes that have one;
    it is kept for fewer versions than the adapters. `abandoned` is set by a rollback that left the version behind.
    """

    id: VersionId
    kind: VersionKind
    parent: int | None
    adapter: BlobRef
    average: BlobRef | None = None
    state: BlobRef | None = None
    served_average: bool = False
    merge: MergeRecord | None = None
    created_at: float
    abandoned: bool = False

    def blob(self, kind: AdapterKind) -> BlobRef:
        """Return the payload of the wanted adapter."""
        if kind is AdapterKind.SERVED and self.served_average and self.average is not None:
            return self.average
        return self.adapter


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The newest version, and the smallest number whose adapter is still retained."""

    id: VersionId
    oldest_retained: int
    paused: bool = False


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
class AgentRecord:
    """What is known of an agent. Times are seconds since the Unix epoch."""

    agent_id: str
    registered_at: float
    last_seen_at: float
    device: str = ""
    memory_bytes: int = 0
    software_version: str = ""
    tier: str = ""
    examples: int = 0
    revoked: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """What an agent has contributed: merged deltas, sum of their weights, rejected deltas."""

    merged: int = 0
    weight: float = 0.0
    rejected: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FederationRecord:
    """A federation as created: its plan and its calibration set (JSON Lines), if any."""

    plan: FederationPlan
    calibration: BlobRef | None
    created_at: float
    paused: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepth:
    """`queued` deltas are neither merged nor rejected; `pending` of them are claimed; `dead` letters wait apart.

    `oldest_accepted_at` is when the oldest queued delta was accepted, None when the queue is empty.
    """

    queued: int
    pending: int
    dead: int
    oldest_accepted_at: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoreMemory:
    """Memory that a store uses and may use, in bytes; `limit_bytes` is 0 when nothing limits it."""

    used_bytes: int
    limit_bytes: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One merge, to be made visible in one step.

    `expected_head` is the head the merge started from; `version` the new one, whose blobs are already stored; `merged`
    the claimed deltas that it contains.
    """

    federation: str
    token: int
    expected_head: VersionId
    version: VersionRecord
    merged: tuple[QueuedDelta, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LeaseHolder:
    """The worker that may merge, for `seconds_left` more unless it renews its lease; `token` fences its commits."""

    worker_id: str
    token: int
    seconds_left: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoreServer:
    """One server of the store as it describes itself; what it does not tell is empty or None.

    Attributes:
        software: Name and version, such as `Valkey 9.0.1`.
        now: Its clock, seconds since the Unix epoch.
        eviction_policy: What it does when memory is short; anything but `noeviction` loses data.
        append_only: Whether it keeps an append-only file.
        append_fsync: When that file is forced to the disk: `always`, `everysec` or `no`.
        append_failing: Whether its last write to that file failed.
        memory_used_bytes: What its data take.
        memory_limit_bytes: What they may take; 0 for no limit but the machine's.
    """

    software: str
    now: float
    eviction_policy: str = ""
    append_only: bool = False
    append_fsync: str = ""
    append_failing: bool = False
    memory_used_bytes: int = 0
    memory_limit_bytes: int = 0


def to_json(value: Any) -> dict[str, Any]:
    """Return a value of this module as plain JSON values."""
    return dataclasses.asdict(value)


class CommitOutcome(enum.StrEnum):
    """What a commit did: wrote the version, or found that the very same version was written before."""

    COMMITTED = "committed"
    ALREADY = "already"
