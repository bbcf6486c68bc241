"""Servers that do as little as possible, each a process of its own: what a real coordinator is compared with.

    python -m bench.speed.servers KIND PORT

Kinds: `tcp` reads and forgets; `grpc` answers calls with the coordinator's own options: `EMPTY_METHOD` without doing
anything, `FORGET_METHOD` after reading a stream of bytes and forgetting them.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc

from coordinator.service.allocator import keep_freed_memory
from coordinator.service.config import ServiceConfig
from coordinator.service.rpc.servers import options_of

CHUNK_BYTES = 1 << 20
READY = "ready"
EMPTY_METHOD = "/bench.Bare/Empty"
FORGET_METHOD = "/bench.Bare/Forget"


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


async def answer(_request: bytes, _context: Any) -> bytes:
    """Answer with nothing."""
    return b""


async def forget(_requests: AsyncIterator[bytes], context: Any) -> bytes:
    """Read all messages, and answer with nothing."""
    while await context.read() is not grpc.aio.EOF:  # type: ignore[attr-defined]  # the stubs leave it out
        pass
    return b""


async def serve_grpc(port: int) -> None:
    """Serve until killed."""
    keep_freed_memory()
    server = grpc.aio.server(options=options_of(ServiceConfig()))
    handlers = {
        EMPTY_METHOD: grpc.unary_unary_rpc_method_handler(answer),
        FORGET_METHOD: grpc.stream_unary_rpc_method_handler(forget),
    }
    service = EMPTY_METHOD.split("/")[1]
    named = {method.rpartition("/")[2]: handler for method, handler in handlers.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, named),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print(READY, flush=True)  # read by who started it
    await server.wait_for_termination()


def main(kind: str, port: int) -> None:
    """Be a server of a kind until killed."""
    if kind == "tcp":
        forget_tcp(port)
    else:
        asyncio.run(serve_grpc(port))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
