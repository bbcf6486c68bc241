"""Holding a federation's lease while leading it: renewed in the background, noticed when lost, given up at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from alignfed.errors import Unavailable
from coordinator.ports import Clock, Leases

log = logging.getLogger(__name__)

LEASE_TTL_SECONDS = 15.0
"""How long a worker that died keeps others from merging."""

RENEWALS_PER_TTL = 3
"""Two renewals may fail before the lease runs out."""


class HeldLease:
    """A lease this worker holds: `token` fences its commits, `lost` is set once it may not be held any more."""

    def __init__(self, token: int) -> None:
        self.token = token
        self.lost = asyncio.Event()


@contextlib.asynccontextmanager
async def hold_lease(
    leases: Leases, clock: Clock, federation: str, worker_id: str, *, ttl_seconds: float = LEASE_TTL_SECONDS
) -> AsyncIterator[HeldLease | None]:
    """Try to take the lease; yield None when another worker holds it.

    Losing the lease only stops this worker from starting new work: what it commits afterwards is fenced by the store.
    """
    token = await leases.acquire(federation, worker_id, ttl_seconds=ttl_seconds)
    if token is None:
        yield None
        return
    lease = HeldLease(token)
    renewal = asyncio.create_task(_renew(leases, clock, federation, worker_id, lease, ttl_seconds=ttl_seconds))
    try:
        yield lease
    finally:
        renewal.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await renewal
        with contextlib.suppress(Unavailable):  # it runs out by itself
            await leases.release(federation, worker_id, token)


async def _renew(
    leases: Leases, clock: Clock, federation: str, worker_id: str, lease: HeldLease, *, ttl_seconds: float
) -> None:
    valid_until = clock.monotonic() + ttl_seconds
    while not lease.lost.is_set():
        await clock.sleep(ttl_seconds / RENEWALS_PER_TTL)
        asked_at = clock.monotonic()
        try:
            held = await leases.renew(federation, worker_id, lease.token, ttl_seconds=ttl_seconds)
        except Unavailable as error:
            log.warning("lease of %s not renewed: %s", federation, error)
            held = asked_at < valid_until
        else:
            valid_until = asked_at + ttl_seconds
        if not held:
            log.warning("lease of %s lost by %s (token %d)", federation, worker_id, lease.token)
            lease.lost.set()
