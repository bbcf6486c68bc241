"""A delta whose payload the store has lost is sent again by its agent and merged once, wherever the worker dies."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignfed.plan import Buffer
from tests.chaos.harness.fleet import Fleet
from tests.chaos.harness.plan import federation_plan
from tests.chaos.harness.settling import settle, state_directories
from tests.chaos.scenarios.corners import die_at_a_lost_payload
from tests.chaos.verdict.evidence import gather
from tests.chaos.verdict.oracle import judge


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_a_lost_payload_is_sent_again_and_merged_once(tmp_path: Path) -> None:
    plan = federation_plan(tmp_path, buffer=Buffer(size=2, timeout_seconds=0.3))
    with Fleet(tmp_path, plan) as fleet:
        fleet.add_coordinators(1)
        fleet.create_federation()
        fleet.add_workers(1)
        fleet.wait_ready("worker-1")
        for number, end in enumerate(("before", "after"), start=1):
            die_at_a_lost_payload(fleet, f"store.deltas.disown.{end}", f"agent-{number}")
        faults = settle(fleet)
        verdict = judge(gather(fleet.store.url, plan.federation, agents=state_directories(fleet)))
    assert not faults
    assert not fleet.accidents
    assert verdict.sound, verdict.faults
    assert verdict.rejected == 0
    assert verdict.merged >= 2
