"""Who may call: checked agents in memory for a short while, so that polls do not read the store."""

from __future__ import annotations

from collections import OrderedDict

from alignfed.errors import StoreUnreachable, UnknownAgent
from alignfed.plan import AGENT_ID
from coordinator.backends import refusals
from coordinator.domain import AgentRecord
from coordinator.ports import Agents, Clock

CAPACITY = 100_000  # records of a few hundred bytes: some tens of MB at most


class Roster:
    """Admits registered agents.

    Args:
        agents: The store's agents.
        clock: Time.
        lifetime_seconds: How long a record is trusted without asking the store again.
    """

    def __init__(self, agents: Agents, clock: Clock, *, lifetime_seconds: float) -> None:
        self._agents = agents
        self._clock = clock
        self._lifetime_seconds = lifetime_seconds
        self._records: OrderedDict[tuple[str, str], tuple[AgentRecord, float]] = OrderedDict()

    async def admit(self, federation: str, agent_id: str) -> AgentRecord:
        """Return the agent's record; while the store is away, the last one known.

        Raises:
            UnknownAgent: It never registered.
            AgentRevoked: An operator has revoked it.
        """
        record = self._fresh(federation, agent_id) or await self._read(federation, agent_id)
        if record.revoked:
            raise refusals.agent_revoked(agent_id)
        return record

    def put(self, federation: str, record: AgentRecord) -> None:
        """Remember a record that was just read or written."""
        key = (federation, record.agent_id)
        self._records[key] = (record, self._clock.monotonic() + self._lifetime_seconds)
        self._records.move_to_end(key)
        if len(self._records) > CAPACITY:
            self._records.popitem(last=False)

    def forget(self, federation: str, agent_id: str) -> None:
        """Ask the store again the next time."""
        self._records.pop((federation, agent_id), None)

    def _fresh(self, federation: str, agent_id: str) -> AgentRecord | None:
        record, expires_at = self._records.get((federation, agent_id), (None, 0.0))
        return record if self._clock.monotonic() < expires_at else None

    async def _read(self, federation: str, agent_id: str) -> AgentRecord:
        if not AGENT_ID.fullmatch(agent_id):
            raise refusals.agent_unknown(agent_id)
        try:
            record = await self._agents.get(federation, agent_id)
        except StoreUnreachable:
            stale, _ = self._records.get((federation, agent_id), (None, 0.0))
            if stale is None:
                raise
            return stale
        except UnknownAgent:
            self.forget(federation, agent_id)
            raise
        self.put(federation, record)
        return record
