"""Backups of what is in memory, and restores into it."""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.backends import refusals
from coordinator.backends.memory.state import MemoryState, Staged
from coordinator.cuts import FederationCut, RecordBatch, Restored, settled_at
from coordinator.domain import QueuePlace, Receipt

RECEIPTS_BATCH = 500


class MemoryBackups:
    """Implements `coordinator.ports.Backups`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def cut(self, federation: str) -> FederationCut:
        """See the port."""
        found, book = self._state.federation(federation), self._state.book(federation)
        head = found.head.id
        return FederationCut(
            record=found.record,
            head=head,
            epoch=found.epoch,
            abandoned=frozenset(version.id.number for version in found.versions if version.abandoned),
            queue=tuple(
                QueuePlace(delta=entry.delta, place=place, claimed_by=entry.claimed_by, attempts=entry.attempts)
                for place, entry in enumerate(found.queue.values(), start=1)
            ),
            dead=tuple(found.dead.values()),
            agents=tuple(found.agents.values()),
            contributions=dict(found.contributions),
            kept_until={blob_id: until for blob_id, until in book.kept_until.items() if until > head.number},
        )

    async def receipts(self, federation: str, cursor: str = "") -> tuple[Sequence[Receipt], str]:
        """See the port."""
        receipts = list(self._state.federation(federation).receipts.values())
        start = int(cursor or 0)
        end = start + RECEIPTS_BATCH
        return receipts[start:end], str(end) if end < len(receipts) else ""

    async def stage(self, federation: str, restore_id: str, batch: RecordBatch) -> None:
        """See the port."""
        staged = self._state.staged.setdefault((federation, restore_id), Staged())
        staged.versions |= {version.id.number: version for version in batch.versions}
        staged.receipts |= {receipt.delta_id: receipt for receipt in batch.receipts}
        staged.settled |= settled_at(batch)
        staged.queue |= {entry.place: entry for entry in batch.queue}
        staged.dead |= {letter.delta.delta_id: letter for letter in batch.dead}
        staged.agents |= {agent.agent_id: agent for agent in batch.agents}
        staged.contributions |= batch.contributions
        staged.kept_until |= batch.kept_until

    async def publish(self, federation: str, restore_id: str, restored: Restored) -> None:
        """See the port."""
        existing = self._state.federations.get(federation)
        if existing is not None:
            if existing.restore_id == restore_id:
                return
            raise refusals.federation_exists(federation)
        staged = self._state.staged.get((federation, restore_id), Staged())
        if sorted(staged.versions) != list(range(restored.head_number + 1)):
            raise refusals.restore_expired(federation)
        book = self._state.book(federation)
        for blob_id in staged.kept_until:
            if blob_id not in book.unclaimed:
                raise refusals.restore_expired(federation)
        for blob_id, until in staged.kept_until.items():
            book.adopt(blob_id, until=until)
        self._state.federations[federation] = staged.complete(restored, restore_id)
        del self._state.staged[federation, restore_id]
        self._state.announce(federation)

    async def discard(self, federation: str, restore_id: str) -> None:
        """See the port."""
        self._state.staged.pop((federation, restore_id), None)
