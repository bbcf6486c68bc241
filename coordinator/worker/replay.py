"""For auditors: a stored version is derived again from its parent, its deltas and its merge record, and compared."""

from __future__ import annotations

import asyncio

from alignfed.chunks import sha256_of
from alignfed.codec import Factors, decode, encode
from alignfed.errors import RequestInvalid, StoreCorrupt, VersionNotFound
from alignfed.layout import delta_layout
from alignfed.plan import Encoding, FederationPlan
from coordinator.algo.aggregate import replay
from coordinator.domain import AdapterKind, BlobRef, MergedDelta, VersionRecord, delta_blob_id
from coordinator.ports import Store
from coordinator.worker.payloads import fetch, fetch_adapter


async def replay_version(store: Store, federation: str, number: int) -> VersionRecord:
    """Derive a version's raw adapter again and return the version's record: the two are the same, bit for bit.

    Reads only. Deltas are fetched one after the other, so memory holds two adapters and one delta.

    Raises:
        VersionNotFound: There is no such version, or its parent or one of its deltas is no longer retained.
        RequestInvalid: The version is not the result of a merge.
        AggregationInvalid: The record does not hold all that made the version; the message says what is missing.
        StoreCorrupt: What is derived is another adapter, or a payload that must be there is not.
        PayloadDigestMismatch: A payload's bytes are not the ones that were stored.
    """
    plan = (await store.federations.get(federation)).plan
    version = await store.versions.get(federation, number)
    merge = version.merge
    if merge is None or version.parent is None:
        raise RequestInvalid(f"version {number} is not the result of a merge ({version.kind}): name one that is")
    head = await _parent_adapter(store, plan, version.parent)
    merged = {delta.delta_id: delta for delta in merge.deltas}
    loop = asyncio.get_running_loop()

    def load(delta_id: str) -> Factors:  # called from the merging thread
        return asyncio.run_coroutine_threadsafe(_delta(store, plan, number, merged[delta_id]), loop).result()

    again = await asyncio.to_thread(replay, head, merge, load)
    digest = sha256_of(encode(again, Encoding.FP32))
    if digest != version.id.digest:
        raise StoreCorrupt(
            f"version {number} is not what its record makes of its parent and deltas: its digest is "
            f"{version.id.digest}, derived was {digest}. Do not trust it; roll back to a version that can be derived"
        )
    return version


async def _parent_adapter(store: Store, plan: FederationPlan, number: int) -> Factors:
    oldest = (await store.versions.head(plan.federation)).oldest_retained
    if number < oldest:
        raise VersionNotFound(
            f"the parent, version {number}, is no longer retained (the oldest is {oldest}): "
            "replay sooner, or keep more versions (retention.versions)"
        )
    record = await store.versions.get(plan.federation, number)
    return await fetch_adapter(store.blobs, record.blob(AdapterKind.TRAINING), plan)


async def _delta(store: Store, plan: FederationPlan, number: int, merged: MergedDelta) -> Factors:
    """Return the factors of a merged delta. Records of merges with lower ranks are refused before: ranks are full."""
    federation = plan.federation
    receipt = await store.deltas.receipt(federation, merged.delta_id)
    if receipt is None:
        raise StoreCorrupt(f"delta {merged.delta_id} of version {number} has no receipt: was the store restored?")
    blob = BlobRef(
        blob_id=delta_blob_id(federation, merged.agent_id, merged.delta_id, sha256=receipt.sha256),
        total_bytes=delta_layout(plan, plan.lora.rank).total_bytes,
        part_bytes=plan.limits.chunk_bytes,
        sha256=receipt.sha256,
    )
    try:
        payload = await fetch(store.blobs, blob)
    except StoreCorrupt as error:
        head = (await store.versions.head(federation)).id.number
        if head < number + plan.retention.delta_versions:
            raise
        kept = plan.retention.delta_versions
        why = (
            f"raw deltas are kept for {kept} merges, and the head is version {head}"
            if kept
            else ("this federation's raw deltas are deleted once they are merged")
        )
        raise VersionNotFound(
            f"delta {merged.delta_id} of version {number} is no longer kept: {why}. To replay versions, create the "
            "federation with retention.delta_versions set to how many of the newest shall be replayable"
        ) from error
    return decode(payload, plan.tensors, plan.delta_encoding, topk_ratio=plan.topk_ratio)
