"""Join grants as operators' messages carry them."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from alignfed.v1 import operator_service_pb2 as pb
from coordinator.cli.operator_messages import seconds_of
from coordinator.domain import JoinGrant, JoinGrantState


def join_grant_to_proto(grant: JoinGrant) -> pb.JoinGrant:
    """Return what a coordinator is told of a new grant."""
    expires_at = Timestamp()
    expires_at.FromMilliseconds(round(1000 * grant.expires_at))
    return pb.JoinGrant(
        token_id=grant.token_id,
        secret_sha256=grant.secret_sha256,
        agent=grant.agent,
        federations=grant.federations,
        uses=grant.uses,
        expires_at=expires_at,
    )


def join_grant_of(message: pb.JoinGrant) -> JoinGrantState:
    """Return a grant and the uses left of it."""
    grant = JoinGrant(
        token_id=message.token_id,
        secret_sha256=message.secret_sha256,
        agent=message.agent,
        federations=tuple(message.federations),
        uses=message.uses,
        created_at=seconds_of(message.created_at),
        expires_at=seconds_of(message.expires_at),
        created_by=message.created_by,
    )
    return JoinGrantState(grant=grant, uses_left=message.uses_left)
