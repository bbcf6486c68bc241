"""Versions in memory."""

from __future__ import annotations

import dataclasses

from coordinator.backends import refusals
from coordinator.backends.memory.state import FederationState, MemoryState
from coordinator.backends.rules import blobs_of, kept_until, restoration, weights_of
from coordinator.domain import (
    BlobRef,
    Commit,
    CommitOutcome,
    DeltaState,
    Head,
    VersionId,
    VersionKind,
    VersionRecord,
)
from coordinator.ports.versions import Sign


class MemoryVersions:
    """Implements `coordinator.ports.Versions`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def head(self, federation: str) -> Head:
        """See the port."""
        return self._state.federation(federation).head

    async def get(self, federation: str, number: int) -> VersionRecord:
        """See the port."""
        versions = self._state.federation(federation).versions
        if not 0 <= number < len(versions):
            raise refusals.version_unknown(number)
        return versions[number]

    async def list(self, federation: str, *, before: int | None, limit: int) -> list[VersionRecord]:
        """See the port."""
        versions = self._state.federation(federation).versions
        below = len(versions) if before is None else min(max(before, 0), len(versions))
        return versions[max(0, below - limit) : below][::-1]

    async def commit(self, commit: Commit) -> CommitOutcome:
        """See the port."""
        federation = self._state.federation(commit.federation)
        weights = weights_of(commit)
        if federation.head.id == commit.version.id:
            return CommitOutcome.ALREADY
        self._check_commit(federation, commit)
        for queued in commit.merged:
            delta = queued.delta
            del federation.queue[queued.entry_id]
            federation.receipts[delta.delta_id] = dataclasses.replace(
                federation.receipts[delta.delta_id], state=DeltaState.MERGED, version=commit.version.id
            )
            federation.settled[delta.delta_id] = commit.version.id.number
            federation.contribute(delta.agent_id, merged=1, weight=weights[delta.delta_id])
            until = commit.version.id.number + federation.record.plan.retention.delta_versions
            self._state.book(commit.federation).free(delta.payload.blob_id, until=until)
        self._publish(commit.federation, commit.version)
        return CommitOutcome.COMMITTED

    def _check_commit(self, federation: FederationState, commit: Commit) -> None:
        federation.check_token(commit.token)
        head = federation.head.id
        if head != commit.expected_head:
            raise refusals.head_moved(commit.expected_head, head)
        for queued in commit.merged:
            if not federation.claimed(queued.entry_id, queued.delta.delta_id):
                raise refusals.delta_not_queued(queued.delta.delta_id)
        book = self._state.book(commit.federation)
        for blob in blobs_of(commit.version):
            if not book.holds(blob.blob_id, head=head.number):
                raise refusals.blob_not_stored(blob.blob_id, purpose=f"version {commit.version.id.number}")

    async def roll_back(self, federation: str, number: int, *, at: float, sign: Sign | None = None) -> Head:
        """See the port."""
        found = self._state.federation(federation)
        target = await self.get(federation, number)
        head = found.versions[-1]
        if number == head.id.number or (head.kind is VersionKind.ROLLBACK and head.parent == number):
            return found.head
        if target.abandoned:
            raise refusals.version_abandoned(number)
        if number < found.head.oldest_retained:
            raise refusals.version_not_retained(number, oldest=found.head.oldest_retained)
        identity = VersionId(epoch=found.epoch + 1, number=head.id.number + 1, digest=target.id.digest)
        restored = dataclasses.replace(restoration(target, identity, at=at), state=self._kept_state(found, target))
        if sign is not None:
            restored = sign(restored, target)
        for later in range(number + 1, len(found.versions)):
            found.versions[later] = dataclasses.replace(found.versions[later], abandoned=True)
        found.epoch += 1
        self._publish(federation, restored)
        return found.head

    def _publish(self, federation: str, version: VersionRecord) -> None:
        """Make a version the head and keep its payloads for as long as the plan retains it."""
        found = self._state.federation(federation)
        found.versions.append(version)
        for blob_id, until in kept_until(version, found.record.plan.retention).items():
            self._state.book(federation).adopt(blob_id, until=until)
        self._state.announce(federation)

    def _kept_state(self, federation: FederationState, version: VersionRecord) -> BlobRef | None:
        """Return the server state of a version unless it is past its retention, and so perhaps swept."""
        book, state = self._state.book(federation.record.plan.federation), version.state
        return state if state is not None and book.holds(state.blob_id, head=federation.head.id.number) else None
