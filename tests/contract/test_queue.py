"""Port `Deltas`, after acceptance: claims, takeovers, rejections and dead letters."""

from __future__ import annotations

import asyncio

import pytest

from alignfed.errors import DeadLetterNotFound, Fenced
from coordinator.backends.redis import deltas as redis_deltas
from coordinator.domain import Contribution, DeadLetter, DeltaRecord, DeltaState, QueuedDelta, Rejection
from coordinator.ports import Store
from tests.support.stores import NOW, has_blob, new_delta, receipt_of, seed_federation, submit, take_lease


@pytest.fixture
async def federation(store: Store) -> str:
    return (await seed_federation(store)).federation


def ids(claimed: list[QueuedDelta]) -> list[str]:
    return [queued.delta.delta_id for queued in claimed]


async def submit_several(store: Store, federation: str, count: int) -> list[DeltaRecord]:
    deltas = await asyncio.gather(*(new_delta(store, federation, accepted_at=NOW + number) for number in range(count)))
    for delta in deltas:
        await store.deltas.accept(delta)
    return deltas


async def claim_one(store: Store, federation: str) -> QueuedDelta:
    (claimed,) = await store.deltas.claim(federation, "worker-1", limit=1)
    return claimed


async def test_claims_come_oldest_first_up_to_the_limit_and_never_twice(store: Store, federation: str) -> None:
    sent = [delta.delta_id for delta in await submit_several(store, federation, 5)]

    first = await store.deltas.claim(federation, "worker-1", limit=3)
    second = await store.deltas.claim(federation, "worker-2", limit=3)
    assert ids(first) == sent[:3]
    assert ids(second) == sent[3:]
    assert {queued.attempts for queued in first + second} == {0}
    assert await store.deltas.claim(federation, "worker-1", limit=3) == []


async def test_rival_claims_share_the_queue_without_overlap(store: Store, federation: str) -> None:
    sent = {delta.delta_id for delta in await submit_several(store, federation, 30)}
    shares = await asyncio.gather(
        *(store.deltas.claim(federation, f"worker-{number}", limit=4) for number in range(10))
    )
    claimed = [delta_id for share in shares for delta_id in ids(share)]
    assert len(claimed) == 30
    assert set(claimed) == sent


async def test_a_takeover_finds_every_claim_and_what_was_attempted(store: Store, federation: str) -> None:
    sent = [delta.delta_id for delta in await submit_several(store, federation, 4)]
    await store.deltas.claim(federation, "worker-1", limit=2)
    await store.deltas.claim(federation, "worker-2", limit=1)

    second = await store.deltas.reclaim(federation, "worker-3")
    await store.deltas.count_attempt(federation, "worker-3", second[:1])
    await store.deltas.count_attempt(federation, "worker-3", second[:1])  # repeated, as after a lost answer
    third = await store.deltas.reclaim(federation, "worker-1")
    await store.deltas.count_attempt(federation, "worker-1", third[:2])
    fourth = await store.deltas.reclaim(federation, "worker-2")
    assert ids(second) == ids(third) == ids(fourth) == sent[:3]
    assert [queued.attempts for queued in second] == [0, 0, 0]
    assert [queued.attempts for queued in third] == [1, 0, 0]
    assert [queued.attempts for queued in fourth] == [2, 1, 0]
    assert ids(await store.deltas.claim(federation, "worker-3", limit=5)) == sent[3:]


async def test_an_attempt_is_taken_back_whoever_has_the_claim_and_never_below_none(
    store: Store, federation: str
) -> None:
    sent = await submit_several(store, federation, 3)
    claimed = await store.deltas.claim(federation, "worker-1", limit=3)
    counted = await store.deltas.count_attempt(federation, "worker-1", claimed[:2])
    again = await store.deltas.reclaim(federation, "worker-2")
    await store.deltas.count_attempt(federation, "worker-2", again[:1])
    token = await take_lease(store, federation)
    await store.deltas.reject(federation, token, [Rejection(queued=again[1], reason="NON_FINITE", detail="NaN")])

    await store.deltas.forgive_attempt(federation, [*counted, claimed[2]])
    found = await store.deltas.place(federation, sent[0].delta_id)
    assert found is not None
    assert (found.claimed_by, found.attempts) == ("worker-2", 1)
    assert await store.deltas.place(federation, sent[1].delta_id) is None
    await store.deltas.forgive_attempt(federation, [*counted, claimed[2]])
    await store.deltas.forgive_attempt(federation, [*counted, claimed[2]])
    left = await store.deltas.reclaim(federation, "worker-2")
    assert [(queued.delta.delta_id, queued.attempts) for queued in left] == [
        (sent[0].delta_id, 0),
        (sent[2].delta_id, 0),
    ]


async def test_a_takeover_of_more_than_one_batch_is_complete_and_in_order(
    store: Store, federation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_deltas, "RECLAIM_BATCH", 20)
    sent = [delta.delta_id for delta in await submit_several(store, federation, 60)]
    await store.deltas.claim(federation, "worker-1", limit=1000)
    assert ids(await store.deltas.reclaim(federation, "worker-2")) == sent


async def test_depth_counts_waiting_claimed_and_dead(store: Store, federation: str) -> None:
    empty = await store.deltas.depth(federation)
    assert (empty.queued, empty.pending, empty.dead, empty.oldest_accepted_at) == (0, 0, 0, None)

    await submit_several(store, federation, 3)
    token = await take_lease(store, federation)
    oldest, _ = await store.deltas.claim(federation, "worker-1", limit=2)
    depth = await store.deltas.depth(federation)
    assert (depth.queued, depth.pending, depth.dead, depth.oldest_accepted_at) == (3, 2, 0, NOW)

    await store.deltas.bury(federation, token, oldest, detail="poison", at=NOW)
    depth = await store.deltas.depth(federation)
    assert (depth.queued, depth.pending, depth.dead, depth.oldest_accepted_at) == (2, 1, 1, NOW + 1)


async def test_a_rejection_settles_receipt_count_and_payload_once(store: Store, federation: str) -> None:
    delta = await submit(store, federation, agent_id="agent-2")
    token = await take_lease(store, federation)
    queued = await claim_one(store, federation)
    rejection = Rejection(queued=queued, reason="NON_FINITE", detail="a tensor holds NaN")
    await store.deltas.reject(federation, token, [rejection])
    await store.deltas.reject(federation, token, [rejection])

    receipt = await receipt_of(store, delta)
    assert (receipt.state, receipt.reason, receipt.detail) == (DeltaState.REJECTED, "NON_FINITE", "a tensor holds NaN")
    assert await store.agents.contributions(federation) == {"agent-2": Contribution(rejected=1)}
    assert await store.deltas.reclaim(federation, "worker-1") == []
    assert await store.blobs.sweep(federation, unclaimed_before=0) == 1
    assert not await has_blob(store, delta.payload)


async def test_an_unclaimed_delta_is_not_rejected_by_a_stale_claim(store: Store, federation: str) -> None:
    delta = await submit(store, federation)
    token = await take_lease(store, federation)
    stale = await claim_one(store, federation)
    await store.deltas.bury(federation, token, stale, detail="poison", at=NOW)
    await store.deltas.requeue_dead(federation, delta.delta_id)

    await store.deltas.reject(federation, token, [Rejection(queued=stale, reason="NON_FINITE", detail="")])
    await store.deltas.bury(federation, token, stale, detail="again", at=NOW)
    assert (await receipt_of(store, delta)).state is DeltaState.QUEUED
    assert (await store.deltas.depth(federation)).dead == 0


async def test_an_old_token_neither_rejects_nor_buries(store: Store, federation: str) -> None:
    delta = await submit(store, federation)
    old = await take_lease(store, federation)
    queued = await claim_one(store, federation)
    newest = await take_lease(store, federation)

    with pytest.raises(Fenced, match=f"{old} was superseded by {newest}"):
        await store.deltas.reject(federation, old, [Rejection(queued=queued, reason="NON_FINITE", detail="")])
    with pytest.raises(Fenced):
        await store.deltas.bury(federation, old, queued, detail="poison", at=NOW)
    assert (await receipt_of(store, delta)).state is DeltaState.QUEUED
    assert (await store.deltas.depth(federation)).pending == 1


async def test_a_buried_delta_keeps_receipt_and_payload_and_is_listed_oldest_first(
    store: Store, federation: str
) -> None:
    sent = await submit_several(store, federation, 3)
    token = await take_lease(store, federation)
    for at, queued in zip((NOW + 3, NOW + 1, NOW + 2), await store.deltas.claim(federation, "w", limit=3), strict=True):
        await store.deltas.bury(federation, token, queued, detail="does not decode", at=at)
        await store.deltas.bury(federation, token, queued, detail="twice", at=at + 9)

    letters = await store.deltas.dead_letters(federation)
    assert letters[0] == DeadLetter(delta=sent[1], detail="does not decode", buried_at=NOW + 1)
    assert [letter.delta for letter in letters] == [sent[1], sent[2], sent[0]]
    assert {(await receipt_of(store, delta)).state for delta in sent} == {DeltaState.QUEUED}
    await store.blobs.sweep(federation, unclaimed_before=NOW + 1e9)
    assert all([await has_blob(store, delta.payload) for delta in sent])


async def test_a_requeued_dead_letter_starts_afresh_at_the_end(store: Store, federation: str) -> None:
    dead, waiting = await submit_several(store, federation, 2)
    token = await take_lease(store, federation)
    await claim_one(store, federation)
    (queued,) = await store.deltas.reclaim(federation, "worker-1")
    await store.deltas.bury(federation, token, queued, detail="poison", at=NOW)
    await store.deltas.requeue_dead(federation, dead.delta_id)

    assert await store.deltas.dead_letters(federation) == []
    claimed = await store.deltas.claim(federation, "worker-1", limit=5)
    assert [(queued.delta, queued.attempts) for queued in claimed] == [(waiting, 0), (dead, 0)]
    with pytest.raises(DeadLetterNotFound):
        await store.deltas.requeue_dead(federation, dead.delta_id)


async def test_a_dropped_dead_letter_is_rejected_and_its_payload_freed(store: Store, federation: str) -> None:
    delta = await submit(store, federation)
    token = await take_lease(store, federation)
    await store.deltas.bury(federation, token, await claim_one(store, federation), detail="poison", at=NOW)
    await store.deltas.drop_dead(federation, delta.delta_id)

    receipt = await receipt_of(store, delta)
    assert (receipt.state, receipt.reason) == (DeltaState.REJECTED, "DROPPED_BY_OPERATOR")
    assert await store.agents.contributions(federation) == {"agent-1": Contribution(rejected=1)}
    with pytest.raises(DeadLetterNotFound):
        await store.deltas.drop_dead(federation, delta.delta_id)
    await store.blobs.sweep(federation, unclaimed_before=0)
    assert not await has_blob(store, delta.payload)


async def test_a_disowned_delta_was_never_accepted_and_its_payload_can_be_completed(
    store: Store, federation: str
) -> None:
    token = await take_lease(store, federation)
    delta = await submit(store, federation)
    claimed = await claim_one(store, federation)

    for _ in range(2):  # the second time changes nothing
        await store.deltas.disown(federation, token, [claimed], at=NOW)

    assert await store.deltas.receipt(federation, delta.delta_id) is None
    depth = await store.deltas.depth(federation)
    assert (depth.queued, depth.pending) == (0, 0)
    assert await store.blobs.unclaimed(federation, containing=delta.payload.blob_id) == {delta.payload.blob_id: NOW}
    assert await has_blob(store, delta.payload)

    await store.blobs.begin(federation, delta.payload.blob_id, at=NOW)
    receipt = await store.deltas.accept(delta)
    assert receipt.state is DeltaState.QUEUED
    assert ids([await claim_one(store, federation)]) == [delta.delta_id]


async def test_settled_deltas_are_not_disowned_and_a_superseded_worker_disowns_none(
    store: Store, federation: str
) -> None:
    token = await take_lease(store, federation)
    delta = await submit(store, federation)
    claimed = await claim_one(store, federation)
    with pytest.raises(Fenced):
        await store.deltas.disown(federation, token - 1, [claimed], at=NOW)
    assert (await receipt_of(store, delta)).state is DeltaState.QUEUED
    await store.deltas.reject(federation, token, [Rejection(queued=claimed, reason="NON_FINITE", detail="NaN")])
    await store.deltas.disown(federation, token, [claimed], at=NOW)
    assert (await receipt_of(store, delta)).state is DeltaState.REJECTED
    assert await store.blobs.unclaimed(federation, containing=delta.payload.blob_id) == {}
