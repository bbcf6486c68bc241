"""Port: who was let in, and who is shut out, in all federations."""

from __future__ import annotations

from typing import Protocol

from coordinator.domain import JoinGrant, JoinGrantState, Redemption


class Identities(Protocol):
    """Join grants, the key that each agent joined with, and revocations. Belongs to no federation."""

    async def grant(self, grant: JoinGrant) -> None:
        """Keep a join grant until it expires. Idempotent."""
        ...

    async def granted(self, token_id: str) -> JoinGrant | None:
        """Return a grant; None when there is none, or it has expired."""
        ...

    async def grants(self) -> list[JoinGrantState]:
        """Return the grants that have not expired, oldest first."""
        ...

    async def withdraw(self, token_id: str) -> None:
        """Forget a grant; agents that joined with it stay. Idempotent."""
        ...

    async def redeem(self, grant: JoinGrant, agent_id: str, key_sha256: str) -> Redemption:
        """Use a grant for an agent and its key, atomically, and bind the agent's id to that key.

        The same agent with the same key is granted again, without another use: an answer may have been lost. A grant
        that names one agent binds its id to the new key and revokes the old one, as `revoke` would with `key:SHA256`.
        """
        ...

    async def revoke(self, principal: str) -> None:
        """Shut out `agent:ID`, `operator:NAME` or `key:SHA256`, for good, and announce it to all. Idempotent."""
        ...

    async def revoked(self) -> frozenset[str]:
        """Return every principal that is shut out."""
        ...
