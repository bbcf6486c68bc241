"""Calls of methods that do not exist, whatever bytes name them, are refused and harm nobody."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from alignfed.plan import FederationPlan
from alignfed.v1 import agent_service_pb2 as pb
from tests.service.conftest import Running
from tests.support.raw_http2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    Ending,
    Http2Connection,
    frame,
    header_block,
    message,
    opening,
    rpc_headers,
)

SERVICE = b"/alignfed.v1.AgentService/"
PATHS = (b"\xff", SERVICE + b"\xc3", SERVICE + b"\xed\xa0\xbd", b"/", b"", SERVICE, SERVICE + b"Nothing", b"x" * 3000)


async def call(port: int, path: bytes) -> Ending:
    connection = await Http2Connection.to(port)
    headers = [(name, path if name == b":path" else value) for name, value in rpc_headers("X")]
    begun = frame(HEADERS, header_block(headers), flags=END_HEADERS, stream=1)
    await connection.send(opening() + begun + frame(DATA, message(b""), flags=END_STREAM, stream=1))
    try:
        return (await connection.endings([1], seconds=20))[1]
    finally:
        await connection.close()


@pytest.mark.parametrize("port", ["agent_port", "operator_port"])
async def test_a_path_of_any_bytes_is_unimplemented_and_others_are_served(
    port: str, coordinator: Running, plan: FederationPlan
) -> None:
    """gRPC for Python decodes the path of every unknown method, and stops for good when it is no UTF-8."""
    request = pb.GetGlobalVersionRequest(federation=plan.federation, agent_id="agent-1")
    for path in PATHS:
        ending = await call(getattr(coordinator.server, port), path)
        assert (ending.status, ending.over) == ("UNIMPLEMENTED", True), path
        assert (await coordinator.client.agents.GetGlobalVersion(request, timeout=20)).HasField("status")


async def test_many_at_once_leave_nothing_behind(coordinator: Running, plan: FederationPlan) -> None:
    await call(coordinator.server.agent_port, b"/warm")
    before = len(asyncio.all_tasks())
    endings = await asyncio.gather(*(call(coordinator.server.agent_port, b"/\xff%d" % n) for n in range(200)))
    assert {ending.status for ending in endings} == {"UNIMPLEMENTED"}
    assert len(asyncio.all_tasks()) <= before


async def test_a_library_is_told_the_same(coordinator: Running) -> None:
    method = coordinator.client.channel.unary_unary("/alignfed.v1.AgentService/Nothing")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await method(b"", timeout=20)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
