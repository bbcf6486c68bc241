"""A fleet of which some attack: who sends what, what the server rejects, and what is left of the backdoor."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from alignfed.errors import DeltaNormTooLarge
from bench.federation.fleet import make_fleet
from bench.federation.regimes import Regime, Tier
from bench.poisoning.attack import Attack
from bench.poisoning.attacks import ATTACKS
from bench.poisoning.conspiracy import Conspiracy
from bench.poisoning.outcome import Outcome, Placement, Trial, clean_trial
from bench.poisoning.station import LAYOUT, carry_out
from bench.simulator.engine import Engine
from bench.simulator.scenario import Conduct, Scenario, Settled, Trained
from bench.simulator.simulation import Setup, simulate
from coordinator.algo.recipes import RECIPES
from coordinator.algo.values import Load
from coordinator.worker.calibration import IGNORED

ATTACKER = "agent-001"


@pytest.fixture
def fleet() -> Regime:
    return Regime(
        name="poisoned-short",
        tiers=(Tier(agents=3, speed=4), Tier(agents=2, speed=1)),
        buffer_size=4,
        duration_seconds=10.0,
        job_seconds=4.0,
        local_steps=2,
    )


def attack(name: str, defence: str) -> Trial:
    return Trial(attack=name, share=0.2, placement=Placement.FAST, defence=defence, seed=4)


def mean(outcome: Outcome) -> float:
    return outcome.served.mean_test


def test_a_clean_run_rejects_nothing_and_every_merged_delta_is_told(engine: Engine, fleet: Regime) -> None:
    found = carry_out(clean_trial("present", 4), engine, fleet)
    assert found.fresh.rejections == found.stale.rejections == found.attackers.settled == 0
    assert found.fresh.merged + found.stale.merged == fleet.buffer_size * found.merges
    assert min(found.fresh.merged, found.stale.merged) > 0
    assert mean(found) < found.base.mean_test
    assert 0 < found.guard_seconds < found.merge_seconds


def test_long_deltas_are_merged_by_an_open_server_and_rejected_by_their_norm(engine: Engine, fleet: Regime) -> None:
    open_server = carry_out(attack("scaled-100", "none"), engine, fleet)
    present = carry_out(attack("scaled-100", "present"), engine, fleet)
    assert open_server.attackers.rejections == 0
    assert present.attackers.rejected.get(DeltaNormTooLarge.reason, 0) >= 0.5 * present.attackers.settled > 0
    assert present.fresh.rejections + present.stale.rejections <= fleet.buffer_size
    assert mean(present) != mean(open_server)


def test_the_silent_send_nothing_and_the_others_go_on(engine: Engine, fleet: Regime) -> None:
    silent = carry_out(attack("silent", "none"), engine, fleet)
    assert silent.attackers.settled == 0
    assert silent.fresh.merged + silent.stale.merged > 0


@pytest.mark.parametrize("name", ["label-flip", "little-is-enough", "backdoor-boosted", "free-rider-copy"])
def test_attacks_run_against_the_default(engine: Engine, fleet: Regime, name: str) -> None:
    found = carry_out(attack(name, "screening"), engine, fleet)
    assert math.isfinite(mean(found))
    assert found.attackers.settled > 0


def test_free_riders_that_send_zeros_are_screened_out(engine: Engine, fleet: Regime) -> None:
    found = carry_out(attack("free-rider-zero", "screening"), engine, fleet)
    assert found.attackers.rejected.get("DELTA_NEAR_ZERO", 0) > 0
    assert found.stale.rejections == 0


def conspiracy(engine: Engine, attack: Attack) -> Conduct:
    return Conspiracy(
        attack,
        frozenset({ATTACKER}),
        agents=5,
        vocabulary=engine.stacked.vocabulary,
        tokenise=engine.sequences,
    ).conduct


def test_attackers_train_on_other_rows_or_labels_and_nobody_else_does(engine: Engine, fleet: Regime) -> None:
    attacker, other, *_ = make_fleet(fleet, LAYOUT, engine.federation.domains, seed=4)
    rows = engine.sequences(attacker.rows)
    for name in ("label-flip", "backdoor"):
        conduct = conspiracy(engine, ATTACKS[name])
        assert conduct.rows(attacker, rows) != rows
        assert conduct.rows(other, rows) == rows
    assert conspiracy(engine, ATTACKS["sign-flip"]).rows(attacker, rows) == rows


def test_an_attacker_turns_its_own_delta_round_and_honest_ones_pass_untouched(engine: Engine, fleet: Regime) -> None:
    attacker, other, *_ = make_fleet(fleet, LAYOUT, engine.federation.domains, seed=4)
    versions = [engine.initial(4)]
    delta = {name: torch.ones_like(tensor) for name, tensor in versions[0].items()}
    conduct = conspiracy(engine, ATTACKS["sign-flip"])
    sent: dict[str, Load | None] = {
        agent.agent_id: conduct.send(Trained(agent=agent, base=0, versions=versions, load=lambda: delta))
        for agent in (attacker, other)
    }
    flipped, honest = sent[attacker.agent_id], sent[other.agent_id]
    assert flipped is not None
    assert honest is not None
    assert all(bool((tensor == -1).all()) for tensor in flipped().values())
    assert honest() is delta


def test_greedy_answers_are_what_decoding_gives(engine: Engine) -> None:
    adapter = engine.stacked.flatten([engine.initial(1)])
    prompt, _ = engine.sequences(engine.federation.domains[0].test)[0]
    tokens = list(prompt[:8])
    for _ in range(3):  # decode greedily: of all next tokens the one with the least loss
        following = range(engine.stacked.vocabulary)
        rows = [([*tokens, token], [IGNORED] * len(tokens) + [token]) for token in following]
        tokens.append(int(engine.stacked.answers(adapter, rows)[0].argmin()))
    labels = [IGNORED] * 8 + tokens[8:]
    wrong = [*labels[:-1], (labels[-1] + 1) % engine.stacked.vocabulary]
    losses, exact = engine.stacked.answers(adapter, [(tokens, labels), (tokens, wrong)])
    assert exact.tolist() == [True, False]
    assert float(losses[0]) < float(losses[1])
    expected = engine.stacked.losses(adapter, [[(tokens, labels)]])
    torch.testing.assert_close(losses[:1], expected.detach())


def test_a_scenario_changes_nothing_that_it_does_not_name(engine: Engine, fleet: Regime) -> None:
    setup = Setup(regime=fleet, layout=LAYOUT, recipe=RECIPES["alignfed"], server_learning_rate=1.0, seed=4)
    plain = simulate(setup, engine)
    told: list[Settled] = []
    other = simulate(setup, engine, scenario=Scenario(evaluation_shares=(1.0,), told=told.append))
    assert other.final == plain.final
    assert dataclasses.replace(other.agents[0]) == plain.agents[0]
    assert len(told) == sum(agent.merged for agent in plain.agents)
