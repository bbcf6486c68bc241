"""Port: plans and initial versions."""

from __future__ import annotations

from typing import Protocol

from coordinator.domain import FederationRecord, VersionRecord


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

    async def set_paused(self, federation: str, paused: bool, *, reason: str = "") -> None:
        """Stop or start merging, and announce the head. Idempotent.

        `reason` says why it is stopped where no operator stopped it; heads hold it until merging is started again.
        """
        ...
