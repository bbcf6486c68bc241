"""`alignfed ca`: the authorities of a deployment, and the certificates of coordinators and operators."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from alignfed.identity import Role
from coordinator.cli.options import needs_extra

if TYPE_CHECKING:
    from coordinator.authority.folder import AuthorityFolder

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group("ca", short_help="Make authorities and the certificates of coordinators and operators.")
def ca_group() -> None:
    """Make what a deployment knows its callers by.

    `alignfed ca init DIRECTORY --host NAME` makes two authorities, the coordinator's certificate, and an admin's. Keep
    the directory to yourself; a coordinator needs coordinator.pem, coordinator-key.pem, agents.pem, agents-key.pem and
    root.pem of it (`alignfed coordinator --identity-dir`), and never root-key.pem. Agents get theirs with `alignfed
    enroll`.
    """


@ca_group.command("init")
@click.argument("directory", type=_FOLDER)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    required=True,
    metavar="NAME",
    help="DNS name or address under which agents and operators dial the coordinator; may be given several times.",
)
def init(directory: Path, hosts: tuple[str, ...]) -> None:
    """Make a deployment's authorities, the coordinator's certificate, and the first operator, an admin."""
    folder = _folder(directory)
    folder.create(hosts)
    click.echo(
        f"made authorities in {directory}. Keep root-key.pem off every coordinator.\n"
        f"next: alignfed coordinator --identity-dir {directory} --agent-listen 0.0.0.0:7300\n"
        f"      export ALIGNFED_TLS_CA={folder.root_certificate} "
        f"ALIGNFED_TLS_CERTIFICATE={folder.certificate('operators/admin')} "
        f"ALIGNFED_TLS_KEY={folder.key('operators/admin')}\n"
        f"      alignfed enroll AGENT --federation NAME --output agent.join"
    )


@ca_group.command("server")
@click.argument("directory", type=_FOLDER)
@click.option("--host", "hosts", multiple=True, required=True, metavar="NAME", help="As of `alignfed ca init`.")
@click.option("--days", type=click.FloatRange(min=0.001), default=365.0, show_default=True, help="How long it lasts.")
def server(directory: Path, hosts: tuple[str, ...], days: float) -> None:
    """Make the coordinator a new key and certificate; one that runs with these files takes them up by itself."""
    folder = _folder(directory)
    folder.renew_server(hosts, days=days)
    click.echo(f"wrote {folder.certificate('coordinator')} and its key, for {', '.join(hosts)}, for {days:g} days")


@ca_group.command("operator")
@click.argument("directory", type=_FOLDER)
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    required=True,
    help="viewer reads figures; operator also pauses, rolls back, exports; admin also creates federations and lets "
    "agents in.",
)
@click.option("--days", type=click.FloatRange(min=0.001), default=365.0, show_default=True, help="How long it lasts.")
def operator(directory: Path, name: str, role: str, days: float) -> None:
    """Make operator NAME a key and a certificate, to be handed over together with root.pem."""
    folder = _folder(directory)
    file = folder.add_operator(name, Role(role), days=days)
    click.echo(
        f"wrote {file} and {folder.key(f'operators/{name}')}: hand both to {name}, with {folder.root_certificate}"
    )


def _folder(directory: Path) -> AuthorityFolder:
    with needs_extra("coordinator"):
        from coordinator.authority.folder import AuthorityFolder  # cryptography is no part of a bare installation
    return AuthorityFolder(directory)
