"""From claimed references to deltas that can be merged: fetched, checked, decoded; the rest gets a reason."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Container, Sequence

from alignfed.codec import Factors, decode, widen
from alignfed.errors import (
    AgentRevoked,
    BaseVersionOtherBranch,
    BaseVersionTooOld,
    FrozenFactorChanged,
    Rejected,
    StoreCorrupt,
)
from alignfed.layout import LORA_A_SUFFIX, tensors_at_rank
from alignfed.plan import FederationPlan
from coordinator.algo.values import DeltaInput
from coordinator.domain import Contribution, Head, QueuedDelta, Rejection, VersionRecord
from coordinator.ports import Store
from coordinator.worker.merge_log import ids
from coordinator.worker.payloads import fetch

log = logging.getLogger(__name__)

DECODED_CACHE_BYTES = 512 << 20
"""Decoded deltas of one merge are kept in memory up to this size; beyond it they are decoded at each use."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What came of a set of claimed deltas: `inputs[i]` belongs to `accepted[i]`.

    `lost` are those whose payloads the store has lost, which is no fault of theirs: their agents have them still.

    `bases_published_at[i]` is when the base version of `accepted[i]` was published, in Unix seconds. `merged_by_agent`
    counts the merged deltas of every agent that is not revoked, zeros included.
    """

    accepted: tuple[QueuedDelta, ...]
    inputs: tuple[DeltaInput, ...]
    rejections: tuple[Rejection, ...]
    lost: tuple[QueuedDelta, ...]
    bases_published_at: tuple[float, ...]
    merged_by_agent: dict[str, int]


async def take_in(store: Store, plan: FederationPlan, head: Head, deltas: Sequence[QueuedDelta]) -> Intake:
    """Fetch and check `deltas`, in order of delta id so that a merge does not depend on arrival.

    Raises:
        StoreUnreachable: The store went away; nothing was settled.
    """
    contributions = await store.agents.contributions(plan.federation)
    members = [agent.agent_id for agent in await store.agents.list(plan.federation) if not agent.revoked]
    merged_by_agent = {member: contributions.get(member, Contribution()).merged for member in members}
    decoded_bytes = len(deltas) * sum(4 * spec.shape[0] * spec.shape[-1] for spec in plan.tensors)
    keep_decoded = decoded_bytes <= DECODED_CACHE_BYTES
    accepted: list[QueuedDelta] = []
    inputs: list[DeltaInput] = []
    bases_published_at: list[float] = []
    rejections: list[Rejection] = []
    lost: list[QueuedDelta] = []
    bases: dict[int, VersionRecord] = {}
    for queued in sorted(deltas, key=lambda queued: queued.delta.delta_id):
        try:
            base = await _welcome_base(store, head, queued, merged_by_agent, known=bases)
            load = _loader(await fetch(store.blobs, queued.delta.payload), plan, queued, keep_decoded=keep_decoded)
            load()
        except StoreCorrupt as error:
            log.warning("payload lost", extra={**ids(queued.delta), "detail": error.message})
            lost.append(queued)
            continue
        except Rejected as error:
            rejections.append(Rejection(queued=queued, reason=error.reason, detail=error.message))
            continue
        accepted.append(queued)
        inputs.append(_input(queued, plan, head, load))
        bases_published_at.append(base.created_at)
    return Intake(
        accepted=tuple(accepted),
        inputs=tuple(inputs),
        rejections=tuple(rejections),
        lost=tuple(lost),
        bases_published_at=tuple(bases_published_at),
        merged_by_agent=merged_by_agent,
    )


async def _welcome_base(
    store: Store, head: Head, queued: QueuedDelta, members: Container[str], *, known: dict[int, VersionRecord]
) -> VersionRecord:
    """Return the delta's base version, after checking again what may have changed since the delta was accepted.

    Each is read once for all deltas of a merge, and then `known`: its record names every delta that it was made of.
    """
    delta = queued.delta
    if delta.agent_id not in members:
        raise AgentRevoked(f"agent {delta.agent_id} was revoked before this delta was merged")
    if delta.base.number < head.oldest_retained:
        raise BaseVersionTooOld(
            f"version {delta.base.number} was retained when the delta arrived and is not any more: "
            "train from the head, or keep more versions (retention.versions)"
        )
    base = known.get(delta.base.number)
    if base is None:
        base = known[delta.base.number] = await store.versions.get(delta.federation, delta.base.number)
    if base.abandoned or base.id != delta.base:
        raise BaseVersionOtherBranch(f"version {delta.base.number} was rolled back: train from the head")
    return base


def _loader(
    payload: bytearray, plan: FederationPlan, queued: QueuedDelta, *, keep_decoded: bool
) -> Callable[[], Factors]:
    kept: list[Factors] = []

    def load() -> Factors:
        if kept:
            return kept[0]
        factors = _decoded(payload, plan, queued)
        if keep_decoded:
            kept.append(factors)
            payload.clear()
        return factors

    return load


def _decoded(payload: bytearray, plan: FederationPlan, queued: QueuedDelta) -> Factors:
    """Return a delta's factors in the adapter's full shapes: zero where its agent trained nothing."""
    delta = queued.delta
    factors = decode(payload, tensors_at_rank(plan, delta.rank), delta.encoding)
    if plan.lora.freeze_a:
        for name, factor in factors.items():
            if name.endswith(LORA_A_SUFFIX) and bool(factor.any()):
                raise FrozenFactorChanged(f"the delta changes {name}, which the plan freezes (lora.freeze_a)")
    return factors if delta.rank == plan.lora.rank else widen(factors, plan.tensors)


def _input(queued: QueuedDelta, plan: FederationPlan, head: Head, load: Callable[[], Factors]) -> DeltaInput:
    delta = queued.delta
    return DeltaInput(
        delta_id=delta.delta_id,
        agent_id=delta.agent_id,
        base=delta.base,
        staleness_versions=head.id.number - delta.base.number,
        examples=delta.examples,
        load=load,
        rank=delta.rank if delta.rank != plan.lora.rank else None,
    )
