"""Leases in memory."""

from __future__ import annotations

from coordinator.backends.memory.state import FederationState, Lease, MemoryState
from coordinator.domain import LeaseHolder


class MemoryLeases:
    """Implements `coordinator.ports.Leases`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def acquire(self, federation: str, worker_id: str, *, ttl_seconds: float) -> int | None:
        """See the port."""
        found = self._state.federation(federation)
        lease = self._live(found)
        if lease is not None and lease.worker_id != worker_id:
            return None
        found.epoch += 1
        found.lease = self._lease(worker_id, found.epoch, ttl_seconds)
        return found.epoch

    async def renew(self, federation: str, worker_id: str, token: int, *, ttl_seconds: float) -> bool:
        """See the port."""
        found = self._state.federation(federation)
        lease = self._live(found)
        if lease is None or (lease.worker_id, lease.token) != (worker_id, token) or token != found.epoch:
            return False
        found.lease = self._lease(worker_id, token, ttl_seconds)
        return True

    async def release(self, federation: str, worker_id: str, token: int) -> None:
        """See the port."""
        found = self._state.federation(federation)
        if found.lease is not None and (found.lease.worker_id, found.lease.token) == (worker_id, token):
            found.lease = None

    async def holder(self, federation: str) -> LeaseHolder | None:
        """See the port."""
        lease = self._live(self._state.federation(federation))
        if lease is None:
            return None
        left = lease.expires_at - self._state.clock.monotonic()
        return LeaseHolder(worker_id=lease.worker_id, token=lease.token, seconds_left=left)

    def _live(self, federation: FederationState) -> Lease | None:
        lease = federation.lease
        return lease if lease is not None and self._state.clock.monotonic() < lease.expires_at else None

    def _lease(self, worker_id: str, token: int, ttl_seconds: float) -> Lease:
        expires_at = self._state.clock.monotonic() + ttl_seconds
        return Lease(worker_id=worker_id, token=token, expires_at=expires_at)
