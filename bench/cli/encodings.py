"""`alignfed bench encodings`: what a smaller delta costs in the final loss."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from alignfed.settings import exit_codes
from bench.federation.regimes import REGIMES
from coordinator.cli.options import needs_extra


@click.command("encodings", short_help="What smaller deltas cost: bytes, error of one, final loss.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Runs of each encoding.")
@click.option(
    "--regime",
    metavar="NAME|FILE",
    default="stress",
    show_default=True,
    help=f"How unequal the machines are: {', '.join(REGIMES)}, or a file.",
)
@click.option(
    "--recipe", "recipes", multiple=True, help="How deltas are merged; repeatable.  [default: alignfed and fedbuff]"
)
@click.option(
    "--encoding", "forms", multiple=True, help="Compare these with fp32 alone; as the table names them, repeatable."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/encodings"),
    show_default=True,
    help="Folder of results. Finished runs found there are not run again.",
)
@click.option(
    "--cache-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".alignfed"),
    show_default=True,
    help="Where the tiny model is kept.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON instead of a table.")
def encodings_command(
    seeds: int,
    regime: str,
    recipes: tuple[str, ...],
    forms: tuple[str, ...],
    out: Path,
    cache_dir: Path,
    as_json: bool,
) -> None:
    """Run the same federation with each encoding of deltas, and compare the final losses with fp32's.

    A simulated fleet on a tiny model that it pretrains: the real codec, policy, aggregation and judge, seeds in turn.
    Interrupt it whenever you like: the same command goes on where it was.
    """
    with needs_extra("local"):
        from bench.encodings.experiment import compare  # torch takes longer to load than --help may
    with exit_codes():
        rows, text = compare(
            regime=regime,
            recipes=recipes,
            forms=forms,
            seeds=seeds,
            out=out,
            cache_dir=cache_dir,
            say=lambda line: click.echo(line, err=True),
        )
    click.echo(json.dumps([dataclasses.asdict(row) for row in rows]) if as_json else text)
