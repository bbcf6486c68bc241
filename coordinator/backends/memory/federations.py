"""Federations in memory."""

from __future__ import annotations

import dataclasses

from coordinator.backends import refusals
from coordinator.backends.memory.state import FederationState, MemoryState
from coordinator.backends.rules import WHILE_NEEDED, kept_until
from coordinator.domain import FederationRecord, VersionRecord


class MemoryFederations:
    """Implements `coordinator.ports.Federations`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def create(self, record: FederationRecord, initial: VersionRecord) -> None:
        """See the port."""
        name = record.plan.federation
        existing = self._state.federations.get(name)
        if existing is not None:
            if (dataclasses.replace(existing.record, paused=record.paused), existing.versions[0]) == (record, initial):
                return
            raise refusals.federation_exists(name)
        book = self._state.book(name)
        until = kept_until(initial, record.plan.retention)
        if record.calibration is not None:
            until[record.calibration.blob_id] = WHILE_NEEDED
        for blob_id in until:
            if not book.holds(blob_id, head=-1):
                raise refusals.blob_not_stored(blob_id, purpose=f"federation {name!r}")
        for blob_id, number in until.items():
            book.adopt(blob_id, until=number)
        self._state.federations[name] = FederationState(record=record, versions=[initial], epoch=initial.id.epoch)
        self._state.announce(name)

    async def get(self, federation: str) -> FederationRecord:
        """See the port."""
        return self._state.federation(federation).record

    async def names(self) -> list[str]:
        """See the port."""
        return sorted(self._state.federations)

    async def set_paused(self, federation: str, paused: bool, *, reason: str = "") -> None:
        """See the port."""
        found = self._state.federation(federation)
        found.record = dataclasses.replace(found.record, paused=paused)
        found.hold_reason = reason if paused else ""
        self._state.announce(federation)
