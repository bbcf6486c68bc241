"""Joining: a token is exchanged for a certificate of a key that was made here."""

from __future__ import annotations

import logging
from pathlib import Path

import grpc

from alignfed.addresses import is_loopback
from alignfed.errors import RequestInvalid
from alignfed.join_token import JoinToken
from alignfed.settings import parse_listen
from alignfed.v1 import join_service_pb2 as pb
from alignfed.v1 import join_service_pb2_grpc
from edge_agent.identity.folder import IdentityFolder, Joined
from edge_agent.state import check_agent_id, new_agent_id
from edge_agent.wire.errors import error_of

JOIN_SECONDS = 30.0

logger = logging.getLogger(__name__)


def join(token: JoinToken, state_dir: Path, *, agent_id: str | None) -> Joined:
    """Join with a token and keep the identity in the state directory. Repeating it after a failure is harmless.

    Args:
        token: What the operator handed over.
        state_dir: The agent's state directory.
        agent_id: The id to take; None for the token's, or one made up where it is for several agents.

    Returns:
        Where the agent has joined.

    Raises:
        RequestInvalid: The agent has joined already, and its certificate is good.
        JoinTokenInvalid, AgentIdTaken, IdentityRevoked: The coordinator does not let it in.
        CoordinatorUnreachable: Nobody who can prove to be the coordinator answers.
    """
    folder = IdentityFolder(state_dir)
    if folder.has_joined and not folder.has_expired:
        raise RequestInvalid(
            f"{state_dir} has joined already, as {folder.joined().agent_id}: name another --state-dir, or delete "
            f"{folder.path} to join anew"
        )
    known = folder.joined().agent_id if folder.has_joined else None
    wanted = check_agent_id(agent_id or known or _id_for(token))
    request = folder.prepare()
    response = _ask(token, pb.JoinRequest(
        token_id=token.token_id, secret=token.secret, agent_id=wanted, signing_request=request
    ))  # fmt: skip
    joined = Joined(agent_id=wanted, coordinator=token.coordinator, federation=token.federation)
    folder.keep(
        joined,
        certificate=response.certificate,
        authority=token.authority.encode(),
        version_keys="".join(token.version_keys).encode(),
    )
    return joined


def _id_for(token: JoinToken) -> str:
    if not token.agent.endswith("*"):
        return token.agent
    return f"{token.agent.removesuffix('*')}{new_agent_id()}"[:64]


def _ask(token: JoinToken, request: pb.JoinRequest) -> pb.JoinResponse:
    host, _port = parse_listen(token.join)
    options = [("grpc.enable_http_proxy", 0)] if is_loopback(host) else []
    credentials = grpc.ssl_channel_credentials(token.authority.encode())
    with grpc.secure_channel(token.join, credentials, options=options) as channel:
        stub = join_service_pb2_grpc.JoinServiceStub(channel)  # type: ignore[no-untyped-call]
        try:
            response: pb.JoinResponse = stub.Join(request, timeout=JOIN_SECONDS)
        except grpc.RpcError as error:
            raise error_of(error, address=token.join) from error
    return response
