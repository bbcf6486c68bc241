"""What retention lets go of, besides payloads: pure functions on domain values, the same for every backend."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from alignfed.plan import Retention
from coordinator.domain import DeadLetter, VersionRecord

LET_GO = "deltas and groups that its record has let go of (retention.record_versions)"
"""What a trimmed merge record says of what it lacks."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trimmed:
    """How much one trim let go of."""

    receipts: int = 0
    records: int = 0
    dead_letters: int = 0
    agents: int = 0

    def __bool__(self) -> bool:
        """Whether it was anything."""
        return any(dataclasses.astuple(self))


def receipts_kept(retention: Retention) -> int:
    """Return for how many versions after its delta was settled a receipt is kept.

    A delta settled at version N was trained from N or an older one. When N + `versions` is published, none of those is
    retained: the delta would be refused as too old. So no id whose receipt is gone is ever merged again.
    """
    return max(retention.receipt_versions, retention.versions)


def first_whole_record(head: int, retention: Retention) -> int:
    """Return the smallest version number whose merge record stays whole; replay needs those of all retained ones."""
    return max(0, head - max(retention.record_versions, retention.versions) + 1)


def trimmed(version: VersionRecord) -> VersionRecord:
    """Return a version without the names of payloads that are gone, and without its single deltas and groups.

    Their number stays, as do identity, parent, losses and the adapter's name. The version itself when it is that short
    already.
    """
    merge = version.merge
    if merge is not None and merge.deltas:
        merge = dataclasses.replace(
            merge,
            deltas=(),
            groups=(),
            forgotten_deltas=len(merge.deltas),
            unrecorded=(*merge.unrecorded, LET_GO),
        )
    short = dataclasses.replace(version, merge=merge, average=None, state=None)
    return version if short == version else short


def expired_letters(letters: Iterable[DeadLetter], retention: Retention, *, at: float) -> dict[str, str]:
    """Return why each dead letter that is not kept any longer goes, by delta id: the oldest beyond the limit, the aged.

    Args:
        letters: All of them, oldest first.
        retention: The plan's.
        at: Now, Unix seconds.
    """
    kept = list(letters)
    beyond = len(kept) - retention.dead_letters
    reasons: dict[str, str] = {}
    for index, letter in enumerate(kept):
        if index < beyond:
            reasons[letter.delta.delta_id] = f"more than {retention.dead_letters} dead letters (retention.dead_letters)"
        elif letter.buried_at < at - retention.dead_letter_seconds:
            days = retention.dead_letter_seconds / 86_400
            reasons[letter.delta.delta_id] = f"a dead letter for {days:g} days (retention.dead_letter_seconds)"
    return reasons


def forgotten_agents(last_seen: Mapping[str, float], retention: Retention, *, at: float) -> set[str]:
    """Return the agents that were not seen for too long.

    Args:
        last_seen: When each was seen last, Unix seconds.
        retention: The plan's.
        at: Now.
    """
    return {agent_id for agent_id, seen in last_seen.items() if seen < at - retention.agent_seconds}
