"""Rows of the poisoning benchmark: paired by seed, pooled over deltas, and the verdict on the default."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from alignfed.errors import PlanInvalid
from bench.poisoning.campaign import Block, Outcomes, left_to_do, trials_of
from bench.poisoning.defences import PROTECTIONS, REFERENCE, get_protection
from bench.poisoning.grid import FULL, QUICK
from bench.poisoning.outcome import Fates, Outcome, Placement, Trial, clean_trial, fates_of, together
from bench.poisoning.plot import shade, write_plots
from bench.poisoning.report import report_markdown, summary_json
from bench.poisoning.rows import Row, make_rows
from bench.poisoning.station import FLEET, QUICK_FLEET
from bench.poisoning.verdict import Result, check
from bench.results import Losses
from bench.simulator.scenario import Settled


def losses(mean: float) -> Losses:
    return Losses(tuning={"a": 0.0}, test={"a": mean - 0.5, "b": mean + 0.5})


def outcome(trial: Trial, loss: float, **changes) -> Outcome:
    made = Outcome(
        trial=trial,
        base=losses(4.0),
        served=losses(loss),
        backdoor_by_loss=0.25,
        backdoor_greedy=0.0,
        fresh=Fates(merged=10, coefficient=2.0),
        stale=Fates(merged=99, coefficient=7.0, rejected={"A": 1}),
        attackers=Fates(),
        merges=5,
        gated=0,
        guard_seconds=1.0,
        merge_seconds=10.0,
    )
    return dataclasses.replace(made, **changes)


def attack(name: str = "sign-flip", *, seed: int = 0, defence: str = REFERENCE) -> Trial:
    return Trial(attack=name, share=0.2, placement=Placement.EVEN, defence=defence, seed=seed)


def clean(seed: int, loss: float) -> Outcome:
    return outcome(clean_trial(REFERENCE, seed), loss)


def row_of(rows: tuple[Row, ...], name: str) -> Row:
    (row,) = [row for row in rows if row.attack == name]
    return row


def test_losses_are_compared_with_the_clean_run_of_the_same_seed() -> None:
    runs = [clean(0, 2.0), clean(1, 4.0), clean(2, 1.0)]
    runs += [outcome(attack(seed=seed), loss) for seed, loss in ((0, 2.2), (1, 4.0), (2, 1.5))]
    row = row_of(make_rows(runs, REFERENCE), "sign-flip")
    assert (row.loss.median, row.loss.least, row.loss.most) == pytest.approx((0.1, 0.0, 0.5))
    assert row.seeds == 3
    assert row.worst_domain.most == pytest.approx(2.0 / 1.5 - 1)
    honest = row_of(make_rows(runs, REFERENCE), "honest")
    assert honest.loss.median == 0.0
    assert honest.attackers_rejected is honest.attackers_weight is None


def test_a_run_without_its_clean_run_makes_no_row_and_one_that_diverged_is_infinite() -> None:
    assert make_rows([outcome(attack(seed=1), 2.0), clean(0, 2.0)], REFERENCE)[0].attack == "honest"
    assert len(make_rows([outcome(attack(seed=1), 2.0), clean(0, 2.0)], REFERENCE)) == 1
    row = row_of(make_rows([clean(0, 2.0), outcome(attack(), math.nan)], REFERENCE), "sign-flip")
    assert row.loss.median == math.inf
    assert "diverged" in report_markdown([row], [], {}, {})


def test_rejections_are_pooled_over_the_deltas_of_all_seeds() -> None:
    runs = [clean(0, 2.0), clean(1, 2.0)]
    attackers = [Fates(merged=1, coefficient=1.0, rejected={"A": 3}), Fates(merged=6, coefficient=2.0)]
    runs += [outcome(attack(seed=seed), 2.0, attackers=attackers[seed]) for seed in (0, 1)]
    row = row_of(make_rows(runs, REFERENCE), "sign-flip")
    assert row.attackers_rejected == pytest.approx(3 / 10)
    assert row.stale_rejected == pytest.approx(2 / 200)
    assert row.fresh_rejected == 0.0
    assert row.attackers_weight == pytest.approx(3.0 / 21.0)
    assert row.guard_share == pytest.approx(0.1)


def test_fates_are_counted_by_reason() -> None:
    settled = [
        Settled(agent_id="a", staleness_versions=0, coefficient=0.5),
        Settled(agent_id="a", staleness_versions=1, reason="B"),
        Settled(agent_id="b", staleness_versions=1, reason="A"),
        Settled(agent_id="b", staleness_versions=2, reason="B"),
    ]
    found = fates_of(settled)
    assert found == Fates(merged=1, coefficient=0.5, rejected={"A": 1, "B": 2})
    assert (found.rejections, found.settled) == (3, 4)
    assert together([found, Fates(merged=2, rejected={"C": 1})]).rejected == {"A": 1, "B": 2, "C": 1}


def test_the_verdict_passes_below_the_bound_fails_above_and_says_what_was_not_run() -> None:
    runs = [clean(0, 2.0), outcome(attack(), 2.039), outcome(attack("scaled-10"), 2.05)]
    runs[2] = dataclasses.replace(runs[2], stale=Fates(merged=97, rejected={"A": 3}))
    checks = {(each.attack, each.demand.split()[0]): each for each in check(make_rows(runs, REFERENCE), REFERENCE)}
    assert checks["sign-flip", "loss"].result is Result.PASS
    assert checks["sign-flip", "stale"].result is Result.PASS
    assert checks["scaled-10", "loss"].result is Result.FAIL
    assert checks["scaled-10", "stale"].result is Result.FAIL
    assert checks["scaled-100", "loss"].result is Result.NOT_RUN
    elsewhere = dataclasses.replace(attack(), placement=Placement.FAST)
    rows = make_rows([clean(0, 2.0), outcome(elsewhere, 9.0)], REFERENCE)
    assert {each.result for each in check(rows, REFERENCE)} == {Result.NOT_RUN}


def test_the_report_has_a_line_for_every_row_and_a_picture(tmp_path: Path) -> None:
    rows = make_rows([clean(0, 2.0), outcome(attack(), 2.2)], REFERENCE)
    checks = check(rows, REFERENCE)
    plots = write_plots(rows, tmp_path / "plots")
    (picture,) = plots.values()
    assert (tmp_path / picture).stat().st_size > 1000
    report = report_markdown(rows, checks, {"fleet": "small"}, plots)
    line = next(line for line in report.splitlines() if line.startswith("| sign-flip | 20 %"))
    assert "| +10.0 % |" in line
    assert f"]({picture})" in report
    summary = json.loads(summary_json(rows, checks, {}))
    assert [row["attack"] for row in summary["rows"]] == ["honest", "sign-flip"]
    assert summary["checks"][0]["result"] == "fail"


def test_what_was_not_run_is_left_blank_and_what_diverged_has_the_last_colour() -> None:
    assert math.isnan(shade(math.nan))
    assert shade(1.5) == 1.5
    assert shade(math.inf) == shade(100.0) < 100.0


def test_outcomes_are_kept_found_again_and_not_taken_for_those_of_another_fleet(tmp_path: Path) -> None:
    here = Outcomes(folder=tmp_path, federation="f", regime=FLEET)
    done, other = attack(), attack(seed=1)
    here.keep(outcome(done, math.nan))
    assert left_to_do([done, other], here) == [other]
    found = here.find(done)
    assert found is not None
    assert math.isnan(found.served.mean_test)
    slower = dataclasses.replace(FLEET, duration_seconds=1.0)
    assert Outcomes(folder=tmp_path, federation="f", regime=slower).find(done) is None
    assert Outcomes(folder=tmp_path, federation="f", regime=QUICK_FLEET).find(done) is None
    (file,) = (tmp_path / "f" / FLEET.name).glob("*.json")
    file.write_text("{", "utf-8")
    assert here.find(done) is None
    assert here.finished() == ([], [])


def test_every_block_brings_its_clean_runs_and_no_trial_comes_twice() -> None:
    block = Block(attacks=("sign-flip",), defences=("none",), shares=(0.1, 0.2), seeds=(0, 3))
    trials = trials_of([block, block])
    assert len(trials) == len(set(trials)) == 2 * 2 + 2 * 2
    assert {trial.seed for trial in trials if trial == clean_trial(REFERENCE, trial.seed)} == {0, 3}
    for blocks in (QUICK, FULL):
        trials = trials_of(blocks)
        assert {trial.defence for trial in trials} <= set(PROTECTIONS)
        assert {clean_trial(REFERENCE, trial.seed) for trial in trials} <= set(trials)


def test_an_unknown_defence_is_refused_with_those_that_exist() -> None:
    with pytest.raises(PlanInvalid, match="none, "):
        get_protection("nonsense")
