"""Plans in memory: a federation's plan never changes, so each is read once per process."""

from __future__ import annotations

import asyncio
import dataclasses

from alignfed.errors import UnknownFederation
from alignfed.layout import Layout, delta_layout, tensors_at_rank
from alignfed.plan import FEDERATION_NAME, FederationPlan, TensorSpec
from coordinator.backends import refusals
from coordinator.ports import Clock, Federations

UNKNOWN_SECONDS = 1.0  # a name that does not exist is not asked for again sooner, so that guessing names costs no reads
_UNKNOWN_CAPACITY = 1024
_LOWER_RANKS_KEPT = 16  # a fleet uses a few ranks; who names them all must not fill the memory


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeltaForm:
    """What every delta of one rank looks like: its manifest and the layout of its payload."""

    tensors: tuple[TensorSpec, ...]
    layout: Layout


class KnownFederation:
    """A federation's plan, and what deltas look like under it, computed once per rank."""

    def __init__(self, plan: FederationPlan) -> None:
        self.plan = plan
        self._full = self._computed(plan.lora.rank)
        self._lower: dict[int, DeltaForm] = {}

    def delta_form(self, rank: int) -> DeltaForm:
        """Return what a delta of that rank looks like.

        Raises:
            RankMismatch: The plan takes no deltas of that rank.
        """
        if rank == self.plan.lora.rank:
            return self._full
        form = self._lower.get(rank)
        if form is None:
            form = self._computed(rank)
            if len(self._lower) >= _LOWER_RANKS_KEPT:
                self._lower.clear()
            self._lower[rank] = form
        return form

    def _computed(self, rank: int) -> DeltaForm:
        return DeltaForm(tensors=tensors_at_rank(self.plan, rank), layout=delta_layout(self.plan, rank))


class Plans:
    """Answers which federations exist, from memory."""

    def __init__(self, federations: Federations, clock: Clock) -> None:
        self._federations = federations
        self._clock = clock
        self._known: dict[str, KnownFederation] = {}
        self._reading = asyncio.Lock()
        self._unknown_until: dict[str, float] = {}

    async def get(self, federation: str) -> KnownFederation:
        """Return a federation's plan; reads the store the first time only.

        Raises:
            UnknownFederation: No such federation exists, or none did a second ago.
        """
        known = self._known.get(federation)
        if known is not None:
            return known
        if not FEDERATION_NAME.fullmatch(federation):
            raise refusals.federation_unknown(federation)
        async with self._reading:  # a fleet that reconnects at once causes one read
            known = self._known.get(federation)
            return known if known is not None else await self._read(federation)

    def known(self) -> list[str]:
        """Return the names of the federations that were asked for and exist."""
        return list(self._known)

    def put(self, plan: FederationPlan) -> KnownFederation:
        """Remember a federation that was read or just created."""
        known = self._known[plan.federation] = KnownFederation(plan)
        self._unknown_until.pop(plan.federation, None)
        return known

    async def _read(self, federation: str) -> KnownFederation:
        if self._was_unknown(federation):
            raise refusals.federation_unknown(federation)
        try:
            record = await self._federations.get(federation)
        except UnknownFederation:
            self._remember_unknown(federation)
            raise
        return self.put(record.plan)

    def _was_unknown(self, federation: str) -> bool:
        return self._unknown_until.get(federation, 0.0) > self._clock.monotonic()

    def _remember_unknown(self, federation: str) -> None:
        if len(self._unknown_until) >= _UNKNOWN_CAPACITY:
            self._unknown_until.clear()
        self._unknown_until[federation] = self._clock.monotonic() + UNKNOWN_SECONDS
