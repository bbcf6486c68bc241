"""`alignfed bench flower`: the same payloads through AlignFed and through Flower, on this machine in turns."""

from __future__ import annotations

import dataclasses
import json
import sysconfig
from pathlib import Path

import click

from alignfed.settings import exit_codes
from bench.federation.tiny_model import tiny_model
from bench.flower.contest import CLIENTS, ROUNDS, measure, tiny_contests
from bench.flower.goals import CONTESTS
from bench.flower.installed import Flower, find_flower
from bench.flower.race.curve import table as race_table
from bench.flower.race.curve import targets_of
from bench.flower.race.race import race
from bench.flower.race.terms import Terms
from bench.flower.report import summary
from bench.speed.report import table

QUICK_TERMS = Terms(slowdowns=(1.0, 2.0), train_seconds=0.5, rounds=2, test_rows=2)


@click.command("flower", short_help="How much faster than Flower payloads are taken in and merged.")
@click.option(
    "--flower",
    "python",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path(".venv-flower/bin/python"),
    show_default=True,
    help="An interpreter that has Flower; `make bench-flower` makes this one.",
)
@click.option("--clients", type=click.IntRange(1, 64), default=CLIENTS, show_default=True, help="Clients of a merge.")
@click.option("--rounds", type=click.IntRange(min=1), default=ROUNDS, show_default=True, help="Rounds that count.")
@click.option("--quick", is_flag=True, help="One round of tiny payloads: shows that it works, its ratios say nothing.")
@click.option("--fleet", is_flag=True, help="Instead: seconds of a fleet of unequal agents to the same loss; minutes.")
@click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".alignfed"),
    show_default=True,
    help="With --fleet: where the tiny model is kept, once it is made.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs/flower"),
    show_default=True,
    help="Where the figures go, as flower.json or fleet.json.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON instead of a table.")
def flower_command(
    python: Path, clients: int, rounds: int, quick: bool, fleet: bool, cache_dir: Path, out: Path, as_json: bool
) -> None:
    """Carry the same fp32 tensors by AlignFed and by Flower's own code, in turn on this machine.

    Uploads are one client's; merges are those of all --clients, from the first byte to a published version here, to
    the aggregate in the ServerApp there. docs/speed.md says what is compared, and what is unfair to whom. A goal that
    is not reached is a result, not an error.
    """
    with exit_codes():
        flower = find_flower(python)
        out.mkdir(parents=True, exist_ok=True)
        if fleet:
            _race(flower, QUICK_TERMS if quick else Terms(), cache_dir, out / "fleet.json", as_json=as_json)
            return
        found = measure(
            flower,
            clients=clients,
            rounds=1 if quick else rounds,
            contests=tiny_contests() if quick else CONTESTS,
            say=lambda line: click.echo(line, err=True),
        )
        figures = summary(found, flower, clients=clients, tiny=quick)
        (out / "flower.json").write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    if as_json:
        click.echo(json.dumps(figures))
    else:
        click.echo(table([it.row for it in found]))
        for it in found:
            click.echo(f"{it.row.goal.number:<5}{it.costs}")
        click.echo(
            f"Flower {flower.versions['flwr']} on Python {flower.versions['python']}, {clients} clients of a merge"
        )
    click.echo(f"figures: {out / 'flower.json'}", err=True)


def _race(flower: Flower, terms: Terms, cache_dir: Path, file: Path, *, as_json: bool) -> None:
    def say(line: str) -> None:
        click.echo(line, err=True)

    model = tiny_model(cache_dir / "models", Path(sysconfig.get_path("stdlib")), say=say)
    runs = race(flower, model, terms, say=say)
    figures = {
        "terms": dataclasses.asdict(terms),
        "flower": dict(flower.versions),
        "runs": [dataclasses.asdict(run) for run in runs],
        "targets": [dataclasses.asdict(target) for target in targets_of(runs[0], runs[1:])],
    }
    file.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    click.echo(json.dumps(figures) if as_json else race_table(runs))
    click.echo(f"figures: {file}", err=True)
