"""`alignfed export`: an adapter as a directory that `PeftModel.from_pretrained` loads."""

from __future__ import annotations

from pathlib import Path

import click

from alignfed import failpoints
from alignfed.chunks import sha256_of
from alignfed.errors import ManifestForeign, RequestInvalid
from alignfed.plan import Encoding
from alignfed.version_keys import VersionKeys, load_version_keys
from alignfed.version_manifest import Identity, check_describes
from coordinator.cli.operator_views import VersionView
from coordinator.cli.options import Connect, federation_argument, needs_extra, operator_options
from coordinator.domain import AdapterKind, VersionId


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
@click.option(
    "--version-key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write nothing unless the holder of one of these public keys (PEM) has signed the version.",
)
@click.option("--force", is_flag=True, help="Write into a directory that is not empty, replacing an adapter there.")
@operator_options
def export_command(
    federation: str,
    directory: Path,
    number: int | None,
    kind: str,
    version_key: Path | None,
    force: bool,
    connect: Connect,
) -> None:
    """Write an adapter of FEDERATION to DIRECTORY in PEFT format.

    Load it with `PeftModel.from_pretrained(base_model, DIRECTORY)`.
    """
    check_target(directory, force=force)
    keys = load_version_keys(version_key) if version_key is not None else None
    with needs_extra("worker"):
        from alignfed.codec import decode  # torch and peft take seconds to load
        from coordinator.worker.adapter import write_peft

    with connect() as client:
        plan = client.federation(federation).plan
        version, payload = client.adapter(federation, number, kind=AdapterKind(kind))
        if keys is not None:
            check_signed(keys, client.version(federation, version.number), federation, kind, version, payload)
    factors = decode(payload, plan.tensors, Encoding.FP32)
    with failpoints.around("export.write"):
        write_peft(directory, factors, plan.lora, base_model_name=plan.base_model.name)
    click.echo(f"wrote the {kind} adapter of {federation} version {version.number} to {directory}")


def check_signed(
    keys: VersionKeys, view: VersionView, federation: str, kind: str, version: VersionId, payload: bytes
) -> None:
    """Check that an adapter is the one that was signed.

    Raises:
        VersionUnsigned, SignatureInvalid: The version is not signed with one of `keys`.
        ManifestForeign: Another version or payload was signed.
    """
    manifest = keys.verify(view.signed)
    identity = Identity(epoch=version.epoch, number=version.number, digest=version.digest)
    check_describes(manifest, federation=federation, version=identity)
    due = manifest.served_digest if kind == AdapterKind.SERVED else manifest.version.digest
    if sha256_of(payload) != due:
        raise ManifestForeign(
            f"the {kind} adapter of version {version.number} is not the one that was signed: whoever serves it "
            "replaced it; nothing was written"
        )


def check_target(directory: Path, *, force: bool) -> None:
    """Check that an export would not mix with other files.

    Raises:
        RequestInvalid: The directory is not empty.
    """
    if not force and directory.is_dir() and any(directory.iterdir()):
        raise RequestInvalid(f"{directory} is not empty: name another directory, or use --force")
