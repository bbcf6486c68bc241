"""Whether a delta is welcome: everything that can be known before its payload, for who asks and for who uploads."""

from __future__ import annotations

import dataclasses

from alignfed.errors import VersionNotFound
from coordinator.domain import Head, Receipt, VersionId
from coordinator.ports import Deltas
from coordinator.service import admission
from coordinator.service.admission import DeltaHeader, DeltaRef
from coordinator.service.caches.heads import HeadCache
from coordinator.service.caches.plans import KnownFederation
from coordinator.service.caches.roster import Roster
from coordinator.service.caches.store_room import StoreRoom
from coordinator.service.caches.versions import RecentVersions
from coordinator.service.quotas import Quotas


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """Checks deltas before they are sent. The store repeats what may change meanwhile, when it accepts them."""

    deltas: Deltas
    roster: Roster
    heads: HeadCache
    versions: RecentVersions
    quotas: Quotas
    store_room: StoreRoom

    async def known(self, ref: DeltaRef) -> Receipt | None:
        """Check who sends what, and return the receipt of a delta that was accepted before.

        Raises:
            UnknownAgent, AgentRevoked: Of the agent.
            HeaderInvalid: The id or digest is malformed.
            DeltaIdConflict: The id was used for other content or by another agent.
        """
        await self.roster.admit(ref.federation, ref.agent_id)
        admission.check_ref(ref)
        receipt = await self.deltas.receipt(ref.federation, ref.delta_id)
        return None if receipt is None else admission.check_receipt(receipt, ref)

    async def check_header(self, header: DeltaHeader, known: KnownFederation) -> None:
        """Check everything that needs no payload.

        Raises:
            Rejected: The header is not what the plan, the head and the base version make of it.
            QueueFull, AgentOverQuota, StoreFull: There is no room now.
        """
        form = known.delta_form(header.rank)
        admission.check_against_plan(header, known.plan, tensors=form.tensors, payload_bytes=form.layout.total_bytes)
        await self._check_base(header.federation, header.base)
        self.store_room.check()
        await self.quotas.check(header.ref, known)

    async def check_wanted(self, ref: DeltaRef, base: VersionId, known: KnownFederation) -> None:
        """Check whether a delta would be taken, and would still be wanted when its turn to be merged comes.

        Raises:
            BaseVersionUnknown, BaseVersionOtherBranch, BaseVersionTooOld, BaseVersionInFuture: It would be in vain.
            QueueFull, AgentOverQuota, StoreFull: There is no room now.
        """
        head = await self._check_base(ref.federation, base)
        advice = await self.quotas.advice(known, head)
        admission.check_base(base, dataclasses.replace(head, oldest_retained=advice.oldest_wanted))
        self.store_room.check()
        await self.quotas.check(ref, known)

    async def _check_base(self, federation: str, base: VersionId) -> Head:
        head = await self.heads.head(federation)
        if base.number > head.id.number:  # another coordinator may have told the agent first
            head = await self.heads.refresh(federation)
        admission.check_base(base, head)
        try:
            published = await self.versions.get(federation, base.number)
            if published.id != base:  # the record in memory may be of before a failover
                published = await self.versions.read(federation, base.number)
        except VersionNotFound:
            published = None
        admission.check_branch(base, published)
        return head
