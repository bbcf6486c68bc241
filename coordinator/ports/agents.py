"""Port: who takes part, and what came of it."""

from __future__ import annotations

from typing import Protocol

from coordinator.domain import AgentRecord, Contribution


class Agents(Protocol):
    """Who takes part, and what came of it. Contributions are written by commits and rejections, never here."""

    async def register(self, federation: str, agent: AgentRecord) -> AgentRecord:
        """Add the agent or refresh its capabilities; keeps `registered_at` and `revoked` of an earlier registration.

        Returns:
            The record as stored. Idempotent.
        """
        ...

    async def get(self, federation: str, agent_id: str) -> AgentRecord:
        """Return one agent.

        Raises:
            UnknownAgent: It never registered.
        """
        ...

    async def seen(self, federation: str, at_by_agent: dict[str, float]) -> None:
        """Record when agents last called; unknown agents are ignored, and no time goes back.

        Idempotent; losing it costs nothing.
        """
        ...

    async def list(self, federation: str) -> list[AgentRecord]:
        """Return every agent, sorted by id."""
        ...

    async def revoke(self, federation: str, agent_id: str) -> None:
        """Mark an agent as revoked, for good, and announce the federation. Idempotent.

        Raises:
            UnknownAgent: It never registered.
        """
        ...

    async def revoked(self, federation: str) -> frozenset[str]:
        """Return the ids of the agents that are revoked."""
        ...

    async def contributions(self, federation: str) -> dict[str, Contribution]:
        """Return what each agent has contributed; agents without any are absent."""
        ...
