"""Failpoints of the agent's calls: one failure at each of them, and its delta arrives exactly once."""

from __future__ import annotations

import re

import pytest

from alignfed.codec import encode
from alignfed.failpoints import armed
from alignfed.plan import FederationPlan
from coordinator.cli.failpoint_places import places
from edge_agent.outbox.outbox import Outbox
from tests.support.agent_runs import AddingTrainer, AgentThread, MakeSettings
from tests.support.live_coordinator import LiveCoordinator

RENEWAL = "rpc.renew_certificate"
"""Made by agents that have joined, and apart from deltas: `test_agent_identity` fails it."""
CALLS = [place.place for place in places() if place.place.startswith("rpc.") and not place.place.startswith(RENEWAL)]


@pytest.mark.parametrize("place", CALLS)
def test_a_call_that_fails_at_any_place_is_made_again(
    coordinator: LiveCoordinator,
    plan: FederationPlan,
    settings: MakeSettings,
    capfd: pytest.CaptureFixture[str],
    place: str,
) -> None:
    here = settings(max_deltas=1)
    trainer = AddingTrainer(0.5)
    with armed(f"{place}=error@1"), AgentThread(here, trainer.make) as agent:
        assert agent.finish().made == 1
    assert re.search(rf"^failpoint {re.escape(place)} hit 1 ", capfd.readouterr().err, re.MULTILINE)

    [delta] = coordinator.deltas(plan.federation)
    [kept] = Outbox(here.state_dir / "outbox").acknowledged
    assert kept.meta.delta_id == delta.delta_id
    sent = coordinator.factors(plan, delta)
    assert kept.payload.read_bytes() == encode(sent, delta.encoding)
