"""Port: a federation as a whole, out of one store and into another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from coordinator.cuts import FederationCut, RecordBatch, Restored
from coordinator.domain import Receipt


class Backups(Protocol):
    """Reads a federation at one moment, and builds one up unseen until it is complete."""

    async def cut(self, federation: str) -> FederationCut:
        """Return all that changes of a federation, as of one moment. Changes nothing.

        One atomic read, whose size is the queue, the agents, the versions' identities and the payloads' names: for ten
        thousand of each some tenths of a second of the server's time, in which it answers nobody else.
        """
        ...

    async def receipts(self, federation: str, cursor: str = "") -> tuple[Sequence[Receipt], str]:
        """Return some receipts and the cursor for the next ones; both cursors are empty at the ends.

        All pages together have every receipt that existed when the first was read, in no order, some perhaps twice.
        Receipts written since may be among them or not; see `coordinator.cuts.receipt_at`.
        """
        ...

    async def stage(self, federation: str, restore_id: str, batch: RecordBatch) -> None:
        """Put records of a federation that does not exist yet aside, where nothing sees them until `publish`.

        Idempotent. What a crash leaves behind expires by itself, a day after the last batch.
        """
        ...

    async def publish(self, federation: str, restore_id: str, restored: Restored) -> None:
        """Make the staged federation exist and adopt its payloads, which were begun and stored before. Atomic.

        Idempotent: the same restore again changes nothing. Nobody holds the lease afterwards.

        Raises:
            FederationExists: The name is taken; nothing was changed.
            BackupOvertaken: Staged records or payloads have expired, or were never complete; nothing was changed.
        """
        ...

    async def discard(self, federation: str, restore_id: str) -> None:
        """Delete what was staged and not published. Idempotent."""
        ...
