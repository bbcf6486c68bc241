"""Merges that fail: for whose fault, and what becomes of their deltas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from alignfed.errors import Fenced, HeadMoved, StoreUnreachable
from coordinator.domain import Commit, CommitOutcome, DeltaState, QueuedDelta
from coordinator.policy import MAX_ATTEMPTS
from coordinator.worker import loop
from tests.support.factors import create_federation, merging_plan, send_delta
from tests.support.stores import open_memory_store, receipt_of
from tests.support.waiting import eventually
from tests.support.workers import running_worker, settled


class Port:
    """A part of a store that passes every call on; those who inherit from it fail at some."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.lost = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class LossyVersions(Port):
    """Versions whose first commit happens but is not answered, as when a store's connection breaks."""

    async def commit(self, commit: Commit) -> CommitOutcome:
        outcome: CommitOutcome = await self._inner.commit(commit)
        if not self.lost:
            self.lost += 1
            raise StoreUnreachable("the answer to the commit was lost")
        return outcome


async def test_a_commit_whose_answer_was_lost_is_not_made_twice() -> None:
    store, plan = open_memory_store(), merging_plan()
    await create_federation(store, plan, "agent-1", "agent-2")
    versions = LossyVersions(store.versions)
    store.versions = versions  # type: ignore[assignment]
    deltas = [await send_delta(store, plan, 1.0), await send_delta(store, plan, 1.0, agent_id="agent-2")]
    async with running_worker(store):
        await settled(store, *deltas)
        later = [await send_delta(store, plan, 1.0), await send_delta(store, plan, 1.0, agent_id="agent-2")]
        await settled(store, *later)
    assert versions.lost == 1
    assert (await store.versions.head(plan.federation)).id.number == 2
    merged = await store.agents.contributions(plan.federation)
    assert {agent: contribution.merged for agent, contribution in merged.items()} == {"agent-1": 2, "agent-2": 2}


class PoisonousVersions(Port):
    """Versions that cannot commit one certain delta, whatever it is merged with."""

    poison = ""

    async def commit(self, commit: Commit) -> CommitOutcome:
        if any(queued.delta.delta_id == self.poison for queued in commit.merged):
            raise RuntimeError("poison")
        outcome: CommitOutcome = await self._inner.commit(commit)
        return outcome


async def test_a_delta_that_breaks_every_merge_ends_as_a_dead_letter_and_harms_no_other() -> None:
    store, plan = open_memory_store(), merging_plan()
    await create_federation(store, plan, "agent-1", "agent-2")
    versions = PoisonousVersions(store.versions)
    store.versions = versions  # type: ignore[assignment]
    poison = await send_delta(store, plan, 1.0)
    versions.poison = poison.delta_id
    good = await send_delta(store, plan, 1.0, agent_id="agent-2")
    async with running_worker(store) as metrics:
        await settled(store, good)

        async def buried() -> bool:
            return bool(await store.deltas.dead_letters(plan.federation))

        await eventually(buried, what="the poisonous delta is a dead letter")
    assert [letter.delta.delta_id for letter in await store.deltas.dead_letters(plan.federation)] == [poison.delta_id]
    assert metrics.dead_letters.labels(plan.federation)._value.get() == 1


class FencingVersions(Port):
    """Versions whose first commits fail: the lease was lost, the head has moved, or the store is away, in turn."""

    failing = 0

    async def commit(self, commit: Commit) -> CommitOutcome:
        if self.lost < self.failing:
            self.lost += 1
            failures = (Fenced("another worker took over"), HeadMoved("moved"), StoreUnreachable("away"))
            raise failures[self.lost % len(failures)]
        outcome: CommitOutcome = await self._inner.commit(commit)
        return outcome


class ForgetfulDeltas(Port):
    """Deltas of a store that is away whenever an attempt is to be taken back for the first time."""

    forgiven = 0

    async def forgive_attempt(self, federation: str, deltas: Sequence[QueuedDelta]) -> None:
        self.forgiven += 1
        if self.forgiven % 2:
            raise StoreUnreachable("away")
        await self._inner.forgive_attempt(federation, deltas)


async def test_merges_that_fail_for_no_fault_of_their_deltas_make_no_dead_letter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "DISCOVER_SECONDS", 0.02)
    store, plan = open_memory_store(), merging_plan()
    await create_federation(store, plan, "agent-1", "agent-2")
    versions, deltas = FencingVersions(store.versions), ForgetfulDeltas(store.deltas)
    versions.failing = 3 * MAX_ATTEMPTS
    store.versions, store.deltas = versions, deltas  # type: ignore[assignment]
    sent = [await send_delta(store, plan, 1.0), await send_delta(store, plan, 1.0, agent_id="agent-2")]
    async with running_worker(store) as metrics:
        await settled(store, *sent)
    assert versions.lost == versions.failing
    assert deltas.forgiven >= versions.failing
    assert metrics.dead_letters.labels(plan.federation)._value.get() == 0
    assert (await store.versions.head(plan.federation)).id.number == 1, (
        "both were merged together, neither was suspected"
    )
    assert [(await receipt_of(store, delta)).state for delta in sent] == [DeltaState.MERGED] * 2
