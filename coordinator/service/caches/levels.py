"""How full queues are, from memory: polls are told without reading the store, one background task keeps it fresh."""

from __future__ import annotations

import logging
from collections import deque

from alignfed.errors import AlignFedError
from coordinator.ports import Clock, Deltas
from coordinator.service.caches.heads import HeadCache
from coordinator.service.caches.plans import Plans
from coordinator.service.caches.rereading import reread_forever
from coordinator.service.pace import Level

logger = logging.getLogger(__name__)

ASKED_FOR_SECONDS = 300.0
"""A queue that nobody asked for in this time is not read any more."""
WINDOW_SECONDS = 120.0
"""The pace of merging is that of the last two minutes."""


class _Queue:
    """What was seen of one queue: its depth, and the head's number over time."""

    def __init__(self) -> None:
        self.queued = 0
        self.asked_at = -float("inf")
        self.heads: deque[tuple[float, int]] = deque()

    def see(self, number: int, *, at: float) -> None:
        self.heads.append((at, number))
        while self.heads[0][0] < at - WINDOW_SECONDS:
            self.heads.popleft()

    @property
    def versions_per_second(self) -> float | None:
        (first_at, first), (last_at, last) = self.heads[0], self.heads[-1]
        return (last - first) / (last_at - first_at) if last > first and last_at > first_at else None


class QueueLevels:
    """Remembers how full each queue is that was asked for lately.

    Args:
        deltas: Where depths are read.
        plans: Say how many deltas make a merge.
        heads: Say how fast versions follow each other.
        clock: Time.
        reread_seconds: How often depths are read, give or take a fifth.
    """

    def __init__(self, deltas: Deltas, plans: Plans, heads: HeadCache, clock: Clock, *, reread_seconds: float) -> None:
        self._deltas = deltas
        self._plans = plans
        self._heads = heads
        self._clock = clock
        self._reread_seconds = reread_seconds
        self._queues: dict[str, _Queue] = {}

    async def level(self, federation: str) -> Level:
        """Return what is known of the queue of a federation, which exists; an empty one is assumed at first."""
        queue = self._queues.setdefault(federation, _Queue())
        queue.asked_at = self._clock.monotonic()
        if not queue.heads:
            return Level(queued=queue.queued)
        pace, known = queue.versions_per_second, await self._plans.get(federation)
        return Level(queued=queue.queued, merged_per_second=pace and pace * known.plan.buffer.size)

    def note(self, federation: str, queued: int) -> None:
        """Remember a depth that was just read."""
        queue = self._queues.setdefault(federation, _Queue())
        queue.queued, queue.asked_at = queued, self._clock.monotonic()

    async def refresh(self) -> None:
        """Read the depth of every known queue."""
        forgotten_before = self._clock.monotonic() - ASKED_FOR_SECONDS
        self._queues = {name: queue for name, queue in self._queues.items() if queue.asked_at >= forgotten_before}
        for federation, queue in list(self._queues.items()):
            try:
                queue.queued = (await self._deltas.depth(federation)).queued
                queue.see((await self._heads.head(federation)).id.number, at=self._clock.monotonic())
            except AlignFedError as error:
                logger.debug("depth of a queue not read federation=%s reason=%s", federation, error.reason)

    async def reread(self) -> None:
        """Read depths now and then, until cancelled."""
        await reread_forever(
            self.refresh,
            self._clock,
            seconds=self._reread_seconds,
            failed="depths of queues not read",
            logger=logger,
        )
