"""An agent that trains privately: what it spends is kept, told, and has an end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alignfed.errors import RequestInvalid
from edge_agent.privacy.ledger import PrivacyLedger
from edge_agent.privacy.settings import DpSettings
from edge_agent.runtime import AgentSettings
from edge_agent.training.workload import read_workload
from tests.support.agent_runs import AddingTrainer, AgentThread, MakeSettings, read_status
from tests.support.tiny_federation import write_rows

DELTA = 1e-3
ENDLESS = DpSettings(noise_multiplier=2.0, delta=DELTA)


def run_to_its_end(settings: AgentSettings, tmp_path: Path) -> int:
    """Run a private agent and return how many deltas it has made in all."""
    workload = read_workload(
        data=[str(write_rows(tmp_path / "rows.jsonl"))],
        extensions=None,
        device="cpu",
        precision="fp32",
        threads=1,
        privacy=settings.privacy,
    )
    with AgentThread(settings, workload.make_trainer) as agent:
        return agent.finish(60.0).made


def test_what_is_spent_is_kept_and_told_and_training_ends_before_it_is_too_much(
    settings: MakeSettings, tmp_path: Path
) -> None:
    assert run_to_its_end(settings(privacy=ENDLESS, max_deltas=1), tmp_path) == 1
    spent = PrivacyLedger(tmp_path / "state").spent
    assert [(part.sampling_ratio, part.steps) for part in spent] == [(2 / 12, 2)]
    one = PrivacyLedger(tmp_path / "state").epsilon(delta=DELTA)
    three = PrivacyLedger(tmp_path / "state").epsilon_with(spent[0], delta=DELTA)
    assert read_status(settings())["privacy_epsilon"] == pytest.approx(one)

    bounded = DpSettings(noise_multiplier=2.0, delta=DELTA, max_epsilon=three + 1e-6)  # room for one more delta
    assert run_to_its_end(settings(privacy=bounded), tmp_path) == 2
    assert PrivacyLedger(tmp_path / "state").spent[0].steps == 4
    status = read_status(settings())
    assert (status["privacy_epsilon"], status["privacy_delta"]) == (pytest.approx(three), DELTA)
    assert run_to_its_end(settings(privacy=bounded), tmp_path) == 2, "a restart brings no new budget"
    assert json.loads((tmp_path / "state" / "privacy.json").read_text("utf-8"))["spent"][0]["steps"] == 4


def test_one_delta_without_noise_would_undo_all_the_others(settings: MakeSettings, tmp_path: Path) -> None:
    run_to_its_end(settings(privacy=ENDLESS, max_deltas=1), tmp_path)
    agent = AgentThread(settings(max_deltas=2), AddingTrainer().make)
    with agent, pytest.raises(RequestInvalid, match="dp-noise-multiplier"):
        agent.finish()


def test_a_trainer_that_cannot_say_what_it_costs_is_not_called_private(settings: MakeSettings) -> None:
    agent = AgentThread(settings(privacy=ENDLESS), AddingTrainer().make)
    with agent, pytest.raises(RequestInvalid, match="cannot train privately"):
        agent.finish()
