"""`alignfed keys`: keys that sign versions."""

from __future__ import annotations

from pathlib import Path

import click

from alignfed.version_keys import load_signing_key, new_signing_key
from coordinator.cli.options import needs_extra


@click.group("keys", short_help="Make keys that sign versions.")
def keys_group() -> None:
    """Keys that sign versions.

    Workers and coordinators sign with the private key (--signing-key-file); agents that have the public one load
    signed versions only (--version-key).
    """


@keys_group.command("new", short_help="Make a key.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def new_command(file: Path) -> None:
    """Write a new private key to FILE, for its owner only, and print the public key.

    Append what is printed to the version keys file of every agent. To change keys, first add the new public key there,
    then give the new private key to workers and coordinators, and take the old public key out when no agent is behind.
    """
    with needs_extra("coordinator"):
        public = new_signing_key(file)
        fingerprint = load_signing_key(file).fingerprint
    click.echo(public, nl=False)
    click.echo(f"wrote the private key {fingerprint} to {file}; above is its public key", err=True)
