"""Who may upload: each agent's share of what the store may hold unmerged, asked before a byte of payload is taken.

Counts come from the store, so they hold for all coordinators together. They are read before an upload and not again, so
an agent may exceed its share by the few uploads that it has open at that time.
"""

from __future__ import annotations

import dataclasses

from alignfed.errors import AgentOverQuota, QueueFull
from coordinator.domain import Head
from coordinator.ports import Deltas
from coordinator.service import pace
from coordinator.service.admission import DeltaRef
from coordinator.service.caches.levels import QueueLevels
from coordinator.service.caches.plans import KnownFederation
from coordinator.service.caches.unfinished import Unfinished
from coordinator.service.config import ServiceConfig


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What agents are told of a queue: after how long to begin another delta, and which ones are worth sending."""

    come_back_seconds: float
    oldest_wanted: int


class Quotas:
    """Answers whether there is room for an upload, and paces agents before there is none.

    Args:
        deltas: Counts what waits.
        unfinished: Counts unfinished uploads.
        levels: Remembers how full queues are.
        config: The coordinator's limits.
    """

    def __init__(self, deltas: Deltas, unfinished: Unfinished, levels: QueueLevels, config: ServiceConfig) -> None:
        self._deltas = deltas
        self._unfinished = unfinished
        self._levels = levels
        self._config = config

    async def check(self, ref: DeltaRef, known: KnownFederation) -> None:
        """Check that there is room for a delta that is not accepted yet.

        Raises:
            QueueFull: All agents together have as much unmerged as they may.
            AgentOverQuota: The agent has its share.
        """
        if await self._refusal(ref, known, fresh=False) is not None:
            refusal = await self._refusal(ref, known, fresh=True)  # what ended elsewhere may not be known here yet
            if refusal is not None:
                raise refusal

    async def advice(self, known: KnownFederation, head: Head) -> Advice:
        """Return what to tell agents now; from memory."""
        level = await self._levels.level(known.plan.federation)
        return Advice(
            come_back_seconds=pace.come_back_seconds(level, known.plan, self._quota(known)),
            oldest_wanted=pace.oldest_wanted(head, level, known.plan),
        )

    async def _refusal(
        self, ref: DeltaRef, known: KnownFederation, *, fresh: bool
    ) -> QueueFull | AgentOverQuota | None:
        """Return why there is no room for a delta, as of now or, unless `fresh`, of some seconds ago."""
        federation, quota = ref.federation, self._quota(known)
        queued = (await self._deltas.depth(federation)).queued
        self._levels.note(federation, queued)
        waiting = await self._deltas.waiting_of(federation, ref.agent_id)
        unfinished = await self._unfinished.counts(federation, ref.agent_id, blob_id=ref.blob_id(), fresh=fresh)
        full = queued + unfinished.of_all >= quota.places
        share = quota.share(queued + unfinished.of_all, least=known.plan.buffer.size)
        if not full and waiting + unfinished.of_agent < share:
            return None
        seconds = pace.refused_seconds(await self._levels.level(federation), known.plan)
        if full:
            return QueueFull(
                f"{queued} deltas wait to be merged and {unfinished.of_all} uploads are unfinished, as many as the "
                f"federation may have ({quota.places}): send the delta again later",
                retry_after_seconds=seconds,
            )
        return AgentOverQuota(
            f"agent {ref.agent_id!r} has {waiting} deltas that wait to be merged and {unfinished.of_agent} unfinished "
            f"uploads, and its share is {share}: send the delta again when some are merged",
            retry_after_seconds=seconds,
        )

    def _quota(self, known: KnownFederation) -> pace.Quota:
        return pace.Quota.of(
            known.plan,
            payload_bytes=known.delta_form(known.plan.lora.rank).layout.total_bytes,
            agent_deltas=self._config.max_agent_deltas,
            agent_bytes=self._config.max_agent_bytes,
            all_bytes=self._config.max_federation_bytes,
        )
