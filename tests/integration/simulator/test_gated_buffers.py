"""A merge that the judge refuses: given up, or tried again without the deltas that a defence suspects."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import pytest

from alignfed.codec import Factors
from alignfed.errors import CandidateGated
from bench.federation.fleet import Layout
from bench.federation.regimes import Regime
from bench.poisoning.attacks.scaled import scale
from bench.simulator.engine import Engine
from bench.simulator.scenario import Conduct, Defence, Guard, Guarded, Scenario, Settled, Trained, View
from bench.simulator.simulation import Setup, simulate
from coordinator.algo.recipes import RECIPES
from coordinator.algo.values import DeltaInput, Load

ATTACKER = "agent-001"
JUDGED = dataclasses.replace(RECIPES["fedbuff"], needs_probe=True)
"""Takes deltas as they are, so that one which points backwards spoils its buffer."""


def backwards(load: Load) -> Factors:
    return scale(load(), -30.0)


def send(trained: Trained) -> Load:
    return functools.partial(backwards, trained.load) if trained.agent.agent_id == ATTACKER else trained.load


def without_attacker(deltas: Sequence[DeltaInput], _view: View) -> Guarded:
    rejected = {delta.delta_id: "SUSPECT" for delta in deltas if delta.agent_id == ATTACKER}
    return Guarded(kept=tuple(delta for delta in deltas if delta.delta_id not in rejected), rejected=rejected)


@pytest.fixture
def strict(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """By how much a random model's loss rises is its own affair, so the gate allows no rise at all."""
    calibration = dataclasses.replace(engine.federation.calibration, max_loss_increase_ratio=0.0)
    monkeypatch.setattr(engine, "federation", dataclasses.replace(engine.federation, calibration=calibration))
    return engine


@pytest.mark.parametrize("gated", [None, without_attacker])
def test_a_gated_buffer_is_given_up_or_tried_again_without_suspects(
    strict: Engine, short: Regime, gated: Guard | None
) -> None:
    told: list[Settled] = []
    result = simulate(
        Setup(regime=short, layout=Layout.TIED, recipe=JUDGED, server_learning_rate=1.0, seed=4),
        strict,
        scenario=Scenario(conduct=Conduct(send=send), defence=Defence(gated=gated, judges=True), told=told.append),
    )
    assert result.gated > 0
    lost = [delta for delta in told if delta.reason == CandidateGated.reason]
    suspected = [delta for delta in told if delta.reason == "SUSPECT"]
    if gated is None:
        assert not suspected
        assert len(lost) == short.buffer_size * result.gated
        assert any(delta.agent_id != ATTACKER for delta in lost), "the honest are lost with the attacker"
    else:
        assert suspected
        assert all(delta.agent_id != ATTACKER for delta in lost)
    merged = [delta for delta in told if not delta.reason]
    assert len(merged) == sum(agent.merged for agent in result.agents) > 0
