"""`alignfed status`: how federations are doing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from coordinator.cli.operator_views import FederationView
from coordinator.cli.options import Connect, json_option, operator_options
from coordinator.cli.tables import ago, aligned, as_json, facts

if TYPE_CHECKING:
    from coordinator.cli.operator_client import OperatorClient


@click.command("status", short_help="Show how federations are doing.")
@click.argument("federation", required=False)
@operator_options
@json_option
def status_command(federation: str | None, connect: Connect, json_wanted: bool) -> None:
    """Show how FEDERATION is doing, or every federation in one table."""
    with connect() as client:
        names = [federation] if federation else client.federations()
        views = [client.federation(name) for name in names]
        if json_wanted:
            click.echo(as_json([summary(view) for view in views]))
        elif federation:
            [newest, *_] = client.versions(federation, limit=1)
            click.echo(facts([*_facts(views[0]), ("calibration loss", newest.calibration_loss)]))
            click.echo(f"{'published'.ljust(16)}  {ago(newest.created_at)}")
            if views[0].plan.privacy.enabled:
                click.echo(f"{'privacy loss'.ljust(16)}  {_privacy(views[0], client)}")
            if views[0].head.hold_reason:
                click.echo(f"{'on hold because'.ljust(16)}  {views[0].head.hold_reason}")
                click.echo(f"{''.ljust(16)}  go on with `alignfed resume {federation}`")
        elif views:
            header = ["federation", "version", "queue", "claimed", "dead letters", "agents", "merging"]
            click.echo(aligned(header, [[value for _, value in _facts(view)[:7]] for view in views]))
        else:
            click.echo("no federations yet: create one with `alignfed federations create PLAN.toml`")


def summary(view: FederationView) -> dict[str, object]:
    """Return a federation's state without its plan, for JSON."""
    return {
        "federation": view.plan.federation,
        "head": {"epoch": view.head.id.epoch, "number": view.head.id.number, "digest": view.head.id.digest},
        "oldest_retained": view.head.oldest_retained,
        "paused": view.head.paused,
        "hold_reason": view.head.hold_reason,
        "queued": view.queued,
        "pending": view.pending,
        "dead": view.dead,
        "agents": view.agents,
        "created_at": view.created_at,
    }


def _privacy(view: FederationView, client: OperatorClient) -> str:
    """Say what the newest merge made of the largest privacy loss; rollbacks take nothing back and tell nothing."""
    limits = view.plan.privacy
    for number in range(view.head.id.number, 0, -1):
        merge = client.version(view.plan.federation, number).merge
        if merge is not None and merge.privacy is not None:
            spent = merge.privacy
            return (
                f"epsilon {spent.epsilon:.3g} of {limits.max_epsilon:g} at delta {spent.delta:g}: some agent took part "
                f"{spent.participations} times"
            )
    return f"none of {limits.max_epsilon:g} yet"


def _facts(view: FederationView) -> list[tuple[str, object]]:
    return [
        ("federation", view.plan.federation),
        ("version", view.head.id.number),
        ("queue", view.queued),
        ("claimed", view.pending),
        ("dead letters", view.dead),
        ("agents", view.agents),
        ("merging", "on hold" if view.head.hold_reason else "paused" if view.head.paused else "yes"),
    ]
