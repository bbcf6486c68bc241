"""Letting uploads in: a budget of memory for all, a few at a time of each agent, and who stalls gives way to who waits.

An open upload may hold one chunk in memory, half of it still on its way, for as long as its agent takes to send it. So
memory, and nothing else, bounds how many are open; the store's attention is only held while a chunk is being stored.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from alignfed.errors import AgentOverQuota, AlignFedError, UploadsBusy
from coordinator.service.bounds import within

BUSY_SECONDS = 5.0
"""Base of the hint to those that find no room; it doubles as the line fills."""
OWN_BUSY_SECONDS = 2.0
"""Base of the hint to an agent whose own uploads are in its way: a broken connection is noticed within seconds."""

AgentKey = tuple[str, str]
"""Federation and agent id."""


class UploadGate:
    """Lets uploads in, in order of arrival.

    Args:
        memory_bytes: What open uploads may hold in memory together. One upload is let in however large its chunks are.
        line: Uploads that may wait for memory.
        per_agent: Uploads of one agent that may be open or wait.
        grace_seconds: While others wait for memory, an upload whose next message takes longer than this is ended.
    """

    def __init__(self, *, memory_bytes: int, line: int, per_agent: int, grace_seconds: float) -> None:
        self._memory_bytes = memory_bytes
        self._line_room = line
        self._per_agent = per_agent
        self._grace_seconds = grace_seconds
        self._line: deque[tuple[asyncio.Future[None], int]] = deque()
        self._by_agent: Counter[AgentKey] = Counter()
        self._readers: dict[object, tuple[float, asyncio.Timeout]] = {}  # in the order in which they began to wait
        self.held_bytes = 0

    @asynccontextmanager
    async def open(self, agent: AgentKey, nbytes: int, *, wait_seconds: float) -> AsyncIterator[None]:
        """Hold `nbytes` of the memory while the body runs, waiting for them in order of arrival.

        Raises:
            AgentOverQuota: The agent has as many uploads open as it may.
            UploadsBusy: No memory became free in time, or the line is full.
        """
        if self._by_agent[agent] >= self._per_agent:
            raise AgentOverQuota(
                f"agent {agent[1]!r} has {self._per_agent} uploads open, as many as it may: finish them first; those "
                "of a broken connection end by themselves",
                retry_after_seconds=OWN_BUSY_SECONDS,
            )
        self._by_agent[agent] += 1
        try:
            await self._take(nbytes, wait_seconds)
            try:
                yield
            finally:
                self._give_back(nbytes)
        finally:
            self._by_agent[agent] -= 1
            if not self._by_agent[agent]:
                del self._by_agent[agent]

    @asynccontextmanager
    async def awaiting_message(self, seconds: float, stalled: Callable[[], AlignFedError]) -> AsyncIterator[None]:
        """Wait for an upload's next message in the body: for `seconds`, or less while others wait for its memory.

        Raises:
            AlignFedError: What `stalled` makes, when the time is over.
        """
        timer, key = asyncio.timeout(seconds), object()
        try:
            async with timer:
                self._readers[key] = (asyncio.get_running_loop().time(), timer)
                self._hurry()
                try:
                    yield
                finally:
                    del self._readers[key]
        except TimeoutError:
            if not timer.expired():
                raise
            raise stalled() from None

    async def _take(self, nbytes: int, wait_seconds: float) -> None:
        if not self._line and self._fits(nbytes):
            self.held_bytes += nbytes
            return
        if len(self._line) >= self._line_room:
            raise self._busy("as many wait in line as may")
        place = (asyncio.get_running_loop().create_future(), nbytes)
        self._line.append(place)
        self._hurry()
        try:
            async with within(wait_seconds, lambda: self._busy(f"none ended within {wait_seconds:g} s")):
                await place[0]
        except BaseException:
            if place in self._line:
                self._line.remove(place)
                self._let_in()  # a smaller one may have waited behind
            else:
                self._give_back(nbytes)  # its turn came in the same moment
            raise

    def _give_back(self, nbytes: int) -> None:
        self.held_bytes -= nbytes
        self._let_in()

    def _let_in(self) -> None:
        while self._line and self._fits(self._line[0][1]):
            turn, nbytes = self._line.popleft()
            self.held_bytes += nbytes
            if turn.done():  # cancelled in this moment; its `_take` gives the memory back
                continue
            turn.set_result(None)

    def _fits(self, nbytes: int) -> bool:
        return self.held_bytes == 0 or self.held_bytes + nbytes <= self._memory_bytes

    def _hurry(self) -> None:
        """Shorten the patience with those that have stalled longest, as many as wait in line."""
        now = asyncio.get_running_loop().time()
        for since, timer in itertools.islice(self._readers.values(), len(self._line)):
            ends_at = timer.when()
            sooner = max(now, since + self._grace_seconds)
            if not timer.expired() and (ends_at is None or sooner < ends_at):
                timer.reschedule(sooner)

    def _busy(self, why: str) -> UploadsBusy:
        fullness = len(self._line) / max(self._line_room, 1)
        return UploadsBusy(
            f"uploads hold all of the coordinator's memory for them ({self._memory_bytes} bytes) and {why}: "
            "try again after the given delay",
            retry_after_seconds=BUSY_SECONDS * (1 + fullness),
        )
