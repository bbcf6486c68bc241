"""Agents in Redis."""

from __future__ import annotations

import dataclasses

from coordinator.backends import refusals
from coordinator.backends.redis.calls import Calls
from coordinator.backends.redis.keys import HEADS_CHANNEL, FederationKeys
from coordinator.backends.redis.records import dump_agent, load_agent
from coordinator.domain import AgentRecord, Contribution

SEEN_BATCH = 500
"""Agents per script: a few milliseconds of the server's time."""


class RedisAgents:
    """Implements `coordinator.ports.Agents`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def register(self, federation: str, agent: AgentRecord) -> AgentRecord:
        """See the port."""
        keys = FederationKeys(federation)
        _, registered_at, revoked = await self._calls.script(
            "register",
            [keys.federation, keys.agents, keys.registered, keys.last_seen, keys.revoked],
            [agent.agent_id, dump_agent(agent), repr(agent.registered_at), repr(agent.last_seen_at)],
            federation=federation,
        )
        return dataclasses.replace(agent, registered_at=float(registered_at), revoked=revoked == "1")

    async def get(self, federation: str, agent_id: str) -> AgentRecord:
        """See the port."""
        keys = FederationKeys(federation)
        capabilities, registered_at, last_seen_at, revoked = await self._calls.read(
            federation,
            ("HGET", keys.agents, agent_id),
            ("HGET", keys.registered, agent_id),
            ("HGET", keys.last_seen, agent_id),
            ("SISMEMBER", keys.revoked, agent_id),
        )
        if capabilities is None:
            raise refusals.agent_unknown(agent_id)
        return load_agent(
            agent_id, capabilities, registered_at=registered_at, last_seen_at=last_seen_at, revoked=bool(revoked)
        )

    async def seen(self, federation: str, at_by_agent: dict[str, float]) -> None:
        """See the port."""
        keys = FederationKeys(federation)
        seen = list(at_by_agent.items())
        for start in range(0, max(1, len(seen)), SEEN_BATCH):
            batch = seen[start : start + SEEN_BATCH]
            pairs = [value for agent_id, at in batch for value in (agent_id, repr(at))]
            await self._calls.script("seen", [keys.federation, keys.last_seen], pairs, federation=federation)

    async def list(self, federation: str) -> list[AgentRecord]:
        """See the port."""
        keys = FederationKeys(federation)
        agents, registered, last_seen, revoked = await self._calls.read(
            federation,
            ("HGETALL", keys.agents),
            ("HGETALL", keys.registered),
            ("HGETALL", keys.last_seen),
            ("SMEMBERS", keys.revoked),
        )
        return [
            load_agent(
                agent_id.decode(),
                capabilities,
                registered_at=registered[agent_id],
                last_seen_at=last_seen[agent_id],
                revoked=agent_id in revoked,
            )
            for agent_id, capabilities in sorted(agents.items())
        ]

    async def revoke(self, federation: str, agent_id: str) -> None:
        """See the port."""
        keys = FederationKeys(federation)
        reply = await self._calls.script(
            "revoke",
            [keys.federation, keys.agents, keys.revoked],
            [agent_id, federation, HEADS_CHANNEL],
            federation=federation,
        )
        if reply == ["agent_unknown"]:
            raise refusals.agent_unknown(agent_id)

    async def revoked(self, federation: str) -> frozenset[str]:
        """See the port."""
        (members,) = await self._calls.read(federation, ("SMEMBERS", FederationKeys(federation).revoked))
        return frozenset(member.decode() for member in members)

    async def contributions(self, federation: str) -> dict[str, Contribution]:
        """See the port."""
        keys = FederationKeys(federation)
        merged, weights, rejected = await self._calls.read(
            federation, ("HGETALL", keys.merged), ("HGETALL", keys.weights), ("HGETALL", keys.rejected)
        )
        return {
            agent_id.decode(): Contribution(
                merged=int(merged.get(agent_id, 0)),
                weight=float(weights.get(agent_id, 0)),
                rejected=int(rejected.get(agent_id, 0)),
            )
            for agent_id in merged.keys() | rejected.keys()
        }
