"""`alignfed pause`, `resume` and `rollback`: steering a running federation."""

from __future__ import annotations

import click

from coordinator.cli.options import Connect, federation_argument, operator_options


@click.command("pause", short_help="Stop merging.")
@federation_argument
@operator_options
def pause_command(federation: str, connect: Connect) -> None:
    """Stop merging in FEDERATION. Agents may go on uploading until its queue is full. Doing it twice does no harm."""
    with connect() as client:
        head = client.pause(federation)
    click.echo(f"{federation} is paused at version {head.id.number}; go on with `alignfed resume {federation}`")


@click.command("resume", short_help="Merge again after a pause.")
@federation_argument
@operator_options
def resume_command(federation: str, connect: Connect) -> None:
    """Merge again in FEDERATION after a pause. Doing it twice does no harm."""
    with connect() as client:
        head = client.resume(federation)
    click.echo(f"{federation} merges again from version {head.id.number}")


@click.command("rollback", short_help="Publish an older version's adapter again.")
@federation_argument
@click.argument("number", type=click.IntRange(min=0))
@operator_options
def rollback_command(federation: str, number: int, connect: Connect) -> None:
    """Publish version NUMBER's adapter again, as a new version of FEDERATION.

    Versions after NUMBER are abandoned: deltas that were trained from them are rejected, and agents pull the new head.
    NUMBER must be retained (`alignfed versions`) and not abandoned itself.
    """
    with connect() as client:
        head = client.roll_back(federation, number)
    click.echo(f"{federation} is at version {head.id.number}, which holds the adapter of version {number}")
