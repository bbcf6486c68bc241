"""Following the store's announcements for as long as a process lives, whatever happens to the connection."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from alignfed.errors import AlignFedError
from coordinator.ports import Clock, HeadFeed
from coordinator.service.caches.rereading import jittered

logger = logging.getLogger(__name__)

FIRST_BACKOFF_SECONDS = 0.2
LONGEST_BACKOFF_SECONDS = 10.0


class Listener(Protocol):
    """Keeps in memory what announcements are about."""

    async def catch_up(self) -> None:
        """Read everything again: announcements may have been missed."""
        ...

    async def heard(self, changed: str) -> None:
        """Read again what an announcement names; see `coordinator.ports.HeadFeed`."""
        ...


async def listen_forever(feed: HeadFeed, clock: Clock, listeners: Sequence[Listener]) -> None:
    """Pass on every announcement, until cancelled; a failure ends the subscription, and another one follows.

    Args:
        feed: What announces.
        clock: Time between tries to subscribe.
        listeners: Catch up after every subscription, and hear of every announcement.
    """
    backoff_seconds = FIRST_BACKOFF_SECONDS
    while True:
        try:
            async with feed.subscribe() as announced:
                for listener in listeners:
                    await listener.catch_up()
                backoff_seconds = FIRST_BACKOFF_SECONDS
                async for changed in announced:
                    for listener in listeners:
                        await listener.heard(changed)
            logger.warning("feed ended: subscribing again")
        except AlignFedError as error:
            logger.warning("feed broken reason=%s retry_seconds=%.1f", error.reason, backoff_seconds)
        except Exception:
            logger.exception("feed failed retry_seconds=%.1f", backoff_seconds)
        await clock.sleep(jittered(backoff_seconds))
        backoff_seconds = min(backoff_seconds * 2, LONGEST_BACKOFF_SECONDS)
