"""Failpoints of the worker: one failure in the midst of a merge, and every delta is merged exactly once."""

from __future__ import annotations

import re

import pytest

from alignfed.failpoints import armed
from coordinator.backends.failing import failing_if_armed
from coordinator.backends.memory import MemoryStore
from coordinator.cli.failpoint_places import WORKER, places
from tests.support.factors import create_federation, merging_plan, send_delta
from tests.support.workers import running_worker, settled

OF_A_MERGE = re.compile(
    r"merge\.(aggregated|stored)|store\.(versions\.commit\.|(blobs\.put_part|deltas\.claim)\.after)"
)
PLACES = [found.place for found in places() if WORKER in found.processes and OF_A_MERGE.match(found.place)]


@pytest.mark.parametrize("place", PLACES)
async def test_a_merge_that_fails_at_any_place_is_made_up_for(place: str, capfd: pytest.CaptureFixture[str]) -> None:
    store, plan = MemoryStore(), merging_plan()
    await create_federation(store, plan, "agent-1", "agent-2")
    deltas = [await send_delta(store, plan, 1.0), await send_delta(store, plan, 3.0, agent_id="agent-2")]
    with armed(f"{place}=error@1"):
        async with running_worker(failing_if_armed(store)):
            await settled(store, *deltas)
    assert re.search(rf"^failpoint {re.escape(place)} hit 1 ", capfd.readouterr().err, re.MULTILINE)

    versions = await store.versions.list(plan.federation, before=None, limit=10)
    merged = [delta.delta_id for version in versions if version.merge for delta in version.merge.deltas]
    assert sorted(merged) == sorted(delta.delta_id for delta in deltas)
    assert [version.id.number for version in versions] == [1, 0]
