"""Heads in memory: polls and watches are answered here, and two background tasks per process keep them fresh.

One hears of the store's announcements. Because they can be missed, the other re-reads every head that was
ever asked for every few seconds; while the store is away, answers keep coming from memory.
"""

from __future__ import annotations

import asyncio
import logging

from alignfed.errors import AlignFedError, StoreUnreachable, UnknownFederation
from coordinator.domain import Head
from coordinator.ports import Clock, Store
from coordinator.service.bounds import DrainSwitch
from coordinator.service.caches.rereading import reread_forever

logger = logging.getLogger(__name__)


class _Entry:
    """One federation's head, and the event that its next change sets."""

    def __init__(self) -> None:
        self.head: Head | None = None
        self.since = -float("inf")  # on the monotonic clock
        self.changed = asyncio.Event()
        self.reading = asyncio.Lock()  # one read at a time, so that an older answer never overwrites a newer one

    def set(self, head: Head, *, at: float) -> None:
        if head == self.head:
            return
        self.head = head
        self.since = at
        self.wake()

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class HeadCache:
    """Answers what the head is, and when it changes, without reading the store per question.

    Args:
        store: Where heads are published.
        clock: Time of the background tasks.
        drain: Long polls and watches end when it is turned and `release` is called.
        reread_seconds: How often every known head is re-read, give or take a fifth.
    """

    def __init__(self, store: Store, clock: Clock, *, drain: DrainSwitch, reread_seconds: float) -> None:
        self._store = store
        self._clock = clock
        self._drain = drain
        self._reread_seconds = reread_seconds
        self._entries: dict[str, _Entry] = {}
        self.waiting = 0  # polls and watches that wait for a change right now

    async def head(self, federation: str) -> Head:
        """Return the head from memory; reads the store the first time a federation is asked for.

        Raises:
            UnknownFederation: It does not exist.
        """
        entry = self._entries.get(federation)
        if entry is not None and entry.head is not None:
            return entry.head
        return await self._read(federation, only_if_missing=True)

    def since(self, federation: str) -> float:
        """Return since when this process knows the head it answers with, on its monotonic clock."""
        return self._entries[federation].since

    async def refresh(self, federation: str) -> Head:
        """Read the head from the store and wake whoever waits for a change."""
        return await self._read(federation, only_if_missing=False)

    async def wait_newer(self, federation: str, *, after: int | None, max_wait_seconds: float) -> Head:
        """Return the head as soon as its number is above `after`, or when the wait is over.

        Args:
            federation: Its name.
            after: The number the caller holds; None when it holds none, which is answered at once.
            max_wait_seconds: 0 to answer at once.

        Raises:
            UnknownFederation: It does not exist.
            Draining: The process shuts down.
        """
        head = await self.head(federation)
        if max_wait_seconds <= 0 or after is None or head.id.number > after:
            return head
        try:
            async with asyncio.timeout(max_wait_seconds):
                while head.id.number <= after:
                    head = await self.next_change(federation, head)
        except TimeoutError:
            pass
        return await self.head(federation)

    async def next_change(self, federation: str, last: Head) -> Head:
        """Return the head once it differs from `last`; changes in between are skipped.

        Raises:
            UnknownFederation: It does not exist.
            Draining: The process shuts down.
        """
        while True:
            self._drain.check()
            head = await self.head(federation)
            if head != last:
                return head
            self.waiting += 1
            try:
                await self._entries[federation].changed.wait()
            finally:
                self.waiting -= 1

    def release(self) -> None:
        """Wake everyone who waits, so that they notice the drain."""
        for entry in self._entries.values():
            entry.wake()

    async def catch_up(self) -> None:
        """Read every known head again.

        Raises:
            StoreUnreachable: The store does not answer; the heads known stay.
        """
        for federation in list(self._entries):
            await self._refresh_known(federation)

    async def heard(self, changed: str) -> None:
        """Read the head of a federation again that the store announced, if it is known here."""
        if changed in self._entries:
            await self._refresh_known(changed)

    async def reread(self) -> None:
        """Re-read every known head now and then, until cancelled."""
        await reread_forever(
            self.catch_up,
            self._clock,
            seconds=self._reread_seconds,
            failed="heads not re-read, answering from memory",
            logger=logger,
        )

    async def _read(self, federation: str, *, only_if_missing: bool) -> Head:
        entry = self._entries.setdefault(federation, _Entry())
        try:
            async with entry.reading:
                if entry.head is None or not only_if_missing:
                    head = await self._store.versions.head(federation)
                    entry.set(head, at=self._clock.monotonic())
        except UnknownFederation:
            self._entries.pop(federation, None)
            entry.wake()
            raise
        assert entry.head is not None
        return entry.head

    async def _refresh_known(self, federation: str) -> None:
        """Re-read one head; trouble with one federation must not keep the others from being heard of.

        Raises:
            StoreUnreachable: The trouble is everybody's.
        """
        try:
            await self.refresh(federation)
        except StoreUnreachable:
            raise
        except AlignFedError as error:
            logger.warning("head not re-read federation=%s reason=%s", federation, error.reason)
