"""The one way to the server: commands, batches of reads and scripts, with retries and translated errors."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import NoScriptError, ResponseError

from alignfed.errors import StoreCorrupt, StoreUnreachable
from coordinator.backends import refusals
from coordinator.backends.redis.keys import REPLICATED_CHANNEL, FederationKeys
from coordinator.backends.redis.scripts import load_scripts
from coordinator.backends.redis.translation import may_pass, translated

T = TypeVar("T")

Argument = str | bytes | int | float
ClientT = Redis | RedisCluster
Observer = Callable[[str, float], None]
"""Told the name of each command or script and how many seconds it took, retries included."""

MAX_IN_FLIGHT = 64
"""Commands sent at once; more wait their turn, so that a burst of uploads does not open a thousand connections."""

RETRY_SECONDS = 2.0
"""How long a repeatable call is tried again: bridges a restart or a dropped connection, not an outage."""

FIRST_DELAY_SECONDS = 0.02

REPLICATION_SECONDS = 1.0
"""How long replicas may take to have what was read; on one network they take a millisecond."""


class Calls:
    """Sends commands. redis-py's own retries are off, because it would also repeat what must not be repeated.

    Args:
        client: Connected to a single server, a Sentinel-managed one, or a Cluster.
        wait_replicas: How many replicas must have what `read_replicated` returns.
        observe: Told how long each call took; for metrics.
    """

    def __init__(self, client: ClientT, *, wait_replicas: int = 0, observe: Observer | None = None) -> None:
        self.client = client
        self.wait_replicas = wait_replicas
        self._scripts = load_scripts()
        self._observe = observe
        self._in_flight = asyncio.Semaphore(MAX_IN_FLIGHT)

    async def command(self, name: str, *args: Argument, **options: Any) -> Any:
        """Run one repeatable command. Strings come back as bytes."""
        return await self._call(name, lambda: self.client.execute_command(name, *args, **options))

    async def batch(self, name: str, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Run repeatable commands in one round trip (one per node of a Cluster); not atomic."""

        async def run() -> list[Any]:
            pipeline = self.client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            results: list[Any] = await pipeline.execute()
            return results

        return await self._call(name, run)

    async def read(self, federation: str, *commands: Sequence[Argument]) -> list[Any]:
        """Run reads of one federation's keys in one round trip.

        Raises:
            UnknownFederation: It does not exist.
        """
        exists, *results = await self.batch("read", [("EXISTS", FederationKeys(federation).federation), *commands])
        if not exists:
            raise refusals.federation_unknown(federation)
        return results

    async def read_replicated(self, federation: str, *commands: Sequence[Argument]) -> list[Any]:
        """Run reads as `read` does, and return what they found once `wait_replicas` replicas have it too.

        Everything goes over one connection. WAIT waits for what its connection has written, in Valkey not for what it
        has read: so something is written in between, a message that nobody listens to.

        Raises:
            StoreUnreachable: They do not have it in time, or this server is no primary any more.
            UnknownFederation: The federation does not exist.
        """
        if self.wait_replicas == 0:
            return await self.read(federation, *commands)
        wait = ("WAIT", self.wait_replicas, round(1000 * REPLICATION_SECONDS))
        try:
            *results, _, replicas = await self.batch(
                "read_replicated",
                [
                    ("EXISTS", FederationKeys(federation).federation),
                    *commands,
                    ("PUBLISH", REPLICATED_CHANNEL, ""),
                    wait,
                ],
            )
        except StoreCorrupt as error:
            if isinstance(error.__cause__, ResponseError) and "WAIT" in str(error.__cause__):  # it is a replica by now
                raise StoreUnreachable(f"the store fails over: {error.__cause__}") from error
            raise
        if replicas < self.wait_replicas:
            raise StoreUnreachable(
                f"{replicas} of {self.wait_replicas} replicas have what the store's primary holds: see that they run "
                "and follow it, or lower wait_replicas in the store URL"
            )
        exists, *found = results
        if not exists:
            raise refusals.federation_unknown(federation)
        return found

    async def script(
        self, name: str, keys: Sequence[str], args: Sequence[Argument], *, federation: str, repeatable: bool = True
    ) -> list[Any]:
        """Run a script of one federation and return its reply, decoded.

        Raises:
            UnknownFederation: It does not exist, says the script.
        """
        script = self._scripts[name]

        async def run() -> Any:
            try:
                return await self.client.evalsha(script.sha, len(keys), *keys, *args)
            except NoScriptError:  # the cache is volatile: a restart or failover empties it
                return await self.client.eval(script.text, len(keys), *keys, *args)

        reply: list[Any] = decoded(await self._call(name, run, repeatable=repeatable))
        if reply[:1] == ["federation_unknown"]:
            raise refusals.federation_unknown(federation)
        return reply

    async def _call(self, name: str, run: Callable[[], Awaitable[T]], *, repeatable: bool = True) -> T:
        clock = asyncio.get_running_loop().time
        started = clock()
        delay = FIRST_DELAY_SECONDS
        try:
            while True:
                try:
                    async with self._in_flight:
                        with translated():
                            return await run()
                except StoreUnreachable as error:
                    await self._look_for_primary()
                    if not repeatable or not may_pass(error) or clock() - started + delay > RETRY_SECONDS:
                        raise
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 (spreads retries, keeps no secret)
                delay *= 2
        finally:
            if self._observe is not None:
                self._observe(name, clock() - started)

    async def _look_for_primary(self) -> None:
        """Drop idle connections that lead where Sentinels once sent us.

        A primary that its replicas have left goes on answering: it refuses writes, which breaks no connection, and
        without this we would stay with it for as long as it is cut off. New connections ask the Sentinels again.
        """
        pool = getattr(self.client, "connection_pool", None)
        if isinstance(pool, SentinelConnectionPool):
            await pool.disconnect(inuse_connections=False)


def decoded(reply: Any) -> Any:
    """Return a reply with its bytes, at any depth, as text."""
    if isinstance(reply, bytes):
        return reply.decode()
    return [decoded(item) for item in reply] if isinstance(reply, list) else reply


def unexpected(script: str, reply: object) -> StoreCorrupt:
    """Return the error for a reply that the script never gives."""
    return StoreCorrupt(f"script {script} replied {reply!r}: coordinator and worker must run the same AlignFed version")
