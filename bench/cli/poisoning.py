"""`alignfed bench poisoning`: what attackers achieve, and what each defence costs those who are honest."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from alignfed.settings import EXIT_FAILED
from coordinator.cli.options import needs_extra


@click.command("poisoning", short_help="What attackers achieve against each defence.")
@click.option("--attack", "attacks", multiple=True, metavar="NAME", help="[default: the whole benchmark]")
@click.option("--defence", "defences", multiple=True, metavar="NAME", help="[default: the default]")
@click.option(
    "--share", "shares", multiple=True, type=click.FloatRange(0, 1, max_open=True), help="Of the fleet that attacks."
)
@click.option(
    "--placement",
    "placements",
    multiple=True,
    type=click.Choice(["even", "fast", "slow"]),
    help="Which machines the attackers have.",
)
@click.option("--seeds", type=click.IntRange(min=1), help="Runs of each setting.")
@click.option("--quick", is_flag=True, help="Two attacks, two defences, one seed of a short run: a few minutes.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/poisoning"),
    show_default=True,
    help="Folder of outcomes and report. Finished trials found there are not run again.",
)
@click.option(
    "--cache-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".alignfed"),
    show_default=True,
    help="Where the tiny model is kept.",
)
@click.option("--report-only", is_flag=True, help="Run nothing; report on what has finished.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def poisoning_command(**options: Any) -> None:
    """Let a part of a simulated fleet attack, and compare defences by the loss, the backdoor and false rejections.

    Without options the whole benchmark runs: under 40 minutes of one free core. With some, every combination of what is
    named. Interrupt it whenever you like: the same command goes on where it was.
    """
    with needs_extra("local"):
        from bench.poisoning.experiment import Options, run_benchmark  # torch takes longer to load than --help may

    try:
        run_benchmark(Options(**options), say=lambda line: click.echo(line, err=bool(options["as_json"])))
    except KeyboardInterrupt:
        click.echo("stopped; every finished trial is kept. The same command goes on.", err=True)
        sys.exit(EXIT_FAILED)
