"""Version-aware grouping: deltas that were trained from the same global version belong together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from alignfed.errors import AggregationInvalid
from coordinator.algo.values import DeltaInput
from coordinator.domain import VersionId


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VersionGroup:
    """Deltas of one base version, ordered by delta id."""

    base: VersionId
    staleness_versions: int
    deltas: tuple[DeltaInput, ...]

    @property
    def fresh(self) -> bool:
        """Whether the group was trained from the head itself."""
        return self.staleness_versions == 0


def group_by_base(deltas: Sequence[DeltaInput]) -> tuple[VersionGroup, ...]:
    """Group deltas by base version: freshest group first, by delta id within a group, whatever the order of arrival.

    Raises:
        AggregationInvalid: There are no deltas, a delta comes twice, a staleness is negative, or deltas of one base
            disagree about its staleness.

    Source: AlignFed, version-aware grouping.
    """
    if not deltas:
        raise AggregationInvalid("there are no deltas to merge: wait for at least one")
    by_base: dict[VersionId, list[DeltaInput]] = {}
    seen: set[str] = set()
    for delta in deltas:
        if delta.delta_id in seen:
            raise AggregationInvalid(f"delta {delta.delta_id} is in the buffer twice: it would be merged twice")
        seen.add(delta.delta_id)
        by_base.setdefault(delta.base, []).append(delta)
    groups = [
        VersionGroup(
            base=base,
            staleness_versions=_common_staleness(base, members),
            deltas=tuple(sorted(members, key=lambda delta: delta.delta_id)),
        )
        for base, members in by_base.items()
    ]
    return tuple(sorted(groups, key=_freshest_first))


def _common_staleness(base: VersionId, members: Iterable[DeltaInput]) -> int:
    staleness = {delta.staleness_versions for delta in members}
    if len(staleness) > 1 or min(staleness) < 0:
        raise AggregationInvalid(
            f"deltas of base version {base.number} claim a staleness of {sorted(staleness)} versions: "
            "it must be one number of zero or more"
        )
    return staleness.pop()


def _freshest_first(group: VersionGroup) -> tuple[int, int, int, str]:
    return (group.staleness_versions, -group.base.number, -group.base.epoch, group.base.digest)
