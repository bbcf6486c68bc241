"""Port: the queue, receipts and dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from coordinator.domain import DeadLetter, DeltaRecord, QueuedDelta, QueueDepth, QueuePlace, Receipt, Rejection

MAX_WAITING_KNOWN = 1000
"""Waiting deltas of one agent that a store needs to know of: above what any quota allows."""


class Deltas(Protocol):
    """The queue of accepted deltas, their receipts and dead letters."""

    async def accept(self, delta: DeltaRecord) -> Receipt:
        """Make a delta whose payload was begun and is stored part of the queue, in one atomic step.

        Checks inside the step, because the head may have moved while the payload arrived: an existing receipt is
        returned as it is; the agent must be known and not revoked; the base version must be known, of this branch and
        retained; the queue must have room (`plan.limits.max_queue_deltas`). Adopts the blob.

        Raises:
            DeltaIdConflict: A receipt exists for other content (sha256) or another agent.
            UnknownAgent, AgentRevoked: Of the agent.
            BaseVersionUnknown, BaseVersionOtherBranch, BaseVersionTooOld, BaseVersionInFuture: Of the base version.
            QueueFull: No room; nothing was changed, the payload stays for a later try.
            UploadStalled: The payload expired and was swept, or belongs to another delta: send it again.
        """
        ...

    async def receipt(self, federation: str, delta_id: str) -> Receipt | None:
        """Return what has become of a delta, or None when it was never accepted."""
        ...

    async def known_ids(self, federation: str, prefix: str, *, limit: int) -> list[str]:
        """Return up to `limit` ids of accepted deltas that begin with `prefix`, sorted.

        Looks at as many receipts as a second's work allows; of more it may miss some.
        """
        ...

    async def place(self, federation: str, delta_id: str) -> QueuePlace | None:
        """Return a delta's place in the queue, or None when it does not wait there. Never blocks, changes nothing."""
        ...

    async def claim(self, federation: str, worker_id: str, *, limit: int) -> list[QueuedDelta]:
        """Claim up to `limit` deltas that no one has claimed, oldest first. Never blocks.

        A crash leaves them claimed, for `reclaim`.
        """
        ...

    async def reclaim(self, federation: str, worker_id: str) -> list[QueuedDelta]:
        """Take over every claimed delta, whoever claimed it, oldest first. For the lease holder only. Idempotent."""
        ...

    async def count_attempt(self, federation: str, worker_id: str, deltas: Sequence[QueuedDelta]) -> list[QueuedDelta]:
        """Count one more attempt to merge these claimed deltas, durably and before it begins.

        So a delta whose merge kills the worker is told from those that merely waited beside it. Idempotent: the count
        is set to one more than each delta says.

        Returns:
            The deltas with their new counts.
        """
        ...

    async def forgive_attempt(self, federation: str, deltas: Sequence[QueuedDelta]) -> None:
        """Take one attempt back from each of these claimed deltas: the merge failed for a reason that is not theirs.

        Whoever has claimed them now; those that are not claimed, or have no attempt, are left as they are. Atomic. A
        worker that has reclaimed them and counts its own attempt later sets what it read: the attempt then stays.
        """
        ...

    async def reject(self, federation: str, token: int, rejections: Sequence[Rejection]) -> None:
        """Settle claimed deltas as rejected: receipts, counts per agent, payloads free for `sweep`. Atomic, fenced.

        Idempotent: deltas already settled are left as they are.

        Raises:
            Fenced: `token` is not the newest.
        """
        ...

    async def disown(self, federation: str, token: int, deltas: Sequence[QueuedDelta], *, at: float) -> None:
        """Forget claimed deltas whose payloads the store has lost, as if they had never been accepted. Atomic, fenced.

        Their agents, which keep them until they are settled, find no receipt and send what is missing: what is left of
        a payload is unclaimed since `at` (Unix seconds). Idempotent: deltas already settled are left as they are.

        Raises:
            Fenced: `token` is not the newest.
        """
        ...

    async def bury(self, federation: str, token: int, queued: QueuedDelta, *, detail: str, at: float) -> None:
        """Move a claimed delta to the dead letters, payload kept; its receipt stays queued. Atomic, fenced, idempotent.

        Raises:
            Fenced: `token` is not the newest.
        """
        ...

    async def dead_letters(self, federation: str) -> list[DeadLetter]:
        """Return the dead letters, oldest first."""
        ...

    async def requeue_dead(self, federation: str, delta_id: str) -> None:
        """Put a dead letter back at the end of the queue with no attempts counted. Atomic.

        Raises:
            DeadLetterNotFound: There is none.
        """
        ...

    async def drop_dead(self, federation: str, delta_id: str) -> None:
        """Reject a dead letter with reason DROPPED_BY_OPERATOR. Atomic.

        Raises:
            DeadLetterNotFound: There is none.
        """
        ...

    async def depth(self, federation: str) -> QueueDepth:
        """Return how much waits."""
        ...

    async def waiting_of(self, federation: str, agent_id: str) -> int:
        """Return how many deltas of one agent wait in the queue; 0 for an agent that never uploaded.

        Never more than there are. It may be fewer: `MAX_WAITING_KNOWN` of an agent at most, and those that came into
        the queue by a restore or as requeued dead letters are not counted.
        """
        ...
