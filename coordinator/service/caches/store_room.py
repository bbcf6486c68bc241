"""Whether the store has room for uploads: its memory as last read, and what was stored since.

A part of the store is kept free of uploads. A merge frees more than it takes, but it takes first: with a store full of
deltas, no version could be stored, so nothing would be merged, and nothing would ever be freed.
"""

from __future__ import annotations

import logging

from alignfed.errors import AlignFedError, StoreFull
from coordinator.domain import StoreMemory
from coordinator.ports import Clock, Store
from coordinator.service.caches.rereading import reread_forever

logger = logging.getLogger(__name__)

RETRY_SECONDS = 15.0
"""Base of the hint: some merges later the store has let go of some deltas."""


class StoreRoom:
    """Answers whether uploads may fill the store further, without asking it.

    Args:
        store: Says how full it is.
        clock: Time.
        reserve_ratio: Share of the store's memory that uploads leave free. A store without a limit has room.
        reread_seconds: How often its memory is read, give or take a fifth.
    """

    def __init__(self, store: Store, clock: Clock, *, reserve_ratio: float, reread_seconds: float) -> None:
        self._store = store
        self._clock = clock
        self._reserve_ratio = reserve_ratio
        self._reread_seconds = reread_seconds
        self._memory = StoreMemory(used_bytes=0, limit_bytes=0)
        self._stored_since_bytes = 0

    def check(self) -> None:
        """Let an upload begin.

        Raises:
            StoreFull: The store is full up to what is kept free for merging.
        """
        used_bytes, limit_bytes = self._memory.used_bytes + self._stored_since_bytes, self._memory.limit_bytes
        if limit_bytes and used_bytes > limit_bytes * (1 - self._reserve_ratio):
            raise StoreFull(
                f"the store uses {used_bytes} of its {limit_bytes} bytes, and the rest is kept for merging: send the "
                "delta again later; operators should give it more memory, or merge and sweep sooner",
                retry_after_seconds=RETRY_SECONDS,
            )

    def stored(self, nbytes: int) -> None:
        """Note bytes that an upload has just stored."""
        if self._memory.holds_payloads:
            self._stored_since_bytes += nbytes

    async def refresh(self) -> None:
        """Read the store's memory; while it is away, what was read last holds."""
        counted_bytes = self._stored_since_bytes
        try:
            self._memory = await self._store.memory()
            self._stored_since_bytes -= counted_bytes  # what came while it answered may not be in its answer
        except AlignFedError as error:
            logger.debug("the store's memory is not read reason=%s", error.reason)

    async def reread(self) -> None:
        """Read it now and then, until cancelled."""
        await reread_forever(
            self.refresh,
            self._clock,
            seconds=self._reread_seconds,
            failed="the store's memory is not read",
            logger=logger,
        )
