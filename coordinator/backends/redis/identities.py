"""Identities in Redis."""

from __future__ import annotations

from coordinator.backends.redis.calls import Calls, unexpected
from coordinator.backends.redis.keys import HEADS_CHANNEL, IdentityKeys, grant_key
from coordinator.backends.redis.records import build, dump, load
from coordinator.domain import JoinGrant, JoinGrantState, Redemption, to_json
from coordinator.ports.feed import IDENTITIES_CHANGED


class RedisIdentities:
    """Implements `coordinator.ports.Identities`.

    A grant is a hash that expires by itself: its record, the uses left, and the agents that have joined with it. The
    other keys stay: agent ids by key, and who is revoked.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def grant(self, grant: JoinGrant) -> None:
        """See the port."""
        await self._calls.script(
            "grant",
            [grant_key(grant.token_id), IdentityKeys.grants],
            [grant.token_id, dump(to_json(grant)), grant.uses, round(1000 * grant.expires_at)],
            federation="",
        )

    async def granted(self, token_id: str) -> JoinGrant | None:
        """See the port."""
        record = await self._calls.command("HGET", grant_key(token_id), "record")
        return None if record is None else build(JoinGrant, load(record))

    async def grants(self) -> list[JoinGrantState]:
        """See the port."""
        names = sorted(name.decode() for name in await self._calls.command("SMEMBERS", IdentityKeys.grants))
        if not names:
            return []
        found = await self._calls.batch("grants", [("HMGET", grant_key(name), "record", "left") for name in names])
        gone = [name for name, (record, _) in zip(names, found, strict=True) if record is None]
        if gone:  # expired: their names are all that is left
            await self._calls.command("SREM", IdentityKeys.grants, *gone)
        states = [
            JoinGrantState(grant=build(JoinGrant, load(record)), uses_left=int(left))
            for record, left in found
            if record is not None
        ]
        return sorted(states, key=lambda state: (state.grant.created_at, state.grant.token_id))

    async def withdraw(self, token_id: str) -> None:
        """See the port."""
        await self._calls.command("DEL", grant_key(token_id))
        await self._calls.command("SREM", IdentityKeys.grants, token_id)

    async def redeem(self, grant: JoinGrant, agent_id: str, key_sha256: str) -> Redemption:
        """See the port."""
        (outcome,) = await self._calls.script(
            "redeem",
            [grant_key(grant.token_id), IdentityKeys.agents, IdentityKeys.revoked],
            [agent_id, key_sha256, int(grant.names_one), HEADS_CHANNEL, IDENTITIES_CHANGED],
            federation="",
        )
        try:
            return Redemption(outcome)
        except ValueError:
            raise unexpected("redeem", outcome) from None

    async def revoke(self, principal: str) -> None:
        """See the port."""
        await self._calls.command("SADD", IdentityKeys.revoked, principal)
        await self._calls.command("PUBLISH", HEADS_CHANNEL, IDENTITIES_CHANGED)

    async def revoked(self) -> frozenset[str]:
        """See the port."""
        return frozenset(name.decode() for name in await self._calls.command("SMEMBERS", IdentityKeys.revoked))
