"""What must be true after every step of a program, asked of the store itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from coordinator.backends.memory import MemoryStore
from coordinator.domain import DeltaState
from coordinator.ports import Store
from tests.model.reference import FEDERATION

if TYPE_CHECKING:
    from tests.model.program import Program


async def check_promises(program: Program) -> None:
    """Hold what the store says against the promises and against the reference."""
    store, reference = program.store, program.reference
    head, depth, dead, versions, contributions = await _together(
        store,
        store.versions.head(FEDERATION),
        store.deltas.depth(FEDERATION),
        store.deltas.dead_letters(FEDERATION),
        store.versions.list(FEDERATION, before=None, limit=1000),
        store.agents.contributions(FEDERATION),
    )
    identity = (head.id.number, head.id.epoch)
    assert identity >= program.identity, "the head went back"
    assert head.id.epoch >= program.identity[1], "the epoch went back"
    program.identity = identity
    assert (head.id, head.oldest_retained, head.paused) == (reference.head, reference.oldest, reference.paused)
    lineage = [(version.id, version.parent, version.abandoned, version.state) for version in versions]
    assert lineage == [(v.id, v.parent, v.abandoned, v.state) for v in reversed(reference.versions)]
    claimed = sum(place.entry_id is not None for place in reference.queue.values())
    assert (depth.queued, depth.pending, depth.dead) == (len(reference.queue), claimed, len(reference.dead))
    assert {agent: (c.merged, c.rejected) for agent, c in contributions.items()} == reference.contributions()
    merges = sum(version.merge is not None for version in versions)
    assert abs(sum(c.weight for c in contributions.values()) - merges) < 1e-6, "weights do not add up"
    merged_in = Counter(d.delta_id for v in versions if v.merge is not None for d in v.merge.deltas)
    await _check_fates(program, merged_in, {letter.delta.delta_id for letter in dead})
    await _check_blobs(program)


async def _together(store: Store, *questions: Coroutine[Any, Any, Any]) -> list[Any]:
    """Ask a store many things: a server all at once, memory one after the other, which takes a tenth of the time."""
    if isinstance(store, MemoryStore):
        return [await question for question in questions]
    return await asyncio.gather(*questions)


async def _check_fates(program: Program, merged_in: Counter[str], dead: set[str]) -> None:
    """Check that each acknowledged delta is queued, merged into one version, rejected or dead: one of these."""
    ids = sorted(program.acknowledged)
    receipts = await _together(program.store, *(program.store.deltas.receipt(FEDERATION, delta_id) for delta_id in ids))
    places = await _together(
        program.store, *(program.store.deltas.place(FEDERATION, i) for i in ids if i in program.reference.queue)
    )
    queued = {place.delta.delta_id for place in places if place is not None}
    assert set(merged_in.values()) <= {1}, "a delta is in two versions"
    assert not queued & dead
    for delta_id, receipt in zip(ids, receipts, strict=True):
        assert receipt is not None, f"the acknowledged {delta_id} is lost"
        waits = delta_id in queued or delta_id in dead
        assert waits == (receipt.state is DeltaState.QUEUED), (delta_id, receipt)
        assert (delta_id in merged_in) == (receipt.state is DeltaState.MERGED), (delta_id, receipt)
        if receipt.version is not None:
            assert receipt.version == program.reference.versions[program.reference.merged[delta_id]].id
        if receipt.state is DeltaState.REJECTED:
            assert receipt.reason == program.reference.rejected[delta_id]
    assert set(merged_in) <= program.acknowledged, "a delta was merged that was never acknowledged"
    assert dict.fromkeys(program.reference.merged, 1) == merged_in
    assert (queued, dead) == (set(program.reference.queue), set(program.reference.dead))


async def _check_blobs(program: Program) -> None:
    """Check that whatever a record refers to can be read, and is what was stored."""
    needed = program.reference.needed_blobs()
    there = [blob for blob in program.blobs if blob.blob_id in needed]
    found = await _together(
        program.store, *(program.store.blobs.stored_parts(blob.blob_id, blob.parts) for blob in there)
    )
    assert found == [blob.parts for blob in there], "a payload that a record refers to is gone"
