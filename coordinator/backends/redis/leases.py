"""Leases in Redis. The server's clock ends them; correctness rests on the fencing token, not on time."""

from __future__ import annotations

from coordinator.backends.redis.calls import Calls
from coordinator.backends.redis.keys import FederationKeys
from coordinator.domain import LeaseHolder


class RedisLeases:
    """Implements `coordinator.ports.Leases`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def acquire(self, federation: str, worker_id: str, *, ttl_seconds: float) -> int | None:
        """See the port."""
        keys = FederationKeys(federation)
        status, *token = await self._calls.script(
            "acquire", [keys.federation, keys.lease], [worker_id, _milliseconds(ttl_seconds)], federation=federation
        )
        if status != "acquired":
            return None
        if self._calls.wait_replicas:  # a failover must not take the token back: the next holder would get it again
            (held,) = await self._calls.read_replicated(federation, ("GET", keys.lease))
            if held is None or held.decode() != f"{token[0]}:{worker_id}":
                return None
        return int(token[0])

    async def renew(self, federation: str, worker_id: str, token: int, *, ttl_seconds: float) -> bool:
        """See the port."""
        keys = FederationKeys(federation)
        reply = await self._calls.script(
            "renew",
            [keys.federation, keys.lease],
            [worker_id, _milliseconds(ttl_seconds), token],
            federation=federation,
        )
        return reply == ["renewed"]

    async def release(self, federation: str, worker_id: str, token: int) -> None:
        """See the port."""
        keys = FederationKeys(federation)
        await self._calls.script("release", [keys.federation, keys.lease], [worker_id, token], federation=federation)

    async def holder(self, federation: str) -> LeaseHolder | None:
        """See the port."""
        lease = FederationKeys(federation).lease
        held, milliseconds = await self._calls.read(federation, ("GET", lease), ("PTTL", lease))
        if held is None or milliseconds < 0:
            return None
        token, _, worker_id = held.decode().partition(":")
        return LeaseHolder(worker_id=worker_id, token=int(token), seconds_left=milliseconds / 1000)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
