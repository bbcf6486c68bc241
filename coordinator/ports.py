"""What the coordinator and the worker need of a store. Each method says what repeating it does and what a crash leaves.

Backends: `coordinator.backends.memory` (tests, simulations) and `coordinator.backends.redis` (Redis 7.0+, Valkey 8+).
One contract suite, `tests/contract`, runs against every backend. All methods raise `StoreUnreachable` when the store
does not answer (the write may or may not have happened, which is why every write is idempotent) and `StoreFull` when it
refuses to grow; methods that name a federation raise `UnknownFederation` when it does not exist.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from coordinator.domain import (
    AgentRecord,
    Commit,
    CommitOutcome,
    Contribution,
    DeadLetter,
    DeltaRecord,
    FederationRecord,
    Head,
    QueuedDelta,
    QueueDepth,
    Receipt,
    Rejection,
    VersionRecord,
)


class Clock(Protocol):
    """Time, injected so that tests own it."""

    def now(self) -> float:
        """Return seconds since the Unix epoch. For people and metrics only: it may jump."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back; decisions rest on this one."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Suspend the calling task."""
        ...


class Federations(Protocol):
    """Plans and initial versions."""

    async def create(self, record: FederationRecord, initial: VersionRecord) -> None:
        """Create a federation whose blobs are already stored, and adopt them (they stop being unclaimed). Atomic.

        Idempotent: repeating the very same creation changes nothing.

        Raises:
            FederationExists: The name is taken; nothing was changed.
            StoreCorrupt: A blob is not stored (any more).
        """
        ...

    async def get(self, federation: str) -> FederationRecord:
        """Return the federation."""
        ...

    async def names(self) -> list[str]:
        """Return all names, sorted."""
        ...

    async def set_paused(self, federation: str, paused: bool) -> None:
        """Stop or start merging, and announce the head. Idempotent."""
        ...


class Agents(Protocol):
    """Who takes part, and what came of it. Contributions are written by commits and rejections, never here."""

    async def register(self, federation: str, agent: AgentRecord) -> AgentRecord:
        """Add the agent or refresh its capabilities; keeps `registered_at` and `revoked` of an earlier registration.

        Returns:
            The record as stored. Idempotent.
        """
        ...

    async def get(self, federation: str, agent_id: str) -> AgentRecord:
        """Return one agent.

        Raises:
            UnknownAgent: It never registered.
        """
        ...

    async def seen(self, federation: str, at_by_agent: dict[str, float]) -> None:
        """Record when agents last called; unknown agents are ignored, and no time goes back.

        Idempotent; losing it costs nothing.
        """
        ...

    async def list(self, federation: str) -> list[AgentRecord]:
        """Return every agent, sorted by id."""
        ...

    async def revoke(self, federation: str, agent_id: str) -> None:
        """Mark an agent as revoked, for good. Idempotent.

        Raises:
            UnknownAgent: It never registered.
        """
        ...

    async def contributions(self, federation: str) -> dict[str, Contribution]:
        """Return what each agent has contributed; agents without any are absent."""
        ...


class Blobs(Protocol):
    """Payloads in parts. A blob is unclaimed from `begin` until a queue entry, version or federation adopts it.

    A crash leaves unclaimed blobs, which `sweep` deletes once they are older than the upload lifetime.
    """

    async def begin(self, federation: str, blob_id: str, *, at: float) -> None:
        """Note a blob as unclaimed since `at` (Unix seconds); beginning again renews its lifetime. Idempotent.

        A blob that was adopted stays adopted. The federation need not exist yet.

        Raises:
            UploadStalled: An earlier upload of this blob expired and is being deleted; try again soon.
        """
        ...

    async def put_part(self, blob_id: str, index: int, data: bytes) -> None:
        """Store one part. Idempotent: the same index always gets the same bytes."""
        ...

    async def get_part(self, blob_id: str, index: int) -> bytes:
        """Return one part.

        Raises:
            StoreCorrupt: The part is not there.
        """
        ...

    async def stored_parts(self, blob_id: str, parts: int) -> int:
        """Return how many of the first `parts` parts are stored without a gap, from part 0 on."""
        ...

    async def delete(self, federation: str, blob_id: str) -> None:
        """Delete an unclaimed blob; one that was adopted is left alone. Idempotent."""
        ...

    async def sweep(self, federation: str, *, unclaimed_before: float) -> int:
        """Delete what nothing needs any more: unclaimed blobs begun before that time, and blobs past their retention.

        Also deletes such unclaimed blobs of federations whose creation was never completed.

        Returns:
            How many blobs were deleted. Idempotent; a crash leaves the rest for the next call.
        """
        ...


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

    async def reject(self, federation: str, token: int, rejections: Sequence[Rejection]) -> None:
        """Settle claimed deltas as rejected: receipts, counts per agent, payloads free for `sweep`. Atomic, fenced.

        Idempotent: deltas already settled are left as they are.

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


class Versions(Protocol):
    """Published versions. Immutable, except that a rollback marks what it leaves behind as abandoned."""

    async def head(self, federation: str) -> Head:
        """Return the newest version's identity and what is retained."""
        ...

    async def get(self, federation: str, number: int) -> VersionRecord:
        """Return one version.

        Raises:
            VersionNotFound: It does not exist. Records are kept after their adapters are gone.
        """
        ...

    async def list(self, federation: str, *, before: int | None, limit: int) -> list[VersionRecord]:
        """Return up to `limit` versions below `before` (None: from the head), newest first."""
        ...

    async def commit(self, commit: Commit) -> CommitOutcome:
        """Publish a merge in one atomic, fenced step; the whole of it happens or nothing does.

        Checks first: the token is the newest, the head is the expected one, every delta is claimed and queued. Then:
        version, head, receipts, contributions (count + 1, weight + its normalised weight); deltas leave the queue;
        the version's blobs are adopted; delta payloads and the adapters that fall out of retention are freed for
        `sweep` according to the plan's retention; the new head is announced.

        Returns:
            COMMITTED; or ALREADY when the head's record is this very version (a retried commit).

        Raises:
            Fenced: The token is not the newest.
            HeadMoved: The head is neither the expected one nor this version, or a delta is not queued any more.
            StoreCorrupt: A blob of the version is not stored (any more).
            AggregationInvalid: The merge record is not about the merged deltas.
        """
        ...

    async def roll_back(self, federation: str, number: int, *, at: float) -> Head:
        """Publish a version (head + 1, kind ROLLBACK, parent `number`) that shares the adapter of `number`. Atomic.

        Every version after `number` that is not abandoned yet becomes abandoned. The epoch of the new identity is a
        fresh fencing token, so a merge in progress is fenced. The shared blobs live as long as either version needs
        them. Idempotent: rolling back to the head, or to the version that the head restores already, is a no-op.

        Raises:
            VersionNotFound: It does not exist, is abandoned, or is no longer retained.
        """
        ...


class Leases(Protocol):
    """Which worker may merge."""

    async def acquire(self, federation: str, worker_id: str, *, ttl_seconds: float) -> int | None:
        """Take the lease if it is free or already this worker's.

        Returns:
            A new fencing token, larger than every token before; or None when another worker holds the lease.
        """
        ...

    async def renew(self, federation: str, worker_id: str, token: int, *, ttl_seconds: float) -> bool:
        """Prolong the lease. False when it is not this worker's any more, or a newer fencing token exists."""
        ...

    async def release(self, federation: str, worker_id: str, token: int) -> None:
        """Give the lease up, if it is still this worker's. Idempotent."""
        ...


class HeadFeed(Protocol):
    """Tells a process which federations have a new head."""

    def subscribe(self) -> AbstractAsyncContextManager[AsyncIterator[str]]:
        """Yield the name of each federation whose head or pause state changed, as it happens.

        May miss changes while the store is away: readers also re-read now and then. The iterator raises
        `StoreUnreachable` when the connection is lost.
        """
        ...


class Store(Protocol):
    """All ports of one store, and its lifecycle."""

    federations: Federations
    agents: Agents
    blobs: Blobs
    deltas: Deltas
    versions: Versions
    leases: Leases
    feed: HeadFeed

    async def check(self) -> None:
        """Check that the store answers and is safe to keep deltas in. Called once at start.

        Raises:
            StoreUnsafe: Its eviction policy could lose data, or its version is too old; says what to set.
        """
        ...

    async def close(self) -> None:
        """Release connections. Idempotent."""
        ...
