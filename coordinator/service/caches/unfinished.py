"""Unfinished uploads by agent: read from the store now and then, and kept up with what this process does to them.

Reading them costs the store a scan, so who begins uploads by the thousand must not cause one for each.
"""

from __future__ import annotations

import dataclasses
from collections import Counter

from coordinator.domain import delta_blob_prefix, parse_delta_blob_id
from coordinator.ports import Blobs, Clock
from coordinator.service.caches.single_flight import SingleFlight

TRUSTED_SECONDS = 5.0
"""How long a reading counts as current."""
AT_MOST_EVERY_SECONDS = 0.5
"""A reading that would refuse somebody is made anew, but not more often than this."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedUploads:
    """Uploads that have begun and are not whole."""

    of_agent: int
    of_all: int


class _Federation:
    """What is known of one federation: agent by unfinished blob, and when it was read."""

    def __init__(self) -> None:
        self.agents: dict[str, str] = {}
        self.count: Counter[str] = Counter()
        self.read_at = -float("inf")

    def add(self, blob_id: str, agent_id: str) -> None:
        if blob_id not in self.agents:
            self.agents[blob_id] = agent_id
            self.count[agent_id] += 1

    def remove(self, blob_id: str) -> None:
        agent_id = self.agents.pop(blob_id, None)
        if agent_id is not None:
            self.count[agent_id] -= 1
            if not self.count[agent_id]:
                del self.count[agent_id]


class Unfinished:
    """Counts unfinished uploads, those begun through other coordinators included.

    Args:
        blobs: Where they are.
        clock: Time.
    """

    def __init__(self, blobs: Blobs, clock: Clock) -> None:
        self._blobs = blobs
        self._clock = clock
        self._known: dict[str, _Federation] = {}
        self._reads: SingleFlight[str, None] = SingleFlight()

    async def counts(self, federation: str, agent_id: str, *, blob_id: str, fresh: bool) -> UnfinishedUploads:
        """Return how many unfinished uploads stand in the way of one.

        None do in the way of one that has begun: it goes on, or nobody could ever finish where too many have begun.

        Args:
            federation: Its name.
            agent_id: Who asks.
            blob_id: The payload that is to be uploaded.
            fresh: Whether a reading of the last seconds will not do.
        """
        known = self._known.setdefault(federation, _Federation())
        age_seconds = self._clock.monotonic() - known.read_at
        if age_seconds > (AT_MOST_EVERY_SECONDS if fresh else TRUSTED_SECONDS):
            await self._reads.run(federation, lambda: self._read(federation))
        if blob_id in known.agents:
            return UnfinishedUploads(of_agent=0, of_all=0)
        return UnfinishedUploads(of_agent=known.count[agent_id], of_all=len(known.agents))

    def begun(self, federation: str, blob_id: str, agent_id: str) -> None:
        """Note an upload that begins here."""
        self._known.setdefault(federation, _Federation()).add(blob_id, agent_id)

    def ended(self, federation: str, blob_id: str) -> None:
        """Note that an upload is whole, or deleted."""
        self._known.setdefault(federation, _Federation()).remove(blob_id)

    async def _read(self, federation: str) -> None:
        known = self._known[federation]
        found = await self._blobs.unclaimed(federation, containing=delta_blob_prefix(federation))
        known.agents.clear()
        known.count.clear()
        for blob_id in found:
            named = parse_delta_blob_id(federation, blob_id)
            if named is not None:
                known.add(blob_id, named.agent_id)
        known.read_at = self._clock.monotonic()
