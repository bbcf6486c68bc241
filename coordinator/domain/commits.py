"""One merge, made visible in one step."""

from __future__ import annotations

import dataclasses
import enum

from coordinator.domain.deltas import QueuedDelta
from coordinator.domain.versions import VersionId, VersionRecord


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


class CommitOutcome(enum.StrEnum):
    """What a commit did: wrote the version, or found that the very same version was written before."""

    COMMITTED = "committed"
    ALREADY = "already"
