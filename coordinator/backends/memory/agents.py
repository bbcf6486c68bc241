"""Agents in memory."""

from __future__ import annotations

import dataclasses

from coordinator.backends import refusals
from coordinator.backends.memory.state import MemoryState
from coordinator.domain import AgentRecord, Contribution


class MemoryAgents:
    """Implements `coordinator.ports.Agents`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def register(self, federation: str, agent: AgentRecord) -> AgentRecord:
        """See the port."""
        agents = self._state.federation(federation).agents
        earlier = agents.get(agent.agent_id)
        if earlier is not None:
            agent = dataclasses.replace(agent, registered_at=earlier.registered_at, revoked=earlier.revoked)
        agents[agent.agent_id] = agent
        return agent

    async def get(self, federation: str, agent_id: str) -> AgentRecord:
        """See the port."""
        found = self._state.federation(federation).agents.get(agent_id)
        if found is None:
            raise refusals.agent_unknown(agent_id)
        return found

    async def seen(self, federation: str, at_by_agent: dict[str, float]) -> None:
        """See the port."""
        agents = self._state.federation(federation).agents
        for agent_id, at in at_by_agent.items():
            if agent_id in agents:
                agent = agents[agent_id]
                agents[agent_id] = dataclasses.replace(agent, last_seen_at=max(at, agent.last_seen_at))

    async def list(self, federation: str) -> list[AgentRecord]:
        """See the port."""
        agents = self._state.federation(federation).agents
        return [agents[agent_id] for agent_id in sorted(agents)]

    async def revoke(self, federation: str, agent_id: str) -> None:
        """See the port."""
        agent = await self.get(federation, agent_id)
        self._state.federation(federation).agents[agent_id] = dataclasses.replace(agent, revoked=True)
        self._state.announce(federation)

    async def revoked(self, federation: str) -> frozenset[str]:
        """See the port."""
        agents = self._state.federation(federation).agents
        return frozenset(agent_id for agent_id, agent in agents.items() if agent.revoked)

    async def contributions(self, federation: str) -> dict[str, Contribution]:
        """See the port."""
        return dict(self._state.federation(federation).contributions)
