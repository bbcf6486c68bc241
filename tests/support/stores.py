"""Stores and what goes into them, for every test that needs one.

`open_memory_store()` is the quickest way to a store; `seed_federation(store)` creates a federation with version 0 and
registered agents, `submit(store, ...)` puts a delta into its queue, `publish(store, ...)` merges one into a version.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from alignfed.chunks import sha256_of
from alignfed.plan import BaseModel, Buffer, Encoding, FederationPlan, Limits, Lora, Retention, TensorSpec
from alignfed.screening import NO_SCREENING
from coordinator.backends.memory import MemoryStore
from coordinator.domain import (
    AgentRecord,
    BlobRef,
    Commit,
    DeltaRecord,
    FederationRecord,
    MergedDelta,
    MergeRecord,
    QueuedDelta,
    Receipt,
    VersionId,
    VersionKind,
    VersionRecord,
)
from coordinator.ports import Clock, Store

NOW = 1_790_000_000.25
"""A point in time, in Unix seconds, at which the tests' records were written."""

PART_BYTES = 1024

_serial = itertools.count(1)


def unique(prefix: str) -> str:
    """Return a name that no other test of this session uses."""
    return f"{prefix}-{next(_serial)}"


def open_memory_store(clock: Clock | None = None) -> MemoryStore:
    """Return an empty memory store."""
    return MemoryStore(clock)


def new_plan(
    federation: str | None = None,
    *,
    retention: Retention = Retention(),  # noqa: B008 (frozen)
    max_queue_deltas: int = 10_000,
    buffer_size: int = 2,
) -> FederationPlan:
    """Return a valid plan of a tiny federation."""
    return FederationPlan(
        federation=federation or unique("fed"),
        base_model=BaseModel(name="tiny", digest="ab" * 32),
        lora=Lora(rank=2, target_modules=("q_proj",)),
        buffer=Buffer(size=buffer_size),
        screening=NO_SCREENING,
        limits=Limits(chunk_bytes=PART_BYTES, max_queue_deltas=max_queue_deltas),
        retention=retention,
        tensors=(TensorSpec(name="q_proj.lora_A.weight", shape=(2, 8)),),
    ).validate()


def new_agent(agent_id: str = "agent-1", *, registered_at: float = NOW) -> AgentRecord:
    """Return an agent as it registers."""
    return AgentRecord(
        agent_id=agent_id, registered_at=registered_at, last_seen_at=registered_at, device="cpu", memory_bytes=2**30
    )


async def store_blob(
    store: Store, federation: str, payload: bytes = b"", *, blob_id: str | None = None, at: float = NOW
) -> BlobRef:
    """Store `payload` (some unique bytes of two parts if empty) as an unclaimed blob and return its reference."""
    blob_id = blob_id or unique("blob")
    payload = payload or (blob_id.encode() * PART_BYTES)[: PART_BYTES + 100]
    blob = BlobRef(blob_id=blob_id, total_bytes=len(payload), part_bytes=PART_BYTES, sha256=sha256_of(payload))
    await store.blobs.begin(federation, blob_id, at=at)
    for index in range(blob.parts):
        await store.blobs.put_part(blob_id, index, payload[index * PART_BYTES : (index + 1) * PART_BYTES])
    return blob


async def has_blob(store: Store, blob: BlobRef) -> bool:
    """Whether the whole payload is stored."""
    return await store.blobs.stored_parts(blob.blob_id, blob.parts) == blob.parts


async def seed_federation(
    store: Store,
    plan: FederationPlan | None = None,
    *,
    agents: Sequence[str] = ("agent-1", "agent-2"),
    adapter_blob_id: str | None = None,
) -> FederationPlan:
    """Create a federation with version 0 and a calibration set, register `agents`, and return its plan."""
    plan = plan or new_plan()
    name = plan.federation
    adapter = await store_blob(store, name, blob_id=adapter_blob_id)
    calibration = await store_blob(store, name)
    initial = VersionRecord(
        id=VersionId(epoch=0, number=0, digest=adapter.sha256),
        kind=VersionKind.INITIAL,
        parent=None,
        adapter=adapter,
        created_at=NOW,
    )
    await store.federations.create(FederationRecord(plan=plan, calibration=calibration, created_at=NOW), initial)
    for agent_id in agents:
        await store.agents.register(name, new_agent(agent_id))
    return plan


async def new_delta(
    store: Store,
    federation: str,
    *,
    agent_id: str = "agent-1",
    base: VersionId | None = None,
    delta_id: str | None = None,
    accepted_at: float = NOW,
) -> DeltaRecord:
    """Store a payload and return a delta that refers to it, not accepted yet; its base is the head unless given."""
    return DeltaRecord(
        federation=federation,
        agent_id=agent_id,
        delta_id=delta_id or unique("delta"),
        base=base or (await store.versions.head(federation)).id,
        examples=32,
        local_steps=16,
        encoding=Encoding.BF16,
        rank=2,
        payload=await store_blob(store, federation),
        accepted_at=accepted_at,
    )


async def submit(store: Store, federation: str, *, agent_id: str = "agent-1", accepted_at: float = NOW) -> DeltaRecord:
    """Put a new delta, trained from the head, into the queue and return it."""
    delta = await new_delta(store, federation, agent_id=agent_id, accepted_at=accepted_at)
    await store.deltas.accept(delta)
    return delta


async def receipt_of(store: Store, delta: DeltaRecord) -> Receipt:
    """Return the delta's receipt, which must exist."""
    receipt = await store.deltas.receipt(delta.federation, delta.delta_id)
    assert receipt is not None, f"{delta.delta_id} was never accepted"
    return receipt


def merge_record(merged: Sequence[QueuedDelta], *, weights: Sequence[float] | None = None) -> MergeRecord:
    """Return the record of a plain mean of `merged`."""
    shares = weights or [1 / len(merged)] * len(merged)
    deltas = tuple(
        MergedDelta(
            delta_id=queued.delta.delta_id,
            agent_id=queued.delta.agent_id,
            base=queued.delta.base,
            staleness_versions=0,
            examples=queued.delta.examples,
            freshness=1.0,
            fairness=1.0,
            weight=weight,
            coefficient=weight,
            cosine=0.5,
            norm=1.0,
        )
        for queued, weight in zip(merged, shares, strict=True)
    )
    return MergeRecord(recipe="mean", server_learning_rate=1.0, deltas=deltas, groups=(), calibration_loss_after=2.5)


async def new_commit(
    store: Store,
    federation: str,
    token: int,
    merged: Sequence[QueuedDelta],
    *,
    weights: Sequence[float] | None = None,
    with_state: bool = False,
) -> Commit:
    """Store an adapter and its moving average (and server state) and return the commit that would publish them."""
    head = (await store.versions.head(federation)).id
    adapter = await store_blob(store, federation)
    version = VersionRecord(
        id=VersionId(epoch=token, number=head.number + 1, digest=adapter.sha256),
        kind=VersionKind.MERGE,
        parent=head.number,
        adapter=adapter,
        average=await store_blob(store, federation),
        state=await store_blob(store, federation) if with_state else None,
        served_average=True,
        merge=merge_record(merged, weights=weights),
        created_at=NOW,
    )
    return Commit(federation=federation, token=token, expected_head=head, version=version, merged=tuple(merged))


async def take_lease(store: Store, federation: str, worker_id: str = "worker-1") -> int:
    """Take the lease for a minute, which must be free or this worker's, and return the fencing token."""
    token = await store.leases.acquire(federation, worker_id, ttl_seconds=60)
    assert token is not None, f"another worker holds the lease of {federation}"
    return token


async def publish(
    store: Store, federation: str, *, agent_id: str = "agent-1", with_state: bool = False
) -> VersionRecord:
    """Submit one delta, merge it into a new version, and return that version."""
    await submit(store, federation, agent_id=agent_id)
    token = await take_lease(store, federation)
    claimed = await store.deltas.claim(federation, "worker-1", limit=100)
    commit = await new_commit(store, federation, token, claimed, with_state=with_state)
    await store.versions.commit(commit)
    return commit.version


def of_other_branch(base: VersionId) -> VersionId:
    """Return an identity with the number of `base` and the digest of another history."""
    return dataclasses.replace(base, digest="00" * 32)
