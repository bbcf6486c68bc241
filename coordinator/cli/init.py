"""`alignfed init`: commented files to start from."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import click

from alignfed.errors import RequestInvalid

TEMPLATES = ("federation.toml", "coordinator.toml", "worker.toml")


@click.command("init", short_help="Write commented files to start from.")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option("--force", is_flag=True, help="Overwrite files that are already there.")
def init_command(directory: Path, force: bool) -> None:
    """Write commented files to start from into DIRECTORY (default: here).

    federation.toml is the plan of a federation, for `alignfed federations create`; coordinator.toml and worker.toml are
    settings, for `alignfed coordinator --config` and `alignfed worker --config`.
    """
    there = [name for name in TEMPLATES if (directory / name).exists()]
    if there and not force:
        raise RequestInvalid(f"{directory} already holds {', '.join(there)}: name another directory, or use --force")
    directory.mkdir(parents=True, exist_ok=True)
    for name in TEMPLATES:
        text = resources.files("coordinator.cli").joinpath("templates", name).read_text("utf-8")
        (directory / name).write_text(text, "utf-8")
        click.echo(f"wrote {directory / name}")
    click.echo(
        "next: edit federation.toml, start `alignfed coordinator`, then `alignfed federations create federation.toml`"
    )
