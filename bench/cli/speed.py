"""`alignfed bench speed`: how close to this machine's own ceilings the parts come."""

from __future__ import annotations

import dataclasses
import json
from contextlib import nullcontext
from pathlib import Path

import click

from alignfed.settings import exit_codes
from bench.speed.plot import draw
from bench.speed.profiles import profiles_in
from bench.speed.report import summary, table
from bench.speed.scaling import measure_scaling, scaling_table
from bench.speed.suite import FULL, PARAMETERS_STEP, PARTS, QUICK, SHORT, measure


@click.command("speed", short_help="How close to this machine's own ceilings the parts come.")
@click.option("--full", is_flag=True, help="Three times as many rounds, and longer ones.")
@click.option("--quick", is_flag=True, help="Tiny sizes, one round: shows that it works, its ratios say nothing.")
@click.option("--only", "parts", type=click.Choice(list(PARTS)), multiple=True, help="A part; repeatable. Else all.")
@click.option("--rounds", type=click.IntRange(min=1), help="Rounds that count, instead of the form's own number.")
@click.option(
    "--parameters",
    type=click.IntRange(min=PARAMETERS_STEP),
    help="Elements of a delta, instead of 42 million: smaller ones say little about large ones.",
)
@click.option(
    "--model",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Base model to train and align on, such as SmolLM2; minutes a round.  [default: a small one made here]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs/speed"),
    show_default=True,
    help="Where the figures go, as speed.json and speed.png.",
)
@click.option("--scaling", is_flag=True, help="Instead: merges by number of deltas and by size; 6 GB of memory.")
@click.option("--profile", is_flag=True, help="Also profile the coordinators (py-spy), into profiles/ there.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON instead of a table.")
def speed_command(
    full: bool,
    quick: bool,
    parts: tuple[str, ...],
    rounds: int | None,
    parameters: int | None,
    model: Path | None,
    out: Path,
    scaling: bool,
    profile: bool,
    as_json: bool,
) -> None:
    """Measure transfers, memory, polls, watches, merges and alignment, in turn with this machine's own ceilings.

    Only ratios compare between machines and days. A goal that is not reached is a result, not an error.
    """
    if full and quick:
        raise click.UsageError("--full and --quick exclude each other")
    size = FULL if full else QUICK if quick else SHORT
    wanted = parameters or size.parameters
    wanted -= wanted % PARAMETERS_STEP
    size = dataclasses.replace(
        size,
        rounds=rounds or size.rounds,
        parameters=wanted,
        uploaded_parameters=min(wanted, size.uploaded_parameters),
        model_dir=model,
    )
    out.mkdir(parents=True, exist_ok=True)
    if scaling:
        _print_scaling(size.rounds, out / "scaling.json", as_json=as_json)
        return
    with exit_codes(), profiles_in(out / "profiles") if profile else nullcontext():
        rows = measure(size, parts=parts or tuple(PARTS), say=lambda line: click.echo(line, err=True))
        figures = summary(rows)
        (out / "speed.json").write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
        draw(rows, out / "speed.png")
    click.echo(json.dumps(figures) if as_json else table(rows))
    click.echo(f"figures: {out / 'speed.json'}; drawn: {out / 'speed.png'}", err=True)


def _print_scaling(rounds: int, file: Path, *, as_json: bool) -> None:
    with exit_codes():
        points = measure_scaling(rounds, say=lambda line: click.echo(line, err=True))
    figures = [dataclasses.asdict(point) for point in points]
    file.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    click.echo(json.dumps(figures) if as_json else scaling_table(points))
    click.echo(f"figures: {file}", err=True)
