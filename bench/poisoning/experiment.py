"""The benchmark from options to report."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from alignfed.errors import DataUnusable
from bench.federation.federation import Federation
from bench.federation.tiny_federation import tiny_federation
from bench.poisoning.attack import get_attack
from bench.poisoning.attacks import ATTACKS
from bench.poisoning.campaign import Block, Outcomes, left_to_do, trials_of
from bench.poisoning.defences import DEFAULT, PROTECTIONS, REFERENCE, get_protection
from bench.poisoning.grid import FULL, QUICK
from bench.poisoning.outcome import Placement, Trial
from bench.poisoning.plot import write_plots
from bench.poisoning.report import check_table, loss_table, report_markdown, summary_json
from bench.poisoning.rows import make_rows
from bench.poisoning.station import FLEET, QUICK_FLEET, carry_out
from bench.poisoning.verdict import check
from bench.simulator.engine import Engine


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asked for; see `alignfed bench poisoning --help`."""

    attacks: tuple[str, ...]
    defences: tuple[str, ...]
    shares: tuple[float, ...]
    placements: tuple[str, ...]
    seeds: int | None
    quick: bool
    out: Path
    cache_dir: Path
    report_only: bool
    as_json: bool


def run_benchmark(options: Options, *, say: Callable[[str], None]) -> None:
    """Carry out what is left of the benchmark and write its report.

    Raises:
        AlignFedError: An option names something that does not exist, or a trial cannot be carried out.
    """
    trials = trials_of(blocks_of(options))
    federation = tiny_federation(options.cache_dir, say=say)
    outcomes = Outcomes(
        folder=options.out / "results",
        federation=federation.digest,
        regime=QUICK_FLEET if options.quick else FLEET,
    )
    missing = left_to_do(trials, outcomes)
    say(f"{len(trials)} trials: {len(trials) - len(missing)} finished, {len(missing)} to do")
    if not options.report_only:
        _carry_out(missing, outcomes, federation, say)
    _publish(outcomes, options, say)


def blocks_of(options: Options) -> tuple[Block, ...]:
    """Return what the options ask for: the whole benchmark, its quick form, or every combination of what is named.

    Raises:
        PlanInvalid: An attack or a defence does not exist.
    """
    named = (options.attacks, options.defences, options.shares, options.placements, options.seeds)
    if not any(named):
        return QUICK if options.quick else FULL
    return (
        Block(
            attacks=tuple(get_attack(name, ATTACKS).name for name in options.attacks) or tuple(ATTACKS),
            defences=(options.defences and tuple(name for name in options.defences if get_protection(name)))
            or (DEFAULT,),
            shares=options.shares or (0.2,),
            placements=tuple(map(Placement, options.placements)) or (Placement.EVEN,),
            seeds=tuple(range(options.seeds or 1)),
        ),
    )


def _carry_out(trials: Sequence[Trial], outcomes: Outcomes, federation: Federation, say: Callable[[str], None]) -> None:
    if not trials:
        return
    torch.set_num_threads(1)
    engine = Engine(federation, threads=1)
    started = time.monotonic()
    for done, trial in enumerate(trials, start=1):
        outcome = carry_out(trial, engine, outcomes.regime)
        outcomes.keep(outcome)
        left = (time.monotonic() - started) / done * (len(trials) - done)
        say(f"[{done}/{len(trials)}] {trial.name}: {outcome.served.mean_test:.4f} ({left / 60:.0f} min left)")


def _publish(outcomes: Outcomes, options: Options, say: Callable[[str], None]) -> None:
    finished, codes = outcomes.finished()
    if not finished:
        raise DataUnusable(f"no trial has finished in {options.out}: run the same command without --report-only")
    if len(codes) > 1:
        say(f"note: {len(codes)} versions of the code made these outcomes; use another --out to run all again")
    order = {name: place for place, name in enumerate(("honest", *ATTACKS))}
    defences = {name: place for place, name in enumerate(PROTECTIONS)}
    finished = [outcome for outcome in finished if outcome.trial.defence in defences]
    finished.sort(key=lambda outcome: _place(outcome.trial, order, defences))
    rows = make_rows(finished, REFERENCE)
    checks = check(rows, DEFAULT)
    settings = {
        "fleet": f"{outcomes.regime.agents} agents, buffer {outcomes.regime.buffer_size}, "
        f"{outcomes.regime.duration_seconds:g} s of virtual time",
        "federation": outcomes.federation,
        "trials": str(len(finished)),
        "digests of the code": ", ".join(codes),
        **{f"defence `{name}`": protection.means for name, protection in PROTECTIONS.items()},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    plots = write_plots(rows, options.out / "plots")
    report = options.out / "report.md"
    report.write_text(report_markdown(rows, checks, settings, plots), "utf-8")
    summary = summary_json(rows, checks, settings)
    (options.out / "summary.json").write_text(summary, "utf-8")
    text = f"{loss_table(rows)}\n\n{check_table(checks)}\nreport: {report}\n"
    sys.stdout.write(summary if options.as_json else text)


def _place(trial: Trial, attacks: dict[str, int], defences: dict[str, int]) -> tuple[float, ...]:
    placement = list(Placement).index(trial.placement)
    return (attacks.get(trial.attack, -1), trial.share, placement, defences[trial.defence], trial.seed)
