"""`alignfed export`: an adapter as a directory that `PeftModel.from_pretrained` loads."""

from __future__ import annotations

from pathlib import Path

import click

from alignfed import failpoints
from alignfed.errors import RequestInvalid
from alignfed.plan import Encoding
from coordinator.cli.options import Connect, federation_argument, needs_extra, operator_options
from coordinator.domain import AdapterKind


@click.command("export", short_help="Write an adapter in PEFT format.")
@federation_argument
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--version", "number", type=click.IntRange(min=0), help="Version to export; the head otherwise.")
@click.option(
    "--kind",
    type=click.Choice([kind.value for kind in AdapterKind]),
    default=AdapterKind.SERVED.value,
    show_default=True,
    help="served: what is to be used, the better judged of raw head and moving average; training: the raw head.",
)
@click.option("--force", is_flag=True, help="Write into a directory that is not empty, replacing an adapter there.")
@operator_options
def export_command(
    federation: str, directory: Path, number: int | None, kind: str, force: bool, connect: Connect
) -> None:
    """Write an adapter of FEDERATION to DIRECTORY in PEFT format.

    Load it with `PeftModel.from_pretrained(base_model, DIRECTORY)`.
    """
    check_target(directory, force=force)
    with needs_extra("worker"):
        from alignfed.codec import decode  # torch and peft take seconds to load
        from coordinator.worker.adapter import write_peft

    with connect() as client:
        plan = client.federation(federation).plan
        version, payload = client.adapter(federation, number, kind=AdapterKind(kind))
    factors = decode(payload, plan.tensors, Encoding.FP32)
    with failpoints.around("export.write"):
        write_peft(directory, factors, plan.lora, base_model_name=plan.base_model.name)
    click.echo(f"wrote the {kind} adapter of {federation} version {version.number} to {directory}")


def check_target(directory: Path, *, force: bool) -> None:
    """Check that an export would not mix with other files.

    Raises:
        RequestInvalid: The directory is not empty.
    """
    if not force and directory.is_dir() and any(directory.iterdir()):
        raise RequestInvalid(f"{directory} is not empty: name another directory, or use --force")
