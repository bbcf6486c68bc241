"""What operators ask of identities: messages in, messages out."""

from __future__ import annotations

import re

from alignfed.errors import RequestInvalid, UnknownAgent
from alignfed.plan import AGENT_ID
from alignfed.v1 import operator_service_pb2 as pb
from coordinator.domain import JoinGrant, JoinGrantState
from coordinator.ports import Store
from coordinator.service.identity.gate import operator_name
from coordinator.service.identity.joining import Joining
from coordinator.service.rpc import convert

_PRINCIPAL = re.compile(rf"(?P<kind>agent|operator):(?P<name>{AGENT_ID.pattern})")


async def create_join_grant(joining: Joining, request: pb.CreateJoinGrantRequest) -> pb.CreateJoinGrantResponse:
    """Keep a join grant.

    Raises:
        RequestInvalid: A field is missing or out of its range.
    """
    wanted = request.grant
    if not wanted.HasField("expires_at"):
        raise RequestInvalid("a join grant needs expires_at: say when the token ends")
    grant = JoinGrant(
        token_id=wanted.token_id,
        secret_sha256=wanted.secret_sha256,
        agent=wanted.agent,
        federations=tuple(wanted.federations),
        uses=wanted.uses,
        created_at=0.0,
        expires_at=wanted.expires_at.seconds + wanted.expires_at.nanos / 1e9,
    )
    await joining.grant(grant, created_by=operator_name())
    return pb.CreateJoinGrantResponse()


async def list_join_grants(store: Store) -> pb.ListJoinGrantsResponse:
    """Return every grant that has not expired, without the digests of secrets."""
    return pb.ListJoinGrantsResponse(grants=[_to_proto(state) for state in await store.identities.grants()])


async def revoke_identity(store: Store, request: pb.RevokeIdentityRequest) -> pb.RevokeIdentityResponse:
    """Shut an agent or an operator out of everything; an agent's queued deltas are rejected at merge.

    Raises:
        RequestInvalid: The principal is malformed, or the caller's own.
    """
    match = _PRINCIPAL.fullmatch(request.principal)
    if match is None:
        raise RequestInvalid("principal must be agent:ID or operator:NAME")
    if request.principal == f"operator:{operator_name()}":
        raise RequestInvalid("an operator cannot revoke itself: let another admin do it")
    await store.identities.revoke(request.principal)
    federations = []
    if match["kind"] == "agent":
        names = await store.federations.names()
        federations = [name for name in names if await _revoked_in(store, name, match["name"])]
    return pb.RevokeIdentityResponse(federations=federations)


async def _revoked_in(store: Store, federation: str, agent_id: str) -> bool:
    """Revoke an agent in a federation; return whether it was registered there."""
    try:
        await store.agents.revoke(federation, agent_id)
    except UnknownAgent:
        return False
    return True


def _to_proto(state: JoinGrantState) -> pb.JoinGrant:
    grant = state.grant
    return pb.JoinGrant(
        token_id=grant.token_id,
        agent=grant.agent,
        federations=grant.federations,
        uses=grant.uses,
        uses_left=max(0, state.uses_left),
        created_at=convert.timestamp(grant.created_at),
        expires_at=convert.timestamp(grant.expires_at),
        created_by=grant.created_by,
    )
