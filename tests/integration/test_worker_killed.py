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

from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.urls import open_store
from coordinator.domain import AdapterKind, DeltaState
from coordinator.worker.payloads import fetch_adapter
from tests.support.factors import A, create_federation, merging_plan, send_delta
from tests.support.stores import receipt_of
from tests.support.waiting import eventually

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
            first = await fetch_adapter(store.blobs, versions[1].blob(AdapterKind.TRAINING), plan)
            assert torch.allclose(first[A], torch.full((2, 8), 2.0))
        finally:
            await store.close()
