"""The agent's methods of a channel; those that move megabytes take and give bytes, past protobuf."""

from __future__ import annotations

from typing import Any

import grpc

from alignfed.v1 import agent_service_pb2 as pb
from alignfed.v1.agent_service_pb2_grpc import AgentServiceStub
from edge_agent.wire.messages import download_part

_SERVICE: str = pb.DESCRIPTOR.services_by_name["AgentService"].full_name


def agent_stub(channel: grpc.Channel) -> Any:
    """Return the generated stub, of which `SubmitDelta` sends bytes as they are, and `DownloadAdapter` reads frames."""
    stub: Any = AgentServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
    stub.SubmitDelta = channel.stream_unary(
        f"/{_SERVICE}/SubmitDelta", request_serializer=None, response_deserializer=pb.SubmitDeltaResponse.FromString
    )
    stub.DownloadAdapter = channel.unary_stream(
        f"/{_SERVICE}/DownloadAdapter",
        request_serializer=pb.DownloadAdapterRequest.SerializeToString,
        response_deserializer=download_part,
    )
    return stub
