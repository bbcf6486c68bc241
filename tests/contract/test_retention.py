"""Port `Upkeep`: what retention lets go of, what it never does, and that no forgotten delta is ever merged again."""

from __future__ import annotations

import dataclasses
import re

import pytest

from alignfed.errors import BaseVersionTooOld, UnknownAgent
from alignfed.plan import Retention
from coordinator.cuts import RecordBatch, Restored, restored_epoch
from coordinator.domain import DeadLetter, DeltaRecord, DeltaState, Rejection
from coordinator.ports import Store
from coordinator.retention import LET_GO, Trimmed
from tests.support.histories import all_receipts, all_versions
from tests.support.owners import unowned
from tests.support.stores import (
    NOW,
    has_blob,
    new_agent,
    new_delta,
    new_plan,
    publish,
    receipt_of,
    seed_federation,
    store_blob,
    submit,
    take_lease,
    unique,
)

DAY_SECONDS = 86_400.0
KEEP = Retention(versions=2, delta_versions=0, receipt_versions=3, record_versions=2, dead_letters=2)


async def federation_that_keeps(store: Store, retention: Retention) -> str:
    return (await seed_federation(store, new_plan(retention=retention))).federation


async def bury(store: Store, federation: str, *, at: float) -> DeadLetter:
    """Submit a delta and give it up, and return its dead letter."""
    await submit(store, federation)
    token = await take_lease(store, federation)
    (queued,) = await store.deltas.claim(federation, "worker-1", limit=1)
    await store.deltas.bury(federation, token, queued, detail="it failed", at=at)
    return DeadLetter(delta=queued.delta, detail="it failed", buried_at=at)


async def reject(store: Store, federation: str) -> DeltaRecord:
    delta = await submit(store, federation)
    token = await take_lease(store, federation)
    claimed = await store.deltas.claim(federation, "worker-1", limit=1)
    rejections = [Rejection(queued=queued, reason="NON_FINITE", detail="NaN") for queued in claimed]
    await store.deltas.reject(federation, token, rejections)
    return delta


async def test_receipts_go_when_their_deltas_are_too_old_to_be_sent_again(store: Store) -> None:
    federation = await federation_that_keeps(store, KEEP)
    rejected = await reject(store, federation)  # while version 0 is the head
    merged = await submit(store, federation)
    for _ in range(2):
        await publish(store, federation)  # the first one has it
    assert (await store.upkeep.trim(federation, KEEP, at=NOW)).receipts == 0

    await publish(store, federation)
    assert (await store.upkeep.trim(federation, KEEP, at=NOW)).receipts == 1
    assert await store.deltas.receipt(federation, rejected.delta_id) is None
    assert (await receipt_of(store, merged)).state is DeltaState.MERGED

    await publish(store, federation)
    assert (await store.upkeep.trim(federation, KEEP, at=NOW)).receipts == 2
    assert await store.deltas.receipt(federation, merged.delta_id) is None


@pytest.mark.parametrize("receipt_versions", [1, 2, 5])
async def test_no_delta_without_a_receipt_is_accepted_again(store: Store, receipt_versions: int) -> None:
    """However short receipts are kept: each delta is sent again after every version that follows its merge."""
    retention = dataclasses.replace(KEEP, receipt_versions=receipt_versions)
    federation = await federation_that_keeps(store, retention)
    sent: list[DeltaRecord] = []
    forgotten = refused = 0
    for _ in range(8):
        delta = await new_delta(store, federation)
        await store.deltas.accept(delta)
        sent.append(delta)
        await publish(store, federation)
        await store.upkeep.trim(federation, retention, at=NOW)
        for old in sent:
            if await store.deltas.receipt(federation, old.delta_id) is not None:
                assert (await store.deltas.accept(old)).state is DeltaState.MERGED
                continue
            forgotten += 1
            with pytest.raises(BaseVersionTooOld):
                await store.deltas.accept(dataclasses.replace(old, payload=await store_blob(store, federation)))
            refused += 1
    assert forgotten == refused > 0
    assert sum(share.merged for share in (await store.agents.contributions(federation)).values()) == 16


async def test_receipts_of_what_waits_stay_however_old(store: Store) -> None:
    federation = await federation_that_keeps(store, KEEP)
    letter = await bury(store, federation, at=NOW)
    for _ in range(5):
        await publish(store, federation)
    assert (await store.upkeep.trim(federation, KEEP, at=NOW)).dead_letters == 0
    assert (await receipt_of(store, letter.delta)).state is DeltaState.QUEUED


async def test_records_of_old_versions_let_go_of_their_deltas_and_keep_the_rest(store: Store) -> None:
    federation = await federation_that_keeps(store, KEEP)
    for _ in range(4):
        await publish(store, federation)
    before = await store.versions.list(federation, before=None, limit=10)

    assert (await store.upkeep.trim(federation, KEEP, at=NOW)).records == 2
    assert (await store.upkeep.trim(federation, KEEP, at=NOW)).records == 0
    after = await store.versions.list(federation, before=None, limit=10)
    assert after[:2] == before[:2]  # of versions 4 and 3
    assert after[4] == before[4]  # version 0, which no merge made
    for short, whole in zip(after[2:4], before[2:4], strict=True):
        assert short.merge is not None
        assert whole.merge is not None
        assert (short.merge.deltas, short.merge.forgotten_deltas, short.merge.unrecorded) == ((), 1, (LET_GO,))
        assert short.merge.calibration_loss_after == whole.merge.calibration_loss_after
        assert short.average is None  # its payload is gone, and so is what would name it
        assert dataclasses.replace(short, merge=whole.merge, average=whole.average) == whole

    await publish(store, federation)
    assert (await store.upkeep.trim(federation, KEEP, at=NOW)).records == 1


async def test_dead_letters_beyond_the_limit_and_the_aged_are_rejected_and_say_so(store: Store) -> None:
    federation = await federation_that_keeps(store, KEEP)
    letters = [await bury(store, federation, at=NOW + minute) for minute in range(3)]

    assert (await store.upkeep.trim(federation, KEEP, at=NOW + 3)).dead_letters == 1
    assert await store.deltas.dead_letters(federation) == letters[1:]
    receipt = await receipt_of(store, letters[0].delta)
    assert (receipt.state, receipt.reason) == (DeltaState.REJECTED, "DEAD_LETTER_EXPIRED")
    assert re.search(r"retention\.dead_letters.*it failed", receipt.detail)
    assert (await store.agents.contributions(federation))["agent-1"].rejected == 1

    late = NOW + 2 + KEEP.dead_letter_seconds
    assert (await store.upkeep.trim(federation, KEEP, at=late)).dead_letters == 1
    assert await store.deltas.dead_letters(federation) == letters[2:]
    assert "30 days" in (await receipt_of(store, letters[1].delta)).detail
    await store.blobs.sweep(federation, unclaimed_before=NOW)
    assert [await has_blob(store, letter.delta.payload) for letter in letters] == [False, False, True]


async def test_agents_that_are_not_seen_are_forgotten_and_may_come_back(store: Store) -> None:
    federation = await federation_that_keeps(store, KEEP)
    await publish(store, federation, agent_id="agent-1")
    await store.agents.register(federation, new_agent("agent-3"))
    await store.agents.revoke(federation, "agent-3")
    await store.agents.seen(federation, {"agent-2": NOW + DAY_SECONDS})
    retention = dataclasses.replace(KEEP, agent_seconds=DAY_SECONDS)

    assert (await store.upkeep.trim(federation, retention, at=NOW + DAY_SECONDS)).agents == 0
    assert (await store.upkeep.trim(federation, retention, at=NOW + DAY_SECONDS + 1)).agents == 1
    assert [agent.agent_id for agent in await store.agents.list(federation)] == ["agent-2", "agent-3"]
    assert "agent-1" not in await store.agents.contributions(federation)
    with pytest.raises(UnknownAgent):
        await store.deltas.accept(await new_delta(store, federation, agent_id="agent-1"))

    await store.agents.register(federation, new_agent("agent-1", registered_at=NOW + 2 * DAY_SECONDS))
    await submit(store, federation, agent_id="agent-1")
    assert (await store.agents.get(federation, "agent-1")).registered_at == NOW + 2 * DAY_SECONDS


async def test_what_a_forgotten_agent_had_in_the_queue_is_merged_and_its_share_goes_at_the_next_trim(
    store: Store,
) -> None:
    federation = await federation_that_keeps(store, KEEP)
    await submit(store, federation)
    retention = dataclasses.replace(KEEP, agent_seconds=1.0)
    await store.agents.seen(federation, {"agent-2": NOW + 10})
    await store.upkeep.trim(federation, retention, at=NOW + 5)
    await publish(store, federation, agent_id="agent-2")
    assert set(await store.agents.contributions(federation)) == {"agent-1", "agent-2"}
    assert (await store.upkeep.trim(federation, retention, at=NOW + 5)).agents == 1
    assert set(await store.agents.contributions(federation)) == {"agent-2"}


async def test_trimming_what_is_within_every_limit_changes_nothing(store: Store) -> None:
    federation = await federation_that_keeps(store, Retention())
    await publish(store, federation)
    await bury(store, federation, at=NOW)
    before = await store.backups.cut(federation)
    assert await store.upkeep.trim(federation, Retention(), at=NOW + DAY_SECONDS) == Trimmed()
    assert await store.backups.cut(federation) == before
    assert not await unowned(store)


async def test_a_restored_federation_lets_go_of_what_it_would_have_without_the_restore(store: Store) -> None:
    federation = await federation_that_keeps(store, KEEP)
    rejected = await reject(store, federation)
    merged = await submit(store, federation)
    await publish(store, federation)
    cut = await store.backups.cut(federation)
    name = unique("copy")
    record = dataclasses.replace(cut.record, plan=dataclasses.replace(cut.record.plan, federation=name))
    receipts = tuple((await all_receipts(store, federation)).values())
    await store.backups.stage(
        name,
        "restore",
        RecordBatch(
            versions=await all_versions(store, federation),
            receipts=receipts,
            settled_number=cut.head.number,
            agents=cut.agents,
            contributions=cut.contributions,
        ),
    )
    await store.backups.publish(
        name, "restore", Restored(record=record, head_number=cut.head.number, epoch=restored_epoch(cut.epoch, 7))
    )

    for kept in (True, True, False):
        found = [await store.deltas.receipt(name, it.delta_id) is not None for it in (rejected, merged)]
        assert found == [True, True]
        assert (await store.upkeep.trim(name, KEEP, at=NOW)).receipts == 0
        await publish(store, name)
        if not kept:
            assert (await store.upkeep.trim(name, KEEP, at=NOW)).receipts == len(receipts)
    assert await store.deltas.receipt(name, rejected.delta_id) is None


async def test_more_than_one_batch_goes_in_one_call(store: Store) -> None:
    federation = await federation_that_keeps(store, dataclasses.replace(KEEP, dead_letters=1))
    for _ in range(250):
        await submit(store, federation)
    token = await take_lease(store, federation)
    claimed = await store.deltas.claim(federation, "worker-1", limit=250)
    rejections = [Rejection(queued=queued, reason="NON_FINITE", detail="NaN") for queued in claimed]
    await store.deltas.reject(federation, token, rejections)
    for _ in range(3):
        await publish(store, federation)
    assert (await store.upkeep.trim(federation, KEEP, at=NOW)).receipts >= 250
