"""From claimed references to deltas that can be merged: fetched, checked, decoded; the rest gets a reason."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Container, Mapping, Sequence
from typing import TypeVar

from alignfed.errors import AgentRevoked, BaseVersionOtherBranch, BaseVersionTooOld, Rejected, StoreCorrupt
from alignfed.plan import FederationPlan
from coordinator.algo.values import DeltaInput, Load
from coordinator.domain import Contribution, Head, QueuedDelta, Rejection, VersionRecord
from coordinator.ports import Store
from coordinator.worker.held_deltas import hold
from coordinator.worker.merge_log import ids
from coordinator.worker.payloads import fetch

log = logging.getLogger(__name__)

T = TypeVar("T")

DECODED_CACHE_BYTES = 512 << 20
"""Deltas of one merge are kept decoded if they need no more together; see `coordinator.worker.held_deltas`."""


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


def refusing(intake: Intake, refused: Mapping[str, Rejected]) -> Intake:
    """Return the intake with some accepted deltas, by their ids, among its rejections; itself when there are none."""
    if not refused:
        return intake
    fits = [queued.delta.delta_id not in refused for queued in intake.accepted]
    errors = [(queued, refused[queued.delta.delta_id]) for queued in _where([not fit for fit in fits], intake.accepted)]
    return dataclasses.replace(
        intake,
        accepted=_where(fits, intake.accepted),
        inputs=_where(fits, intake.inputs),
        bases_published_at=_where(fits, intake.bases_published_at),
        rejections=(
            *intake.rejections,
            *(Rejection(queued=queued, reason=error.reason, detail=error.message) for queued, error in errors),
        ),
    )


def _where(fits: Sequence[bool], values: Sequence[T]) -> tuple[T, ...]:
    return tuple(value for fit, value in zip(fits, values, strict=True) if fit)


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
            payload = await fetch(store.blobs, queued.delta.payload)
            load, size = await asyncio.to_thread(hold, payload, plan, queued.delta, keep_decoded=keep_decoded)
        except StoreCorrupt as error:
            log.warning("payload lost", extra={**ids(queued.delta), "detail": error.message})
            lost.append(queued)
            continue
        except Rejected as error:
            rejections.append(Rejection(queued=queued, reason=error.reason, detail=error.message))
            continue
        accepted.append(queued)
        inputs.append(_input(queued, plan, head, load, size))
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


def _input(queued: QueuedDelta, plan: FederationPlan, head: Head, load: Load, size: float) -> DeltaInput:
    delta = queued.delta
    return DeltaInput(
        delta_id=delta.delta_id,
        agent_id=delta.agent_id,
        base=delta.base,
        staleness_versions=head.id.number - delta.base.number,
        examples=delta.examples,
        load=load,
        norm=size,
        rank=delta.rank if delta.rank != plan.lora.rank else None,
    )
