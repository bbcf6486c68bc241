"""The newest versions of a federation in brief: each is read from the store once, as its record hardly ever changes."""

from __future__ import annotations

import dataclasses

from coordinator.domain import Head, VersionId, VersionKind, VersionRecord
from coordinator.ports import Versions

VERSIONS_SHOWN = 200
"""How far the page looks back: enough to see a trend, and a bounded amount to keep and to send."""

_READ_AT_ONCE = 25
"""Versions per read: a merge record takes about 300 bytes per delta."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One delta's part in a version."""

    agent_id: str
    staleness_versions: int
    weight: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VersionBrief:
    """What the page tells of a version. Losses are those of the calibration set; None when nothing judged it."""

    id: VersionId
    kind: VersionKind
    parent: int | None
    created_at: float
    abandoned: bool
    recipe: str
    loss_before: float | None
    loss: float | None
    loss_served: float | None
    parts: tuple[Part, ...]


class History:
    """Keeps the newest versions of one federation, newest first.

    Args:
        versions: Where they are published.
        federation: Whose they are.
    """

    def __init__(self, versions: Versions, federation: str) -> None:
        self._versions = versions
        self._federation = federation
        self._known: list[VersionBrief] = []

    async def up_to(self, head: Head) -> tuple[VersionBrief, ...]:
        """Return up to `VERSIONS_SHOWN` versions from `head` down, reading those that are not known yet."""
        if not self._known or self._known[0].id != head.id:
            self._known = await self._newer(head) or await self._read(head, VERSIONS_SHOWN)
        return tuple(self._known)

    async def _newer(self, head: Head) -> list[VersionBrief]:
        """Return the known versions and what was published on top of them; nothing when they are not to be relied on.

        A rollback changes older versions, and a store that lost its newest writes has other versions under known
        numbers.
        """
        if not self._known or not 0 < head.id.number - self._known[0].id.number < VERSIONS_SHOWN:
            return []
        read = await self._read(head, head.id.number - self._known[0].id.number + 1)
        if read[-1].id != self._known[0].id or any(version.kind is VersionKind.ROLLBACK for version in read[:-1]):
            return []
        return [*read[:-1], *self._known][:VERSIONS_SHOWN]

    async def _read(self, head: Head, count: int) -> list[VersionBrief]:
        found: list[VersionBrief] = []
        while len(found) < count:
            before = found[-1].id.number if found else head.id.number + 1
            limit = min(_READ_AT_ONCE, count - len(found))
            records = await self._versions.list(self._federation, before=before, limit=limit)
            if not records:
                break
            found += [brief(record) for record in records]
        return found


def brief(record: VersionRecord) -> VersionBrief:
    """Return what the page tells of a version."""
    merge = record.merge
    return VersionBrief(
        id=record.id,
        kind=record.kind,
        parent=record.parent,
        created_at=record.created_at,
        abandoned=record.abandoned,
        recipe=merge.recipe if merge else "",
        loss_before=merge.calibration_loss_before if merge else None,
        loss=merge.calibration_loss_after if merge else None,
        loss_served=merge.calibration_loss_served if merge else None,
        parts=tuple(
            Part(agent_id=delta.agent_id, staleness_versions=delta.staleness_versions, weight=delta.weight)
            for delta in (merge.deltas if merge else ())
        ),
    )
