"""`alignfed federations`: create, list, show."""

from __future__ import annotations

import math
from pathlib import Path

import click

from coordinator.cli.options import Connect, federation_argument, json_option, needs_extra, operator_options
from coordinator.cli.plan_file import read_plan_file
from coordinator.cli.tables import ago, as_json, facts

_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group("federations", short_help="Create, list and show federations.")
def federations_group() -> None:
    """Create, list and show federations. A federation is one adapter that is trained by one fleet."""


@federations_group.command("create")
@click.argument("plan_path", metavar="PLAN.toml", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--adapter", type=_DIRECTORY, help="PEFT adapter to start from; a fresh one otherwise.")
@click.option("--base-model", type=_DIRECTORY, help="Where the base model lies, when not where the plan says.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of a fresh adapter.")
@operator_options
def create_federation(
    plan_path: Path, adapter: Path | None, base_model: Path | None, seed: int, connect: Connect
) -> None:
    """Create a federation from a commented plan file (`alignfed init` writes one).

    The plan is resolved here: the base model's digest is taken, the LoRA target modules are spelled out, the initial
    adapter is made, and the files of the calibration set are brought into the form that the worker reads. Then all of
    it is sent to the coordinator, which publishes it as version 0. A plan does not change afterwards.
    """
    file = read_plan_file(plan_path)
    with needs_extra("worker"):
        from coordinator.cli.resolution import resolve  # torch takes seconds to load

    new = resolve(file, base_model=base_model, adapter=adapter, seed=seed)
    with connect() as client:
        head = client.create_federation(new.plan, new.adapter, new.calibration)
    name, rows = new.plan.federation, len(new.calibration.splitlines())
    parameters = sum(math.prod(spec.shape) for spec in new.plan.tensors)
    click.echo(
        f"created {name} at version {head.id.number}: {len(new.plan.tensors)} tensors, {parameters:,} parameters, "
        f"{rows} calibration rows"
    )
    known = client.authority is not None  # then agents join before they run
    click.echo(f"next: {'alignfed enroll AGENT' if known else 'alignfed-agent run'} --federation {name}")


@federations_group.command("list")
@operator_options
@json_option
def list_federations(connect: Connect, json_wanted: bool) -> None:
    """List the names of all federations. `alignfed status` says how they are doing."""
    with connect() as client:
        names = client.federations()
    if json_wanted:
        click.echo(as_json(names))
    else:
        click.echo("\n".join(names) or "no federations yet: create one with `alignfed federations create PLAN.toml`")


@federations_group.command("show")
@federation_argument
@operator_options
@json_option
def show_federation(federation: str, connect: Connect, json_wanted: bool) -> None:
    """Show the plan of FEDERATION: base model, LoRA, training, buffer, recipe, calibration, limits, retention."""
    with connect() as client:
        view = client.federation(federation)
    if json_wanted:
        click.echo(as_json({"plan": view.plan, "created_at": view.created_at}))
        return
    lines: list[tuple[str, object]] = [("created", ago(view.created_at))]
    for name, value in view.plan.to_dict().items():
        if name == "tensors":
            lines.append(("tensors", f"{len(value)}, {sum(math.prod(spec['shape']) for spec in value):,} parameters"))
        elif isinstance(value, dict):
            lines += [(f"{name}.{key}", _shown(item)) for key, item in value.items()]
        else:
            lines.append((name, value))
    click.echo(facts(lines))


def _shown(value: object) -> object:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else value
