"""What an operator sees of a federation: frozen values, as the operator service answers them."""

from __future__ import annotations

import dataclasses

from alignfed.plan import FederationPlan
from coordinator.domain import AgentRecord, Contribution, Head, MergeRecord, VersionId, VersionKind


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FederationView:
    """One federation. Times are seconds since the Unix epoch.

    `queued` deltas are neither merged nor rejected, `pending` of them are claimed by a worker, `dead` letters wait for
    an operator, `agents` have ever registered.
    """

    plan: FederationPlan
    head: Head
    queued: int
    pending: int
    dead: int
    agents: int
    created_at: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VersionView:
    """One global version; `merge` is filled in only where the merge record was asked for."""

    id: VersionId
    kind: VersionKind
    parent: int | None
    created_at: float
    abandoned: bool
    serves_average: bool
    deltas: int
    calibration_loss: float | None
    merge: MergeRecord | None = None


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
