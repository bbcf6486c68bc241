"""Reading the store again and again in the background, out of step with other processes."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable

from alignfed.errors import AlignFedError
from coordinator.ports import Clock


async def reread_forever(
    refresh: Callable[[], Awaitable[None]], clock: Clock, *, seconds: float, failed: str, logger: logging.Logger
) -> None:
    """Read at once and then now and then, until cancelled; a read that fails is logged, and does not end it.

    Args:
        refresh: Reads.
        clock: Time between reads.
        seconds: How long that is, give or take a fifth.
        failed: What is logged when a read failed.
        logger: Where.
    """
    while True:
        try:
            await refresh()
        except AlignFedError as error:
            logger.warning("%s reason=%s", failed, error.reason)
        except Exception:
            logger.exception(failed)
        await clock.sleep(jittered(seconds))


def jittered(seconds: float) -> float:
    """Return `seconds` give or take a fifth, so that processes do not read in step."""
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards nothing
