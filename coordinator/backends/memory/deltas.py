"""The queue, receipts and dead letters in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from alignfed.errors import DroppedByOperator
from coordinator.backends import refusals
from coordinator.backends.memory.state import FederationState, MemoryState
from coordinator.backends.rules import check_same_delta
from coordinator.domain import (
    DeadLetter,
    DeltaRecord,
    DeltaState,
    QueuedDelta,
    QueueDepth,
    QueuePlace,
    Receipt,
    Rejection,
    VersionId,
)


class MemoryDeltas:
    """Implements `coordinator.ports.Deltas`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def accept(self, delta: DeltaRecord) -> Receipt:
        """See the port."""
        federation = self._state.federation(delta.federation)
        receipt = federation.receipts.get(delta.delta_id)
        if receipt is not None:
            return check_same_delta(delta, receipt)
        self._check_acceptable(federation, delta)
        receipt = Receipt(
            delta_id=delta.delta_id,
            agent_id=delta.agent_id,
            state=DeltaState.QUEUED,
            sha256=delta.payload.sha256,
            accepted_at=delta.accepted_at,
        )
        federation.receipts[delta.delta_id] = receipt
        federation.enqueue(delta)
        self._state.keep_payload(delta)
        return receipt

    def _check_acceptable(self, federation: FederationState, delta: DeltaRecord) -> None:
        agent = federation.agents.get(delta.agent_id)
        if agent is None:
            raise refusals.agent_unknown(delta.agent_id)
        if agent.revoked:
            raise refusals.agent_revoked(delta.agent_id)
        _check_base(federation, delta.base)
        limit = federation.record.plan.limits.max_queue_deltas
        if len(federation.queue) >= limit:
            raise refusals.queue_full(limit)
        if delta.payload.blob_id not in self._state.book(delta.federation).unclaimed:
            raise refusals.payload_gone(delta)

    async def receipt(self, federation: str, delta_id: str) -> Receipt | None:
        """See the port."""
        return self._state.federation(federation).receipts.get(delta_id)

    async def known_ids(self, federation: str, prefix: str, *, limit: int) -> list[str]:
        """See the port."""
        known = self._state.federation(federation).receipts
        return sorted(delta_id for delta_id in known if delta_id.startswith(prefix))[:limit]

    async def place(self, federation: str, delta_id: str) -> QueuePlace | None:
        """See the port."""
        for place, entry in enumerate(self._state.federation(federation).queue.values(), start=1):
            if entry.delta.delta_id == delta_id:
                return QueuePlace(delta=entry.delta, place=place, claimed_by=entry.claimed_by, attempts=entry.attempts)
        return None

    async def claim(self, federation: str, worker_id: str, *, limit: int) -> list[QueuedDelta]:
        """See the port."""
        queue = self._state.federation(federation).queue
        fresh = [entry_id for entry_id, entry in queue.items() if entry.claimed_by is None][:limit]
        return self._deliver(federation, worker_id, fresh)

    async def reclaim(self, federation: str, worker_id: str) -> list[QueuedDelta]:
        """See the port."""
        queue = self._state.federation(federation).queue
        claimed = [entry_id for entry_id, entry in queue.items() if entry.claimed_by is not None]
        return self._deliver(federation, worker_id, claimed)

    async def count_attempt(self, federation: str, worker_id: str, deltas: Sequence[QueuedDelta]) -> list[QueuedDelta]:
        """See the port."""
        found = self._state.federation(federation)
        counted = [dataclasses.replace(queued, attempts=queued.attempts + 1) for queued in deltas]
        for queued in counted:
            if found.claimed(queued.entry_id, queued.delta.delta_id):
                found.queue[queued.entry_id].claimed_by = worker_id
                found.queue[queued.entry_id].attempts = queued.attempts
        return counted

    async def forgive_attempt(self, federation: str, deltas: Sequence[QueuedDelta]) -> None:
        """See the port."""
        found = self._state.federation(federation)
        for queued in deltas:
            if found.claimed(queued.entry_id, queued.delta.delta_id):
                entry = found.queue[queued.entry_id]
                entry.attempts = max(0, entry.attempts - 1)

    def _deliver(self, federation: str, worker_id: str, entry_ids: list[str]) -> list[QueuedDelta]:
        queue = self._state.federation(federation).queue
        for entry_id in entry_ids:
            queue[entry_id].claimed_by = worker_id
        return [
            QueuedDelta(entry_id=entry_id, delta=queue[entry_id].delta, attempts=queue[entry_id].attempts)
            for entry_id in entry_ids
        ]

    async def reject(self, federation: str, token: int, rejections: Sequence[Rejection]) -> None:
        """See the port."""
        found = self._state.federation(federation)
        found.check_token(token)
        for rejection in rejections:
            queued = rejection.queued
            if found.claimed(queued.entry_id, queued.delta.delta_id):
                del found.queue[queued.entry_id]
                settle_rejected(self._state, found, queued.delta, reason=rejection.reason, detail=rejection.detail)

    async def disown(self, federation: str, token: int, deltas: Sequence[QueuedDelta], *, at: float) -> None:
        """See the port."""
        found, book = self._state.federation(federation), self._state.book(federation)
        found.check_token(token)
        for queued in deltas:
            if found.claimed(queued.entry_id, queued.delta.delta_id):
                del found.queue[queued.entry_id]
                del found.receipts[queued.delta.delta_id]
                book.kept_until.pop(queued.delta.payload.blob_id, None)
                book.unclaimed[queued.delta.payload.blob_id] = at

    async def bury(self, federation: str, token: int, queued: QueuedDelta, *, detail: str, at: float) -> None:
        """See the port."""
        found = self._state.federation(federation)
        found.check_token(token)
        if found.claimed(queued.entry_id, queued.delta.delta_id):
            del found.queue[queued.entry_id]
            found.dead[queued.delta.delta_id] = DeadLetter(delta=queued.delta, detail=detail, buried_at=at)

    async def dead_letters(self, federation: str) -> list[DeadLetter]:
        """See the port."""
        dead = self._state.federation(federation).dead.values()
        return sorted(dead, key=lambda letter: (letter.buried_at, letter.delta.delta_id))

    async def requeue_dead(self, federation: str, delta_id: str) -> None:
        """See the port."""
        found = self._state.federation(federation)
        found.enqueue(_take_dead(found, delta_id).delta)

    async def drop_dead(self, federation: str, delta_id: str) -> None:
        """See the port."""
        found = self._state.federation(federation)
        letter = _take_dead(found, delta_id)
        settle_rejected(self._state, found, letter.delta, reason=DroppedByOperator.reason, detail=letter.detail)

    async def depth(self, federation: str) -> QueueDepth:
        """See the port."""
        found = self._state.federation(federation)
        entries = found.queue.values()
        return QueueDepth(
            queued=len(entries),
            pending=sum(entry.claimed_by is not None for entry in entries),
            dead=len(found.dead),
            oldest_accepted_at=min((entry.delta.accepted_at for entry in entries), default=None),
        )

    async def waiting_of(self, federation: str, agent_id: str) -> int:
        """See the port."""
        return sum(entry.delta.agent_id == agent_id for entry in self._state.federation(federation).queue.values())


def settle_rejected(
    state: MemoryState, federation: FederationState, delta: DeltaRecord, *, reason: str, detail: str
) -> None:
    """Note that a delta which waits nowhere any more is rejected, and free its payload."""
    federation.receipts[delta.delta_id] = dataclasses.replace(
        federation.receipts[delta.delta_id], state=DeltaState.REJECTED, reason=reason, detail=detail
    )
    federation.contribute(delta.agent_id, rejected=1)
    head = federation.versions[-1].id.number
    federation.settled[delta.delta_id] = head
    state.book(delta.federation).free(delta.payload.blob_id, until=head)


def _take_dead(federation: FederationState, delta_id: str) -> DeadLetter:
    if delta_id not in federation.dead:
        raise refusals.dead_letter_unknown(delta_id)
    return federation.dead.pop(delta_id)


def _check_base(federation: FederationState, base: VersionId) -> None:
    head = federation.head
    if base.number > head.id.number:
        raise refusals.base_in_future(base, head=head.id.number)
    if base.number < 0:
        raise refusals.base_unknown(base)
    version = federation.versions[base.number]
    if version.id != base or version.abandoned:
        raise refusals.base_other_branch(base)
    if base.number < head.oldest_retained:
        raise refusals.base_too_old(base, oldest=head.oldest_retained)
