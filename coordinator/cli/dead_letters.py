"""`alignfed dead-letters`: deltas that could not be merged after several tries."""

from __future__ import annotations

import click

from coordinator.cli.options import Connect, federation_argument, json_option, operator_options
from coordinator.cli.tables import ago, aligned, as_json


@click.group("dead-letters", short_help="List, requeue or drop deltas that were given up.")
def dead_letters_group() -> None:
    """List, requeue or drop deltas that could not be merged after several tries.

    A dead letter's payload is kept. Look into the worker's log for what went wrong, mend it, then requeue; or drop it.
    """


@dead_letters_group.command("list")
@federation_argument
@operator_options
@json_option
def list_dead_letters(federation: str, connect: Connect, json_wanted: bool) -> None:
    """List the dead letters of FEDERATION, oldest first."""
    with connect() as client:
        letters = client.dead_letters(federation)
    if json_wanted:
        click.echo(as_json(letters))
    elif letters:
        rows = [[letter.delta_id, letter.agent_id, ago(letter.buried_at), letter.detail] for letter in letters]
        click.echo(aligned(["delta", "agent", "given up", "why"], rows))
    else:
        click.echo(f"{federation} has no dead letters")


@dead_letters_group.command("requeue")
@federation_argument
@click.argument("delta_id", metavar="DELTA")
@operator_options
def requeue_dead_letter(federation: str, delta_id: str, connect: Connect) -> None:
    """Put DELTA back at the end of FEDERATION's queue, with a fresh count of tries."""
    with connect() as client:
        client.requeue_dead_letter(federation, delta_id)
    click.echo(f"{delta_id} is queued again in {federation}")


@dead_letters_group.command("drop")
@federation_argument
@click.argument("delta_id", metavar="DELTA")
@operator_options
def drop_dead_letter(federation: str, delta_id: str, connect: Connect) -> None:
    """Reject DELTA for good: its agent is told DROPPED_BY_OPERATOR and its payload is deleted."""
    with connect() as client:
        client.drop_dead_letter(federation, delta_id)
    click.echo(f"{delta_id} is dropped from {federation}")
