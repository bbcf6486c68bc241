"""Port: new heads and revocations, as they happen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

IDENTITIES_CHANGED = "*"
"""What is announced when `Identities` changed; no federation can be called so."""


class HeadFeed(Protocol):
    """Tells a process where something changed that others must know at once."""

    def subscribe(self) -> AbstractAsyncContextManager[AsyncIterator[str]]:
        """Yield the name of each federation whose head, pause state or revoked agents changed, as it happens.

        A change of `Identities` yields `IDENTITIES_CHANGED`.

        May miss changes while the store is away: readers also re-read now and then. The iterator raises
        `StoreUnreachable` when the connection is lost.
        """
        ...
