"""`alignfed agents`: who takes part, what they have contributed, and shutting one out."""

from __future__ import annotations

import click

from coordinator.cli.operator_views import AgentView
from coordinator.cli.options import Connect, federation_argument, json_option, operator_options
from coordinator.cli.tables import ago, aligned, as_json


class _ListByDefault(click.Group):
    """Reads `alignfed agents FEDERATION` as `alignfed agents list FEDERATION`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            args = ["list", *args]
        return super().resolve_command(ctx, args)


@click.group("agents", short_help="List or revoke a federation's agents.", cls=_ListByDefault)
def agents_group() -> None:
    """List a federation's agents with their contributions, or shut one out.

    `alignfed agents FEDERATION` is short for `alignfed agents list FEDERATION`.
    """


@agents_group.command("list")
@federation_argument
@operator_options
@json_option
def list_agents(federation: str, connect: Connect, json_wanted: bool) -> None:
    """List the agents of FEDERATION: deltas merged, share of the aggregation weight, deltas rejected, last call."""
    with connect() as client:
        views = client.agents(federation)
    if json_wanted:
        click.echo(as_json(views))
    elif views:
        click.echo(agents_table(views))
    else:
        click.echo(f"no agent has registered with {federation} yet: start one with `alignfed-agent run`")


def agents_table(views: list[AgentView]) -> str:
    """Return agents and contributions as a table; shares are of the whole weight merged so far."""
    total = sum(view.contribution.weight for view in views)
    return aligned(
        ["agent", "tier", "device", "examples", "merged", "weight share", "rejected", "last seen", "revoked"],
        [
            [
                view.agent.agent_id,
                view.agent.tier or "-",
                view.agent.device or "-",
                view.agent.examples,
                view.contribution.merged,
                view.contribution.weight / total if total else 0.0,
                view.contribution.rejected,
                ago(view.agent.last_seen_at),
                view.agent.revoked,
            ]
            for view in views
        ],
    )


@agents_group.command("revoke")
@federation_argument
@click.argument("agent_id", metavar="AGENT")
@operator_options
def revoke_agent(federation: str, agent_id: str, connect: Connect) -> None:
    """Refuse everything from AGENT from now on, for good; its queued deltas are rejected at the next merge."""
    with connect() as client:
        client.revoke_agent(federation, agent_id)
    click.echo(f"{agent_id} is revoked in {federation}; roll back with `alignfed rollback` if its deltas did harm")
