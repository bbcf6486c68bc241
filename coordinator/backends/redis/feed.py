"""The feed of new heads in Redis: one pub/sub channel."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError

from coordinator.backends.redis.connect import Connections
from coordinator.backends.redis.keys import HEADS_CHANNEL
from coordinator.backends.redis.translation import translated

PING_SECONDS = 15.0
"""Silence after which the server is asked whether it is still there; a second such silence is a lost connection."""


class RedisFeed:
    """Implements `coordinator.ports.HeadFeed`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[AsyncIterator[str]]:
        """See the port."""
        client = self._connections.open_feed_client()
        try:
            pubsub = client.pubsub()
            try:
                with translated():
                    await pubsub.subscribe(HEADS_CHANNEL)
                    await pubsub.get_message(timeout=PING_SECONDS)  # the confirmation: from here on nothing is missed
                async with aclosing(_changes(pubsub)) as changes:
                    yield changes
            finally:
                await pubsub.aclose()  # type: ignore[no-untyped-call]
        finally:
            await client.aclose()


async def _changes(pubsub: PubSub) -> AsyncGenerator[str, None]:
    asked = False
    while True:
        with translated():
            message = await pubsub.get_message(timeout=PING_SECONDS)
            if message is None and asked:
                raise RedisConnectionError("no answer to a ping")
            if message is None:
                await pubsub.ping()
        asked = message is None
        if message is not None and message["type"] == "message":
            yield message["data"].decode()
