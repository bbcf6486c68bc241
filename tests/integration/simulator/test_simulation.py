"""A whole simulated run: deterministic, complete, and true to the policy."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from alignfed.codec import Factors
from alignfed.errors import CalibrationMissing, PlanInvalid
from bench.federation.federation import BIASED, PROMPTS
from bench.federation.fleet import Layout
from bench.federation.regimes import Network, Presence, Regime
from bench.results import RunResult
from bench.settle.campaign import Contest, Results, left_to_do
from bench.settle.runner import Workers, run_all
from bench.simulator.engine import Engine
from bench.simulator.scenario import EVALUATION_SHARES
from bench.simulator.simulation import Setup, simulate
from coordinator.algo.recipes import RECIPES


def setup(regime: Regime, recipe: str = "participation", **changes) -> Setup:
    made = Setup(regime=regime, layout=Layout.TIED, recipe=RECIPES[recipe], server_learning_rate=1.0, seed=4)
    return dataclasses.replace(made, **changes)


def without_time(result: RunResult) -> RunResult:
    return dataclasses.replace(result, training_seconds=0.0, server=dataclasses.replace(result.server, seconds=0.0))


def test_the_same_seed_gives_the_same_run_and_learning_happens(engine: Engine, short: Regime) -> None:
    first, again, other = (simulate(setup(short, seed=seed), engine) for seed in (4, 4, 5))
    assert without_time(first) == without_time(again)
    assert first.curve != other.curve
    assert first.final.raw.mean_test < first.base.mean_test
    assert len(first.curve) == len(EVALUATION_SHARES)
    assert not first.diverged


def test_what_was_merged_adds_up(engine: Engine, short: Regime) -> None:
    result = simulate(setup(short), engine)
    merged = sum(agent.merged for agent in result.agents)
    assert merged == sum(result.staleness.values()) == short.buffer_size * result.merges
    assert math.fsum(agent.weight for agent in result.agents) == pytest.approx(result.merges)
    fast, slow = result.agents[0], result.agents[-1]
    assert fast.merged > 2 * slow.merged
    assert result.server.backward_rows == 0


def test_a_synchronous_recipe_waits_for_everybody(engine: Engine, short: Regime) -> None:
    result = simulate(setup(short, "fedavg"), engine)
    assert set(result.staleness) == {"0"}
    assert len({agent.merged for agent in result.agents}) == 1
    assert result.merges == 2


def test_fedasync_merges_every_delta_by_itself(engine: Engine, short: Regime) -> None:
    result = simulate(setup(short, "fedasync"), engine)
    assert result.merges == sum(agent.merged for agent in result.agents)


def test_the_default_counts_its_passes_and_is_judged(engine: Engine, short: Regime) -> None:
    result = simulate(setup(short, "alignfed"), engine)
    fit_rows = engine.federation.calibration.fit_rows
    assert result.server.backward_rows % fit_rows == 0
    assert result.server.backward_rows >= fit_rows * result.merges
    assert result.server.forward_rows > result.server.backward_rows


def test_machines_that_come_and_go_lose_work_but_the_run_goes_on(engine: Engine, short: Regime) -> None:
    flaky = dataclasses.replace(
        short,
        name="flaky",
        network=Network(lost_ratio=0.3),
        presence=Presence(online_seconds=4.0, offline_seconds=2.0, day_seconds=6.0, awake_ratio=0.7),
    )
    calm, rough = simulate(setup(short), engine), simulate(setup(flaky), engine)
    assert 0 < sum(agent.merged for agent in rough.agents) < sum(agent.merged for agent in calm.agents)


def test_a_synchronous_run_survives_lost_uploads(engine: Engine, short: Regime) -> None:
    lossy = dataclasses.replace(short, network=Network(lost_ratio=0.4), buffer_timeout_seconds=3.0)
    assert simulate(setup(lossy, "fedavg"), engine).merges >= 1


def test_a_timeout_merges_a_buffer_that_does_not_fill(engine: Engine, short: Regime) -> None:
    slow = dataclasses.replace(short, buffer_size=1000, buffer_timeout_seconds=2.5)
    result = simulate(setup(slow), engine)
    assert 2 <= result.merges <= 4


def test_controls_of_the_calibration_set_change_what_the_server_sees(engine: Engine, short: Regime) -> None:
    plain = simulate(setup(short, "alignfed"), engine)
    biased = simulate(setup(short, "alignfed", variant=BIASED), engine)
    assert biased.key.variant == BIASED
    assert plain.curve != biased.curve
    with pytest.raises(CalibrationMissing, match="no prompts"):
        simulate(setup(short, "alignfed", variant=PROMPTS), engine)


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_every_recipe_runs_and_learns(engine: Engine, short: Regime, recipe: str) -> None:
    result = simulate(setup(short, recipe), engine)
    assert result.merges > 0
    assert result.gated == 0
    assert math.isfinite(result.final.raw.mean_test)
    assert result.final.raw.mean_test < result.base.mean_test


def test_agents_of_lower_rank_take_part(engine: Engine, short: Regime) -> None:
    tiers = (short.tiers[0], dataclasses.replace(short.tiers[1], rank=1))
    mixed = dataclasses.replace(short, name="mixed", tiers=tiers)
    result = simulate(setup(mixed), engine)
    assert all(agent.merged > 0 for agent in result.agents)
    assert result.final.raw.mean_test < result.base.mean_test
    assert result.final.raw.mean_test != simulate(setup(short), engine).final.raw.mean_test
    with pytest.raises(PlanInvalid, match="higher rank"):
        simulate(setup(dataclasses.replace(mixed, tiers=(dataclasses.replace(tiers[0], rank=3),))), engine)


def test_what_is_served_at_the_end_is_scored_once(engine: Engine, short: Regime) -> None:
    asked: list[Factors] = []

    def score(factors: Factors) -> dict[str, float]:
        asked.append(factors)
        return {"pass@1": 0.25}

    averages = []
    for eta in (1.0, 6.0):  # with wild steps the moving average is the better one
        asked.clear()
        result = simulate(setup(short, "alignfed", server_learning_rate=eta), engine, score=score)
        assert result.solved == {"pass@1": 0.25}
        (served,) = asked
        assert engine.evaluate({"served": served})["served"] == result.final.served
        averages.append(result.final.serves_average)
    assert set(averages) == {False, True}, "otherwise this looked at one kind of served adapter only"
    assert simulate(setup(short), engine).solved == {}


def test_a_run_goes_to_json_and_back(engine: Engine, short: Regime) -> None:
    result = simulate(setup(short), engine)
    assert RunResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_a_contest_resumes_where_it_was_broken_off(engine: Engine, short: Regime, tmp_path) -> None:
    contest = Contest(
        regimes=(short,), layouts=(Layout.TIED,), recipes=("participation", "fedbuff"),
        tuned=frozenset({"fedbuff"}), rates=(0.5,), seeds=(0,),
    )  # fmt: skip
    results = Results(folder=tmp_path, federation=engine.federation)
    setups = contest.setups()
    assert len(setups) == 3
    said: list[str] = []
    run_all(setups[:1], results, Workers(), say=said.append)
    assert left_to_do(setups, results) == list(setups[1:])
    run_all(left_to_do(setups, results), results, Workers(), say=said.append)
    assert left_to_do(setups, results) == []
    assert len(said) == 3
    assert len({run.code for run in results.finished((short,))}) == 1
    assert len(results.finished((short,))) == 3
    longer = dataclasses.replace(contest, regimes=(dataclasses.replace(short, duration_seconds=11.0),))
    assert len(left_to_do(longer.setups(), results)) == 3, "a regime that means something else is run again"
    asked = dataclasses.replace(results, tasks="an exam")
    assert len(left_to_do(setups, asked)) == 3, "runs without scores are run again where scores are asked for"
    scored = dataclasses.replace(results.finished((short,))[0].result, solved={"pass@1": 0.5})
    (same,) = [setup for setup in setups if setup.key(engine.federation) == scored.key]
    asked.keep(same, scored)
    assert asked.find(same) == results.find(same) == scored
    assert dataclasses.replace(results, tasks="another exam").find(same) is None
    assert sum(bool(run.result.solved) for run in asked.finished((short,))) == 1
    assert not any(run.result.solved for run in results.finished((short,))), "scores on other problems do not count"
    next(tmp_path.rglob("*.json")).write_text("{", "utf-8")
    assert len(left_to_do(setups, results)) == 1, "a damaged result is run again"
