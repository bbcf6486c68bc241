"""Port: published versions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from coordinator.domain import Commit, CommitOutcome, Head, VersionRecord

Sign = Callable[[VersionRecord, VersionRecord], VersionRecord]
"""Returns a version with what its publisher signed of it, given the version and its parent."""


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
        `sweep` according to the plan's retention, server states of all but the two newest versions; the new head is
        announced.

        Returns:
            COMMITTED; or ALREADY when the head's record is this very version (a retried commit).

        Raises:
            Fenced: The token is not the newest.
            HeadMoved: The head is neither the expected one nor this version, or a delta is not queued any more.
            StoreCorrupt: A blob of the version is not stored (any more).
            AggregationInvalid: The merge record is not about the merged deltas.
        """
        ...

    async def roll_back(self, federation: str, number: int, *, at: float, sign: Sign | None = None) -> Head:
        """Publish a version (head + 1, kind ROLLBACK, parent `number`) that shares the adapter of `number`. Atomic.

        Every version after `number` that is not abandoned yet becomes abandoned. The epoch of the new identity is a
        fresh fencing token, so a merge in progress is fenced. The shared blobs live as long as either version needs
        them. The new version shares the server state too while it is kept, and has none afterwards. Idempotent: rolling
        back to the head, or to the version that the head restores already, is a no-op.

        Args:
            federation: The federation.
            number: The version to publish again.
            at: Time of publication, in seconds since the Unix epoch.
            sign: Signs the new version, given it and version `number`, before it is published; it may be called several
                times, of which only the last counts. None publishes it unsigned.

        Raises:
            VersionNotFound: It does not exist, is abandoned, or is no longer retained.
            HeadMoved: Others published so often that no signed version was in time; try again.
        """
        ...
