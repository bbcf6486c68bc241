"""Identities in memory."""

from __future__ import annotations

from coordinator.backends.memory.state import MemoryState
from coordinator.domain import JoinGrant, JoinGrantState, Redemption
from coordinator.ports.feed import IDENTITIES_CHANGED


class MemoryIdentities:
    """Implements `coordinator.ports.Identities`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state
        self._grants: dict[str, JoinGrant] = {}
        self._joined: dict[str, set[tuple[str, str]]] = {}
        self._keys: dict[str, str] = {}
        self._revoked: set[str] = set()

    async def grant(self, grant: JoinGrant) -> None:
        """See the port."""
        self._grants.setdefault(grant.token_id, grant)
        self._joined.setdefault(grant.token_id, set())

    async def granted(self, token_id: str) -> JoinGrant | None:
        """See the port."""
        grant = self._grants.get(token_id)
        return grant if grant is not None and grant.expires_at > self._state.clock.now() else None

    async def grants(self) -> list[JoinGrantState]:
        """See the port."""
        live = [grant for name in self._grants if (grant := await self.granted(name)) is not None]
        return [
            JoinGrantState(grant=grant, uses_left=grant.uses - len(self._joined[grant.token_id]))
            for grant in sorted(live, key=lambda grant: (grant.created_at, grant.token_id))
        ]

    async def withdraw(self, token_id: str) -> None:
        """See the port."""
        self._grants.pop(token_id, None)
        self._joined.pop(token_id, None)

    async def redeem(self, grant: JoinGrant, agent_id: str, key_sha256: str) -> Redemption:
        """See the port."""
        if await self.granted(grant.token_id) is None:
            return Redemption.UNKNOWN
        joined, holder = self._joined[grant.token_id], self._keys.get(agent_id)
        if (agent_id, key_sha256) in joined and holder == key_sha256:
            return Redemption.GRANTED
        if holder not in (None, key_sha256) and not grant.names_one:
            return Redemption.TAKEN
        if len(joined) >= grant.uses:
            return Redemption.SPENT
        joined.add((agent_id, key_sha256))
        self._keys[agent_id] = key_sha256
        if holder not in (None, key_sha256):
            await self.revoke(f"key:{holder}")
        return Redemption.GRANTED

    async def revoke(self, principal: str) -> None:
        """See the port."""
        self._revoked.add(principal)
        self._state.announce(IDENTITIES_CHANGED)

    async def revoked(self) -> frozenset[str]:
        """See the port."""
        return frozenset(self._revoked)
