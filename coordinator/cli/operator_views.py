"""What an operator sees of a federation: frozen values, as the operator service answers them."""

from __future__ import annotations

import dataclasses
import enum

from alignfed.plan import FederationPlan
from alignfed.version_manifest import SignedManifest
from coordinator.domain import AgentRecord, Contribution, Head, MergeRecord, StoreServer, VersionId, VersionKind


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FederationView:
    """One federation. Times are seconds since the Unix epoch.

    `queued` deltas are neither merged nor rejected, `pending` of them are claimed by a worker, `dead` letters wait for
    an operator, `agents` have ever registered. `oldest_queued_at` is None while the queue is empty.
    """

    plan: FederationPlan
    head: Head
    queued: int
    pending: int
    dead: int
    agents: int
    created_at: float
    oldest_queued_at: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VersionView:
    """One global version; `merge` is filled in only where its record was asked for, `signed` is not verified."""

    id: VersionId
    kind: VersionKind
    parent: int | None
    created_at: float
    abandoned: bool
    serves_average: bool
    deltas: int
    calibration_loss: float | None
    merge: MergeRecord | None = None
    signed: SignedManifest | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AgentView:
    """One agent and what it has contributed."""

    agent: AgentRecord
    contribution: Contribution


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterView:
    """A delta that was given up; `buried_at` is seconds since the Unix epoch."""

    delta_id: str
    agent_id: str
    detail: str
    buried_at: float


class DeltaFate(enum.StrEnum):
    """What has become of a delta, more finely than its receipt tells."""

    UPLOADING = "uploading"
    QUEUED = "queued"
    CLAIMED = "claimed"
    DEAD_LETTER = "dead letter"
    MERGED = "merged"
    REJECTED = "rejected"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class QueuePlaceView:
    """Where a delta stands in the queue: `place` counts from 1, `claimed_by` is empty while no worker has it."""

    place: int
    queued: int
    base: VersionId
    staleness_versions: int
    examples: int
    claimed_by: str
    attempts: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeltaView:
    """One delta's life so far; see `ExplainDeltaResponse` in operator_service.proto. Times are Unix seconds."""

    delta_id: str
    agent_id: str
    fate: DeltaFate
    head: Head
    upload_begun_at: float | None = None
    accepted_at: float | None = None
    place: QueuePlaceView | None = None
    letter: DeadLetterView | None = None
    reason: str = ""
    detail: str = ""
    version: VersionView | None = None
    abandoned_by: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FederationHealthView:
    """Whether a federation can go on; `worker_id` is empty when no worker leads it."""

    federation: str
    worker_id: str
    lease_left_seconds: float
    paused: bool
    head_stored: bool
    calibration_wanted: bool
    calibration_stored: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InspectionView:
    """How a coordinator is; `now` is its clock in Unix seconds, `store_problem` is empty when all is well."""

    software_version: str
    now: float
    store: tuple[StoreServer, ...]
    store_problem: str
    federations: tuple[FederationHealthView, ...]
