"""A worker killed with SIGKILL in mid-merge: the next one finishes, exactly once. Real processes, a real store."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from alignfed.plan import FederationPlan
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.urls import open_store
from coordinator.domain import DeltaState
from coordinator.ports import Store
from coordinator.worker.server_state import fetch_state
from tests.support.factors import A, create_federation, merging_plan, send_delta
from tests.support.stores import open_memory_store, receipt_of
from tests.support.waiting import eventually
from tests.support.workers import adapter_of, merge_queue, new_aggregator

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0


@contextlib.contextmanager
def worker_process(url: str, point: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.support.stopping_worker", url, point]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("point", ["aggregate", "commit", "committed"])
async def test_what_a_killed_worker_had_begun_is_merged_exactly_once(tmp_path: Path, point: str) -> None:
    with EmbeddedValkey(tmp_path / "store") as server:
        store = open_store(server.url)
        try:
            plan = merging_plan()
            await create_federation(store, plan, "agent-1", "agent-2")
            deltas = [await send_delta(store, plan, 1.0), await send_delta(store, plan, 3.0, agent_id="agent-2")]

            with worker_process(server.url, point) as victim:
                assert victim.stdout is not None
                assert victim.stdout.readline() == f"reached {point}\n"
                head = (await store.versions.head(plan.federation)).id.number
                assert head == (1 if point == "committed" else 0)
                victim.send_signal(signal.SIGKILL)
                assert victim.wait() == -signal.SIGKILL

            with worker_process(server.url, "never"):
                later = [await send_delta(store, plan, 1.0), await send_delta(store, plan, 3.0, agent_id="agent-2")]

                async def settled() -> bool:
                    states = [(await receipt_of(store, delta)).state for delta in (*deltas, *later)]
                    return DeltaState.QUEUED not in states

                await eventually(settled, what="the next worker has settled everything", timeout_seconds=START_SECONDS)

            versions = await store.versions.list(plan.federation, before=None, limit=10)
            merged = [delta.delta_id for version in versions if version.merge for delta in version.merge.deltas]
            assert sorted(merged) == sorted(delta.delta_id for delta in (*deltas, *later))
            assert [version.id.number for version in versions] == [2, 1, 0]
            contributions = await store.agents.contributions(plan.federation)
            assert {agent: found.merged for agent, found in contributions.items()} == {"agent-1": 2, "agent-2": 2}
            first = await adapter_of(store, plan, 1)
            assert torch.allclose(first[A], torch.full((2, 8), 2.0))
        finally:
            await store.close()


VALUES = [(0.3, -0.7), (0.11, 0.9)]
"""Values of the deltas of two agents, merge by merge."""


async def send_deltas(store: Store, plan: FederationPlan, number: int) -> None:
    for agent, value in enumerate(VALUES[number], start=1):
        delta_id = f"delta-{number}-{agent}"
        await send_delta(store, plan, value, agent_id=f"agent-{agent}", delta_id=delta_id)


async def test_the_heir_of_a_killed_worker_goes_on_from_what_the_server_remembered(tmp_path: Path) -> None:
    plan, expected = merging_plan(recipe="fadas"), open_memory_store()
    await create_federation(expected, plan, "agent-1", "agent-2")
    uninterrupted = new_aggregator(expected, plan)
    for number in (0, 1):
        await send_deltas(expected, plan, number)
        await merge_queue(expected, plan, uninterrupted)

    with EmbeddedValkey(tmp_path / "store") as server:
        store = open_store(server.url)
        try:
            await create_federation(store, plan, "agent-1", "agent-2")
            await send_deltas(store, plan, 0)
            with worker_process(server.url, "committed") as victim:
                assert victim.stdout is not None
                assert victim.stdout.readline() == "reached committed\n"
                victim.send_signal(signal.SIGKILL)
                assert victim.wait() == -signal.SIGKILL
            await send_deltas(store, plan, 1)

            async def published() -> bool:
                return (await store.versions.head(plan.federation)).id.number == 2

            with worker_process(server.url, "never"):
                await eventually(published, what="the heir has merged", timeout_seconds=START_SECONDS)
            for number in (1, 2):
                assert await made_of(store, plan, number) == await made_of(expected, plan, number)
        finally:
            await store.close()


async def made_of(store: Store, plan: FederationPlan, number: int) -> dict[str, bytes]:
    """Return a version's adapter and server state, bit for bit."""
    version = await store.versions.get(plan.federation, number)
    assert version.state is not None
    tensors = {**await adapter_of(store, plan, number), **await fetch_state(store.blobs, version.state)}
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
