"""`alignfed explain`: what became of one delta, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from alignfed.errors import DeltaNotFound, RequestInvalid
from coordinator.cli.explain_text import as_plain, describe
from coordinator.cli.operator_views import DeltaView, FederationView
from coordinator.cli.options import Connect, json_option, operator_options
from coordinator.cli.tables import as_json

if TYPE_CHECKING:
    from coordinator.cli.operator_client import OperatorClient


@click.command("explain", short_help="Show what became of a delta, and why.")
@click.argument("delta_id", metavar="DELTA")
@click.option("--federation", default="", metavar="NAME", help="The delta's federation.  [default: look in all]")
@operator_options
@json_option
def explain_command(delta_id: str, federation: str, connect: Connect, json_wanted: bool) -> None:
    """Show what became of DELTA, and why.

    It is being uploaded, waits in the queue, is claimed by a worker, was merged into a version, was rejected, or is a
    dead letter. Of a merged delta this shows how its version group was aligned, what it weighed and why, how it agreed
    with the others, and whether the version got better on the calibration set.

    DELTA is an id as agents log it and merge records name it (`alignfed versions FEDERATION NUMBER`), or the beginning
    of one that no other delta shares.
    """
    with connect() as client:
        found, home = find_delta(client, delta_id, federation)
    click.echo(as_json(as_plain(found, home)) if json_wanted else describe(found, home))


def find_delta(client: OperatorClient, delta_id: str, federation: str) -> tuple[DeltaView, FederationView]:
    """Return a delta and the federation it belongs to, looking in all federations when none is named.

    Raises:
        DeltaNotFound: It is in none of them.
        RequestInvalid: Deltas of several federations begin with the id, or several of one do.
    """
    names = [federation] if federation else client.federations()
    found: list[tuple[str, DeltaView]] = []
    missing: DeltaNotFound | None = None
    for name in names:
        try:
            found.append((name, client.delta(name, delta_id)))
        except DeltaNotFound as error:
            missing = error
    if len(found) > 1:
        places = ", ".join(name for name, _ in found)
        raise RequestInvalid(f"deltas of several federations begin with {delta_id} ({places}): add --federation")
    if not found:
        raise missing or DeltaNotFound(
            f"no delta {delta_id!r}: this coordinator has no federation yet, so check --operator"
        )
    [(name, view)] = found
    return view, client.federation(name)
