"""Servers that do as little as possible, each a process of its own: what a real coordinator is compared with.

    python -m bench.speed.servers KIND PORT

Kinds: `tcp` reads and forgets; `null` speaks the agents' contract with the coordinator's own options, reads uploads and
forgets them; `empty` answers a call without doing anything.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc

from alignfed.v1 import agent_service_pb2 as pb
from alignfed.v1 import agent_service_pb2_grpc, types_pb2
from coordinator.service.config import ServiceConfig
from coordinator.service.rpc.servers import options_of

CHUNK_BYTES = 1 << 20
READY = "ready"
EMPTY_METHOD = "/bench.Empty/Call"


def forget_tcp(port: int) -> None:
    """Read each connection to its end, then answer with one byte."""
    room = bytearray(CHUNK_BYTES)
    with socket.create_server(("127.0.0.1", port)) as server:
        print(READY, flush=True)  # read by who started it
        while True:
            connection, _ = server.accept()
            with connection:
                while connection.recv_into(room):
                    pass
                connection.sendall(b"!")


class NullServicer(agent_service_pb2_grpc.AgentServiceServicer):
    """Takes uploads in and forgets them."""

    async def SubmitDelta(  # noqa: N802  # gRPC's name
        self, requests: AsyncIterator[pb.SubmitDeltaRequest], _context: Any
    ) -> pb.SubmitDeltaResponse:
        """Read all messages, and acknowledge."""
        delta_id = ""
        async for request in requests:
            delta_id = delta_id or request.header.delta_id
        receipt = types_pb2.Receipt(delta_id=delta_id, state=types_pb2.DELTA_STATE_QUEUED)
        return pb.SubmitDeltaResponse(receipt=receipt)


async def serve_grpc(kind: str, port: int) -> None:
    """Serve until killed."""
    server = grpc.aio.server(options=options_of(ServiceConfig()))
    if kind == "null":
        agent_service_pb2_grpc.add_AgentServiceServicer_to_server(NullServicer(), server)  # type: ignore[no-untyped-call]
    else:

        async def answer(_request: bytes, _context: Any) -> bytes:
            return b""

        service, method = EMPTY_METHOD.strip("/").split("/")
        handlers = {method: grpc.unary_unary_rpc_method_handler(answer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print(READY, flush=True)  # read by who started it
    await server.wait_for_termination()


def main(kind: str, port: int) -> None:
    """Be a server of a kind until killed."""
    if kind == "tcp":
        forget_tcp(port)
    else:
        asyncio.run(serve_grpc(kind, port))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
