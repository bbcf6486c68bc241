"""Every test that opens a Redis store ends with the leak check, before the store is closed and its server gone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from redis.exceptions import RedisError

from alignfed.errors import AlignFedError
from coordinator.backends.redis.store import RedisStore
from tests.support.owners import unowned

CHECK_SECONDS = 5.0
"""A server that takes longer is frozen or gone, on purpose: there is nothing to look at."""


@contextmanager
def leaks_noted(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Yield the keys that nothing owned when a Redis store of this process was closed, as they are found."""
    found: set[str] = set()
    close = RedisStore.close
    closing: set[int] = set()

    async def checked_close(store: RedisStore) -> None:
        if id(store) not in closing:
            closing.add(id(store))
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    found.update(await unowned(store))
            except (AlignFedError, RedisError, OSError, RuntimeError, TimeoutError):
                pass  # the server is away: what the test is about, or it ended before its store was closed
            finally:
                closing.discard(id(store))
        await close(store)

    monkeypatch.setattr(RedisStore, "close", checked_close)
    yield found
