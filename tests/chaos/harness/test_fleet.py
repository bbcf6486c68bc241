"""The chaos harness' fleet: ending one process may need the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignfed.plan import Buffer
from tests.chaos.harness.fleet import Fleet
from tests.chaos.harness.plan import federation_plan
from tests.chaos.harness.roles import ENDLESS


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_a_sender_that_has_its_share_ends_once_a_killed_worker_is_back(tmp_path: Path) -> None:
    with Fleet(tmp_path, federation_plan(tmp_path, buffer=Buffer(size=4, timeout_seconds=0.2))) as fleet:
        fleet.add_coordinators(1)
        fleet.create_federation()
        fleet.add_sender("sender", count=ENDLESS, streams=1)
        fleet.tend_until(lambda: "AGENT_OVER_QUOTA" in fleet.children["sender"].output, what="the sender has its share")
        fleet.add_workers(1)
        fleet.kill("worker-1")
        assert fleet.retire("sender").code == 0
        assert not fleet.accidents
