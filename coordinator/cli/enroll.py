"""`alignfed enroll`, `alignfed tokens`, `alignfed revoke`: letting agents in, and shutting callers out."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

import click

from alignfed.errors import RequestInvalid
from alignfed.identity import EVERY_FEDERATION
from alignfed.join_token import JoinToken, secret_digest
from coordinator.cli.doctor.target import AGENT_PORT, beside
from coordinator.cli.options import Connect, json_option, operator_options
from coordinator.cli.tables import ago, aligned, as_json
from coordinator.domain import JoinGrant

JOIN_PORT = 7302
_SECRET_BYTES = 32
_HOUR_SECONDS = 3600.0


@click.command("enroll", short_help="Make a join token for an agent.")
@click.argument("agent")
@click.option(
    "--federation",
    "federations",
    multiple=True,
    required=True,
    metavar="NAME",
    help="What it may join; may be given several times, and `*` stands for all.",
)
@click.option(
    "--hours", type=click.FloatRange(0.01, 90 * 24), default=24.0, show_default=True, help="Until it expires."
)
@click.option(
    "--uses", type=click.IntRange(1, 100_000), default=1, show_default=True, help="Agents that may join with it."
)
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the token here, readable by its owner."
)
@click.option("--join", default="", metavar="HOST:PORT", help="Where machines join.  [default: port 7302 beside it]")
@click.option(
    "--coordinator", default="", metavar="HOST:PORT", help="The agents' port.  [default: port 7300 beside it]"
)
@click.option(
    "--version-key",
    "version_keys",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="PEM public key that signs global versions: the agent will accept no others. May be given several times.",
)
@operator_options
def enroll_command(
    agent: str,
    federations: tuple[str, ...],
    hours: float,
    uses: int,
    output: Path | None,
    join: str,
    coordinator: str,
    version_keys: tuple[Path, ...],
    connect: Connect,
) -> None:
    """Make a token with which AGENT may join; with a name such as `site-a-*`, several agents (--uses).

    Whoever has the token may join until it is used up or expires: move it as you would a password. The agent makes its
    own key; `alignfed-agent join --token-file FILE` exchanges the token for a certificate. A token for one agent that
    has joined before lets it join with a new key, and shuts the old one out.
    """
    now = time.time()
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    with connect() as client:
        if client.authority is None:
            raise RequestInvalid(
                "agents know the coordinator by the authority of its certificate: name it with --tls-ca, and see that "
                "the coordinator runs with --identity-dir"
            )
        token = JoinToken(
            token_id=secrets.token_hex(12),
            secret=secret,
            join=beside(client.address, join, JOIN_PORT).address,
            coordinator=beside(client.address, coordinator, AGENT_PORT).address,
            agent=agent,
            federation=federations[0] if federations != (EVERY_FEDERATION,) and len(federations) == 1 else "",
            authority=client.authority.decode("ascii"),
            version_keys=tuple(key.read_text("ascii") for key in version_keys),
        )
        client.create_join_grant(
            JoinGrant(
                token_id=token.token_id,
                secret_sha256=secret_digest(secret),
                agent=agent,
                federations=federations,
                uses=uses,
                created_at=now,
                expires_at=now + hours * _HOUR_SECONDS,
            )
        )
    if output is None:
        click.echo(token.to_text())
        return
    _write_private(output, token.to_text() + "\n")
    click.echo(
        f"wrote {output} (token {token.token_id}, {hours:g} h, {uses} {'use' if uses == 1 else 'uses'}): on the "
        f"agent's machine run `alignfed-agent join --token-file {output.name}`, then `alignfed-agent run`"
    )


@click.group("tokens", short_help="List or withdraw join tokens.")
def tokens_group() -> None:
    """List join tokens, or end one before its time. Secrets are not kept, and cannot be shown again."""


@tokens_group.command("list")
@operator_options
@json_option
def list_tokens(connect: Connect, json_wanted: bool) -> None:
    """List the tokens that have not expired, with how often each may still be used."""
    with connect() as client:
        states = client.join_grants()
    if json_wanted:
        click.echo(as_json(states))
    elif not states:
        click.echo("no join token is open: make one with `alignfed enroll`")
    else:
        rows = [
            [
                state.grant.token_id,
                state.grant.agent,
                ", ".join(state.grant.federations),
                f"{state.uses_left} of {state.grant.uses}",
                f"{max(0.0, state.grant.expires_at - time.time()) / _HOUR_SECONDS:.1f} h",
                ago(state.grant.created_at),
                state.grant.created_by or "-",
            ]
            for state in states
        ]
        click.echo(aligned(["token", "agent", "federations", "uses left", "expires in", "made", "by"], rows))


@tokens_group.command("withdraw")
@click.argument("token_id", metavar="TOKEN")
@operator_options
def withdraw(token_id: str, connect: Connect) -> None:
    """End TOKEN, named by its id; agents that joined with it stay."""
    with connect() as client:
        client.withdraw_join_grant(token_id)
    click.echo(f"token {token_id} lets nobody in any more")


@click.command("revoke", short_help="Shut an agent or an operator out of everything.")
@click.argument("name")
@click.option("--operator-name", "is_operator", is_flag=True, help="NAME is an operator's, not an agent's.")
@operator_options
def revoke_command(name: str, is_operator: bool, connect: Connect) -> None:
    """Shut agent NAME out, for good and at once: calls in progress end everywhere, queued deltas are rejected.

    To shut it out of one federation only: `alignfed agents revoke FEDERATION AGENT`.
    """
    with connect() as client:
        federations = client.revoke_identity(f"{'operator' if is_operator else 'agent'}:{name}")
    where = f", its deltas of {', '.join(federations)} are rejected at the next merge" if federations else ""
    click.echo(f"{name} is shut out{where}; roll back with `alignfed rollback` if its deltas did harm")


def _write_private(file: Path, text: str) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise RequestInvalid(
            f"{file} cannot be written ({error.strerror}): name a file that is not there yet"
        ) from error
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
