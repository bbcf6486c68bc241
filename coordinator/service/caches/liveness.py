"""When agents last called: gathered in memory and written every few seconds, never per call."""

from __future__ import annotations

import logging

from alignfed.errors import AlignFedError
from coordinator.ports import Agents, Clock

logger = logging.getLogger(__name__)


class Liveness:
    """Writes last-seen times in batches. Losing a batch costs nothing but freshness.

    Args:
        agents: The store's agents.
        clock: Time.
        flush_seconds: How often batches are written.
    """

    def __init__(self, agents: Agents, clock: Clock, *, flush_seconds: float) -> None:
        self._agents = agents
        self._clock = clock
        self._flush_seconds = flush_seconds
        self._seen: dict[str, dict[str, float]] = {}

    def note(self, federation: str, agent_id: str) -> None:
        """Note that an agent called just now; both must exist."""
        self._seen.setdefault(federation, {})[agent_id] = self._clock.now()

    async def run(self) -> None:
        """Write batches until cancelled."""
        while True:
            await self._clock.sleep(self._flush_seconds)
            await self.flush()

    async def flush(self) -> None:
        """Write what was noted since the last time; what the store refuses waits for the next time."""
        batches, self._seen = self._seen, {}
        for federation, at_by_agent in batches.items():
            try:
                await self._agents.seen(federation, at_by_agent)
            except AlignFedError as error:
                logger.warning("last-seen times not written federation=%s reason=%s", federation, error.reason)
                self._seen[federation] = at_by_agent | self._seen.get(federation, {})
