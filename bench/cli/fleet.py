"""`alignfed bench fleet`: thousands of light agents against a real deployment."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import click

from alignfed.errors import RequestInvalid
from alignfed.settings import exit_codes, parse_listen
from bench.fleet.deployment import Deployment
from bench.fleet.knee import KneeRule
from bench.fleet.report import summary
from bench.fleet.run import run_fleet
from bench.fleet.scale import sums
from bench.fleet.settings import FleetSettings, tiers_of
from bench.fleet.wording import markdown, text

_D = FleetSettings()
_RATIO = click.FloatRange(0.0, 1.0)
_ABOVE_ZERO = click.FloatRange(min=0.0, min_open=True)
_FROM_ZERO = click.FloatRange(min=0.0)


@click.command("fleet", short_help="Thousands of light agents against a real deployment: rates, latencies, the knee.")
@click.option("--agents", type=click.IntRange(1, 200_000), default=_D.agents, show_default=True, help="How many.")
@click.option(
    "--seconds", type=_ABOVE_ZERO, default=_D.seconds, show_default=True, help="Measured time, after the ramp."
)
@click.option("--ramp", "ramp_seconds", type=_FROM_ZERO, default=_D.ramp_seconds, show_default=True,
              help="Seconds over which agents arrive, as a Poisson process.")  # fmt: skip
@click.option("--seed", type=int, default=_D.seed, show_default=True, help="Of every draw.")
@click.option("--tiers", default="1:0.5,4:0.3,16:0.2", show_default=True, help="SLOWDOWN:SHARE,... of the fleet.")
@click.option("--train-seconds", type=_ABOVE_ZERO, default=_D.train_seconds, show_default=True,
              help="Median training time of the fastest tier.")  # fmt: skip
@click.option("--train-sigma", type=_FROM_ZERO, default=_D.train_sigma, show_default=True, help="Its log-normal sigma.")
@click.option("--latency-seconds", type=_FROM_ZERO, default=_D.latency_seconds, show_default=True,
              help="Median round trip of an agent's network, slept before calls.")  # fmt: skip
@click.option("--latency-sigma", type=_FROM_ZERO, default=_D.latency_sigma, show_default=True, help="Log-normal sigma.")
@click.option("--bytes-per-second", type=_FROM_ZERO, default=_D.bytes_per_second, show_default=True,
              help="Median bandwidth of an agent; 0 for transfers that take no time of its own.")  # fmt: skip
@click.option(
    "--bandwidth-sigma", type=_FROM_ZERO, default=_D.bandwidth_sigma, show_default=True, help="Log-normal sigma."
)
@click.option("--dropouts", "dropout_ratio", type=_RATIO, default=_D.dropout_ratio, show_default=True,
              help="Chance to vanish after a training.")  # fmt: skip
@click.option("--offline-seconds", type=_ABOVE_ZERO, default=_D.offline_seconds, show_default=True,
              help="Mean absence of those, exponential.")  # fmt: skip
@click.option("--following", "following_ratio", type=_RATIO, default=_D.following_ratio, show_default=True,
              help="Share that hears of versions at once; the others ask when they begin a training.")  # fmt: skip
@click.option("--watching", "watching_ratio", type=_RATIO, default=_D.watching_ratio, show_default=True,
              help="Share of those that watches; the others keep a long poll open.")  # fmt: skip
@click.option("--poll-seconds", type=click.FloatRange(0.0, 60.0, min_open=True), default=_D.poll_seconds,
              show_default=True, help="Longest wait of a long poll.")  # fmt: skip
@click.option("--downloads", "download_ratio", type=_RATIO, default=_D.download_ratio, show_default=True,
              help="Share of trainings that begin with a download; the others only learn of the version.")  # fmt: skip
@click.option("--parameters", type=click.IntRange(32, 100_000_000), default=_D.parameters, show_default=True,
              help="Elements of a delta, two bytes each on the wire.")  # fmt: skip
@click.option("--buffer", "buffer_size", type=click.IntRange(0, 10_000), default=_D.buffer_size, show_default=True,
              help="Deltas of one merge; 0 for a twentieth of the fleet.")  # fmt: skip
@click.option("--buffer-seconds", type=_ABOVE_ZERO, default=_D.buffer_seconds, show_default=True,
              help="Longest time a delta waits for a merge to fill.")  # fmt: skip
@click.option("--processes", type=click.IntRange(1, 64), default=_D.processes, show_default=True,
              help="Processes that drive the fleet.")  # fmt: skip
@click.option("--connections", type=click.IntRange(1, 10_000), default=_D.connections, show_default=True,
              help="Connections of each, shared by its agents.")  # fmt: skip
@click.option("--federations", type=click.IntRange(1, 1000), default=_D.federations, show_default=True,
              help="Over which the agents are dealt, each with a lease of its own.")  # fmt: skip
@click.option("--coordinators", type=click.IntRange(1, 64), default=_D.coordinators, show_default=True,
              help="Coordinators of the deployment that is started; they share one port.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 64), default=_D.workers, show_default=True,
              help="Workers of it; each merges for the federations whose lease it gets.")  # fmt: skip
@click.option("--knee", is_flag=True, help="Double the rate step by step until throughput stops growing.")
@click.option("--p99-limit", type=_ABOVE_ZERO, default=KneeRule().limit_seconds, show_default=True,
              help="With --knee: seconds of a poll's or upload's p99 that end it too.")  # fmt: skip
@click.option("--step-seconds", type=_ABOVE_ZERO, default=KneeRule().step_seconds, show_default=True,
              help="With --knee: measured time of a step.")  # fmt: skip
@click.option("--coordinator", default="", metavar="HOST:PORT",
              help="Agents' address of a deployment that exists; it keeps the run's federation, paused.")  # fmt: skip
@click.option("--operator", default="", metavar="HOST:PORT", help="Operators' address of the same deployment.")
@click.option("--plan", "planned", type=click.IntRange(min=1), multiple=True, metavar="AGENTS",
              help="Run nothing: print the paper sums for so many agents; may be given several times.")  # fmt: skip
@click.option("--region", "agents_per_region", type=click.IntRange(min=1), default=1000, show_default=True,
              help="With --plan: agents of a region, where regions merge first.")  # fmt: skip
@click.option("--costs", "costs_file", type=click.Path(path_type=Path, dir_okay=False, exists=True),
              help="With --plan: JSON with `costs` and `plan` in place of the usual; see docs/scale.md.")  # fmt: skip
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures there.")
@click.option("--report", "report_file", type=click.Path(path_type=Path, dir_okay=False), help="Write Markdown there.")
def fleet_command(
    tiers: str,
    knee: bool,
    p99_limit: float,
    step_seconds: float,
    coordinator: str,
    operator: str,
    planned: tuple[int, ...],
    agents_per_region: int,
    costs_file: Path | None,
    json_file: Path | None,
    report_file: Path | None,
    **settings: Any,
) -> None:
    """Drive a deployment with thousands of agents that speak the whole contract and sleep where others train.

    Without --coordinator it starts an embedded store, coordinators and workers on loopback and ends them. Agents
    register, follow the head, poll, train for a virtual time, ask, upload deltas of the real codec and settle them. An
    acknowledged delta that is lost or merged twice makes the command fail.
    """
    with exit_codes():
        if planned:
            click.echo(sums(planned, values=_values_in(costs_file), agents_per_region=agents_per_region))
            return
        existing = _existing(coordinator, operator)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started is ended in order
        fleet = FleetSettings(tiers=tiers_of(tiers), **settings)
        if existing is not None and (fleet.coordinators, fleet.workers) != (1, 1):
            raise RequestInvalid("--coordinators and --workers are of a deployment that is started: leave them out")
        rule = KneeRule(limit_seconds=p99_limit, step_seconds=step_seconds) if knee else None
        outcome = run_fleet(fleet, say=lambda line: click.echo(line, err=True), existing=existing, rule=rule)
    found = summary(outcome)
    if json_file is not None:
        json_file.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    if report_file is not None:
        report_file.write_text(markdown(found, command=" ".join(["alignfed", *sys.argv[1:]])), "utf-8")
    click.echo(text(found))
    if outcome.account.lost or outcome.account.doubled:
        raise SystemExit(1)


def _existing(coordinator: str, operator: str) -> Deployment | None:
    if bool(coordinator) != bool(operator):
        raise RequestInvalid("a deployment that exists is named by both --coordinator and --operator")
    if not coordinator:
        return None
    for address in (coordinator, operator):
        parse_listen(address)
    return Deployment(agent_address=coordinator, operator_address=operator, pids={})


def _values_in(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        values = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RequestInvalid(f"{file} is no readable JSON ({error})") from error
    if not isinstance(values, dict):
        raise RequestInvalid(f"{file} holds no object")
    return values
