"""Opens a store at the start of a process: patient with one that is still starting, strict with one that is unsafe."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from alignfed.errors import StoreUnreachable
from coordinator.backends.failing import failing_if_armed
from coordinator.backends.redis.calls import Observer
from coordinator.backends.urls import open_store, redact_url
from coordinator.clock import SystemClock
from coordinator.ports import Clock, Store

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 30.0
"""How long a starting process waits for a starting store: longer than a large append-only file takes to load."""

_RETRY_SECONDS = 0.5


@asynccontextmanager
async def opened_store(
    url: str, *, blob_url: str = "", patience_seconds: float = PATIENCE_SECONDS, observe: Observer | None = None
) -> AsyncIterator[Store]:
    """Yield the checked store behind `url` and close it afterwards.

    Args:
        url: See `coordinator.backends.urls.open_store`.
        blob_url: Where its payloads are kept; empty for in the store.
        patience_seconds: How long to wait for it to answer.
        observe: Told the name and the seconds of every call to the server; for metrics.

    Raises:
        StoreUnreachable: It did not answer in time.
        StoreUnsafe: It answers and could lose deltas.
        RequestInvalid: A URL cannot be used.
    """
    store = failing_if_armed(open_store(url, blob_url=blob_url, observe=observe))
    try:
        await wait_until_answers(store, url, patience_seconds=patience_seconds, clock=SystemClock())
        yield store
    finally:
        await store.close()


async def wait_until_answers(store: Store, url: str, *, patience_seconds: float, clock: Clock) -> None:
    """Check the store, trying again while it does not answer.

    Raises:
        StoreUnreachable: Patience is over; the message names the URL without its password, and what to do.
        StoreUnsafe: The store answers and could lose deltas.
    """
    give_up_at = clock.monotonic() + patience_seconds
    while True:
        try:
            return await store.check()
        except StoreUnreachable as error:
            if clock.monotonic() + _RETRY_SECONDS > give_up_at:
                raise StoreUnreachable(
                    f"the store at {redact_url(url)} did not answer within {patience_seconds:g} s ({error.message}): "
                    "start it, or correct the store URL"
                ) from error
            log.warning("store at %s does not answer yet", redact_url(url))
        await clock.sleep(_RETRY_SECONDS)
