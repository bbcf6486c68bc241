"""Port: which worker may merge."""

from __future__ import annotations

from typing import Protocol

from coordinator.domain import LeaseHolder


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

    async def holder(self, federation: str) -> LeaseHolder | None:
        """Return who holds the lease now, or None when nobody does. For people only: it may change at once."""
        ...
