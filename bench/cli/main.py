"""The command group `alignfed bench`. Loaded by name when it is asked for: servers do without it."""

from __future__ import annotations

import click

from bench.cli.encodings import encodings_command
from bench.cli.fleet import fleet_command
from bench.cli.flower import flower_command
from bench.cli.poisoning import poisoning_command
from bench.cli.settle import settle_command
from bench.cli.speed import speed_command


@click.group("bench", short_help="Experiments: compare recipes on a simulated fleet, measure speed.")
def bench_group() -> None:
    """Run experiments on a simulated fleet with real training and the production aggregation, and measure speed."""


bench_group.add_command(encodings_command)
bench_group.add_command(fleet_command)
bench_group.add_command(flower_command)
bench_group.add_command(poisoning_command)
bench_group.add_command(settle_command)
bench_group.add_command(speed_command)
