"""What the leading worker shows of a federation follows the operator: rollbacks, lost leases, pauses, the end."""

from __future__ import annotations

import pytest

from coordinator.domain import VersionRecord
from coordinator.worker.metrics import WorkerMetrics
from tests.integration.test_worker import JudgeByDistance
from tests.support.factors import create_federation, merging_plan, send_delta
from tests.support.stores import NOW, open_memory_store
from tests.support.waiting import eventually
from tests.support.workers import running_worker, settled


def loss_of(version: VersionRecord) -> float:
    assert version.merge is not None
    assert version.merge.calibration_loss_after is not None
    return version.merge.calibration_loss_after


async def test_a_rollback_shows_the_loss_that_is_served_again_and_the_lease_it_took() -> None:
    store, plan = open_memory_store(), merging_plan(judge_rows=1)
    fed = plan.federation
    await create_federation(store, plan, "agent-1", "agent-2")

    def figure(metrics: WorkerMetrics, name: str) -> float | None:
        return metrics.registry.get_sample_value(f"alignfed_{name}", {"federation": fed})

    async with running_worker(store, probe=JudgeByDistance()) as metrics:

        async def shows(version: int, loss: float | None) -> bool:
            if figure(metrics, "global_version") != version:
                return False
            shown = figure(metrics, "calibration_loss")
            return shown is None if loss is None else shown == pytest.approx(loss)

        for value in (0.1, 0.2):
            deltas = [await send_delta(store, plan, value, agent_id=agent) for agent in ("agent-1", "agent-2")]
            await settled(store, *deltas)
        first, second = [await store.versions.get(fed, number) for number in (1, 2)]
        assert loss_of(first) != loss_of(second)
        await eventually(lambda: shows(2, loss_of(second)), what="the newest version's loss is shown")
        epoch = figure(metrics, "lease_epoch")

        await store.versions.roll_back(fed, 1, at=NOW)
        await eventually(lambda: shows(3, loss_of(first)), what="the restored version's loss is shown")
        assert figure(metrics, "lease_lost_total") == 1
        assert epoch is not None
        assert (figure(metrics, "lease_epoch") or 0) > epoch

        await store.versions.roll_back(fed, 0, at=NOW)
        await eventually(lambda: shows(4, None), what="no loss is shown of a version that was never judged")
    assert figure(metrics, "lease_epoch") is None
    assert figure(metrics, "lease_lost_total") == 2
