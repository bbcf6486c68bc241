"""`alignfed replay`: a version that really was merged is derived again from the store; anything else is refused."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from alignfed.errors import AlignFedError, RequestInvalid, StoreCorrupt, VersionNotFound
from alignfed.plan import Aggregation, Encoding, FederationPlan, Retention
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.urls import open_store
from coordinator.cli.main import alignfed
from coordinator.domain import Commit, VersionId, VersionKind, VersionRecord, delta_blob_id
from coordinator.ports import Store
from tests.support.factors import create_federation, merging_plan
from tests.support.stores import NOW, merge_record, take_lease
from tests.support.uploads import drawn_factors, upload
from tests.support.workers import merge_queue, new_aggregator


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[tuple[str, Store]]:
    """URL of a real store, and the store."""
    with EmbeddedValkey(tmp_path / "store") as server:
        store = open_store(server.url)
        yield server.url, store
        await store.close()


def replayable_plan() -> FederationPlan:
    return dataclasses.replace(merging_plan(), retention=Retention(delta_versions=2)).validate()


async def replay(place: tuple[str, Store], plan: FederationPlan, number: int) -> Result:
    """Run the command in a thread, where it makes an event loop of its own."""
    arguments = ["replay", plan.federation, str(number), "--store-url", place[0]]
    return await asyncio.to_thread(CliRunner().invoke, alignfed, arguments)


async def refusal(place: tuple[str, Store], plan: FederationPlan, number: int) -> AlignFedError:
    error = (await replay(place, plan, number)).exception
    assert isinstance(error, AlignFedError)
    return error


async def test_a_merged_version_is_derived_again_and_a_rollback_is_no_merge(place: tuple[str, Store]) -> None:
    store, plan = place[1], replayable_plan()
    await create_federation(store, plan, "agent-1", "agent-2", start=drawn_factors(0))
    initial = (await store.versions.head(plan.federation)).id
    aggregator = new_aggregator(store, plan)
    await upload(store, plan, 1, 2)
    await merge_queue(store, plan, aggregator)
    await upload(store, plan, 3)
    await upload(store, plan, 4, base=initial)
    version = await merge_queue(store, plan, aggregator)
    assert version.merge is not None
    assert [delta.staleness_versions for delta in version.merge.deltas] == [0, 1]

    done = await replay(place, plan, 2)
    assert done.exit_code == 0, done.exception
    assert done.output == "version 2 is, bit for bit, what its record makes of version 1 and 2 deltas\n"

    await store.versions.roll_back(plan.federation, 1, at=NOW)
    assert (await replay(place, plan, 1)).exit_code == 0
    assert isinstance(await refusal(place, plan, 3), RequestInvalid)
    assert isinstance(await refusal(place, plan, 9), VersionNotFound)


async def test_a_version_that_its_record_does_not_make_is_reported(place: tuple[str, Store]) -> None:
    store, plan = place[1], merging_plan()
    await create_federation(store, plan, "agent-1", "agent-2", start=drawn_factors(0))
    await upload(store, plan, 1)
    token = await take_lease(store, plan.federation)
    claimed = await store.deltas.claim(plan.federation, "worker-1", limit=10)
    head = (await store.versions.head(plan.federation)).id
    record = await store.versions.get(plan.federation, 0)
    forged = VersionRecord(
        id=VersionId(epoch=token, number=1, digest=record.adapter.sha256),
        kind=VersionKind.MERGE,
        parent=0,
        adapter=record.adapter,
        merge=merge_record(claimed),
        created_at=NOW,
    )
    await store.versions.commit(
        Commit(federation=plan.federation, token=token, expected_head=head, version=forged, merged=tuple(claimed))
    )
    error = await refusal(place, plan, 1)
    assert isinstance(error, StoreCorrupt)
    assert "not what its record makes" in error.message


async def test_what_is_not_kept_or_not_recorded_any_more_is_said(place: tuple[str, Store]) -> None:
    store = place[1]
    plan = dataclasses.replace(
        merging_plan(), retention=Retention(versions=3, delta_versions=1), delta_encoding=Encoding.INT8
    ).validate()
    await create_federation(store, plan, "agent-1", "agent-2", start=drawn_factors(0))
    aggregator = new_aggregator(store, plan)
    for seed in range(1, 5):
        await upload(store, plan, seed)
        await merge_queue(store, plan, aggregator)
    await store.blobs.sweep(plan.federation, unclaimed_before=0.0)
    assert (await replay(place, plan, 4)).exit_code == 0
    assert "retention.delta_versions" in (await refusal(place, plan, 3)).message
    assert "retention.versions" in (await refusal(place, plan, 1)).message


@pytest.mark.parametrize("kept", [0, 1])
async def test_raw_deltas_go_once_merged_unless_the_plan_chooses_replay(place: tuple[str, Store], kept: int) -> None:
    store, plan = place[1], merging_plan()
    assert plan.retention.delta_versions == 0, "the default keeps none"
    if kept:
        plan = dataclasses.replace(plan, retention=Retention(delta_versions=kept))
    await create_federation(store, plan, "agent-1", "agent-2", start=drawn_factors(0))
    await upload(store, plan, 1)
    version = await merge_queue(store, plan, new_aggregator(store, plan))
    assert version.merge is not None
    merged = version.merge.deltas[0]
    receipt = await store.deltas.receipt(plan.federation, merged.delta_id)
    assert receipt is not None
    await store.blobs.sweep(plan.federation, unclaimed_before=0.0)
    blob_id = delta_blob_id(plan.federation, merged.agent_id, merged.delta_id, sha256=receipt.sha256)
    assert await store.blobs.stored_parts(blob_id, 1) == kept
    if kept:
        assert (await replay(place, plan, 1)).exit_code == 0
        return
    error = await refusal(place, plan, 1)
    assert isinstance(error, VersionNotFound)
    assert "deleted once they are merged" in error.message
    assert "retention.delta_versions" in error.message


async def test_a_server_step_is_not_in_the_record(place: tuple[str, Store]) -> None:
    store = place[1]
    plan = dataclasses.replace(merging_plan(), aggregation=Aggregation(recipe="fadas")).validate()
    await create_federation(store, plan, "agent-1", "agent-2", start=drawn_factors(0))
    await upload(store, plan, 1)
    await merge_queue(store, plan, new_aggregator(store, plan))
    assert "server step" in (await refusal(place, plan, 1)).message
