"""Global versions: identity, how each came about, and the head."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from alignfed.version_manifest import SignedManifest
from coordinator.domain.payloads import BlobRef


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VersionId:
    """Identity of a global version: all three must match. `epoch` is the fencing token of its commit."""

    epoch: int
    number: int
    digest: str


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
    """One delta's part in a merge; see `MergedDelta` in operator_service.proto for each figure's meaning.

    `clip` is what a long delta was multiplied by to shorten it, beside its coefficient; 1 for all others.
    """

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
    clip: float = 1.0


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
class PrivacyRecord:
    """What a private merge made of the privacy loss of the agent that took part most often, `participations` times."""

    epsilon: float
    delta: float
    participations: int
    noise_multiplier: float
    clip_norm: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MergeRecord:
    """How a version came about: enough to derive it again, bit for bit, from its parent and deltas.

    Unless something else made it too: `unrecorded` says what. The record of a version that is old has let go of its
    deltas and groups; `forgotten_deltas` is how many there were. With `privacy`, norms and cosines of deltas are 0:
    they would tell of deltas what noise hides. `robust` names the robust mean that stands for the deltas of a cohort;
    it is empty for a weighted sum.
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
    robust: str = ""
    privacy: PrivacyRecord | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VersionRecord:
    """One global version. `average` is the moving-average adapter (same layout); `served_average` says which is served.

    `parent` is the number it was made from. `state` is the server's memory after this merge, for recipes that have one;
    it is kept for fewer versions than the adapters. `abandoned` is set by a rollback that left the version behind.
    `signed` is what its publisher signed of it, if anybody did.
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
    signed: SignedManifest | None = None

    def blob(self, kind: AdapterKind) -> BlobRef:
        """Return the payload of the wanted adapter."""
        if kind is AdapterKind.SERVED and self.served_average and self.average is not None:
            return self.average
        return self.adapter


def version_values(version: VersionRecord) -> dict[str, Any]:
    """Return a version as plain JSON values, without a manifest that it lacks: unsigned ones read as ever."""
    values = dataclasses.asdict(version)
    if values["signed"] is None:
        del values["signed"]
    return values


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The newest version, and the smallest number whose adapter is still retained.

    `hold_reason` says why merging was paused by itself; empty when an operator paused it, and while it is not paused.
    """

    id: VersionId
    oldest_retained: int
    paused: bool = False
    hold_reason: str = ""
