"""Port: new heads, as they happen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class HeadFeed(Protocol):
    """Tells a process which federations have a new head."""

    def subscribe(self) -> AbstractAsyncContextManager[AsyncIterator[str]]:
        """Yield the name of each federation whose head or pause state changed, as it happens.

        May miss changes while the store is away: readers also re-read now and then. The iterator raises
        `StoreUnreachable` when the connection is lost.
        """
        ...
