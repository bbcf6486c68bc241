"""`alignfed backup` of a federation that trains, and `alignfed restore` into another store, where training goes on.

Real agents, a real coordinator and worker, two real stores.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file

from alignfed.plan import Aggregation, FederationPlan, Retention, Training
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.urls import open_store
from coordinator.cli.main import alignfed
from coordinator.cuts import RESTORED_EPOCH_GAP
from coordinator.domain import DeltaState, VersionRecord
from coordinator.ports import Store
from coordinator.service.config import ServiceConfig
from coordinator.service.server import CoordinatorServer
from edge_agent.runtime import AgentSettings
from tests.support.agent_runs import AddingTrainer, AgentThread
from tests.support.factors import create_federation
from tests.support.histories import all_receipts, all_versions
from tests.support.tiny_federation import fresh_adapter, tiny_plan
from tests.support.waiting import eventually
from tests.support.workers import running_worker

ANY_PORT = "127.0.0.1:0"


@pytest.fixture
def plan(tiny_model_dir: Path) -> FederationPlan:
    """Two agents that wait for each other: one version per pair of deltas, as fast as both are."""
    return tiny_plan(
        tiny_model_dir,
        aggregation=Aggregation(recipe="participation"),
        retention=Retention(delta_versions=8),
        training=Training(local_steps=2, batch_size=2, sequence_length=64, learning_rate=1e-2, wait_for_version=True),
    )


@contextlib.asynccontextmanager
async def store_at(folder: Path) -> AsyncIterator[tuple[str, Store]]:
    with EmbeddedValkey(folder) as server:
        store = open_store(server.url)
        yield server.url, store
        await store.close()


@contextlib.asynccontextmanager
async def federation_at_work(store: Store, plan: FederationPlan, folder: Path) -> AsyncIterator[CoordinatorServer]:
    """Run a coordinator, a worker and two agents, whose state stays in `folder`."""
    server = CoordinatorServer(store, config=ServiceConfig(agent_listen=ANY_PORT, operator_listen=ANY_PORT))
    await server.start()
    try:
        async with running_worker(store):
            agents = [agent(server, plan, folder, agent_id) for agent_id in ("agent-1", "agent-2")]
            for thread in agents:
                thread.__enter__()
            try:
                yield server
            finally:
                await asyncio.gather(*(asyncio.to_thread(thread.stop) for thread in agents))
    finally:
        await server.stop()


def agent(server: CoordinatorServer, plan: FederationPlan, folder: Path, agent_id: str) -> AgentThread:
    settings = AgentSettings(
        coordinator=f"127.0.0.1:{server.agent_port}",
        federation=plan.federation,
        agent_id=agent_id,
        state_dir=folder / agent_id,
        status_file=folder / f"{agent_id}.json",
    )
    return AgentThread(settings, AddingTrainer(0.01 if agent_id == "agent-1" else 0.02).make)


async def command(*arguments: str) -> str:
    """Run `alignfed` in a thread, where it makes an event loop of its own, and return what it says."""
    done = await asyncio.to_thread(CliRunner().invoke, alignfed, list(arguments))
    assert done.exit_code == 0, done.exception
    return done.output


async def version_reached(store: Store, plan: FederationPlan, number: int) -> None:
    async def reached() -> bool:
        return (await store.versions.head(plan.federation)).id.number >= number

    await eventually(reached, what=f"version {number} is published", timeout_seconds=60)


def branchless(version: VersionRecord) -> VersionRecord:
    return dataclasses.replace(version, abandoned=False)


async def test_a_federation_is_backed_up_at_work_and_goes_on_in_another_store(
    tmp_path: Path, plan: FederationPlan, one_thread: None
) -> None:
    name, file = plan.federation, tmp_path / "live.backup"
    async with store_at(tmp_path / "old") as (old_url, old), store_at(tmp_path / "new") as (new_url, new):
        await create_federation(old, plan, start=fresh_adapter(plan))
        async with federation_at_work(old, plan, tmp_path) as server:
            await version_reached(old, plan, 2)
            said = await command("backup", name, str(file), "--store-url", old_url)
            assert f"{name} at version " in said
            backed_up = int(said.split("at version ")[1].split(":")[0])
            await version_reached(old, plan, backed_up + 2)  # what the backup does not know of
            operator = f"127.0.0.1:{server.operator_port}"
            await command("export", name, str(tmp_path / "a"), "--version", str(backed_up), "--operator", operator)

        assert "every payload is whole" in await command("backup", "--verify", str(file))
        assert f"restored {name} at version {backed_up}" in await command("restore", str(file), "--store-url", new_url)
        await assert_restored_as_of(old, new, name, backed_up)
        assert "bit for bit" in await command("replay", name, str(backed_up), "--store-url", new_url)

        async with federation_at_work(
            new, plan, tmp_path
        ) as server:  # agents come with deltas of versions it never had
            await version_reached(new, plan, backed_up + 3)
            operator = f"127.0.0.1:{server.operator_port}"
            await command("export", name, str(tmp_path / "b"), "--version", str(backed_up), "--operator", operator)
        assert (tmp_path / "a" / "adapter_model.safetensors").read_bytes() == (
            tmp_path / "b" / "adapter_model.safetensors"
        ).read_bytes()
        assert load_file(tmp_path / "b" / "adapter_model.safetensors")
        assert (await new.versions.get(name, backed_up + 1)).id.epoch > RESTORED_EPOCH_GAP
        await assert_each_delta_settled_once(new, name)


async def assert_restored_as_of(old: Store, new: Store, name: str, head: int) -> None:
    """Check that the new store has the old one's past up to `head`, and nothing of what came after."""
    versions = await all_versions(new, name)
    assert [version.id.number for version in versions] == list(range(head, -1, -1))
    assert [*map(branchless, versions)] == [*map(branchless, (await all_versions(old, name))[-head - 1 :])]
    waiting = (await new.backups.cut(name)).waiting
    later = await all_receipts(old, name)
    merged = set()
    for delta_id, receipt in (await all_receipts(new, name)).items():
        if receipt.state is DeltaState.QUEUED:
            assert delta_id in waiting
        else:
            assert receipt == later[delta_id]
            merged.add(delta_id)
    recorded = {delta.delta_id for version in versions if version.merge for delta in version.merge.deltas}
    assert merged == recorded


async def assert_each_delta_settled_once(store: Store, name: str) -> None:
    merged = [
        delta.delta_id
        for version in await all_versions(store, name)
        if version.merge is not None
        for delta in version.merge.deltas
    ]
    assert len(merged) == len(set(merged))
    receipts = await all_receipts(store, name)
    assert {delta_id for delta_id, receipt in receipts.items() if receipt.state is DeltaState.MERGED} == set(merged)
