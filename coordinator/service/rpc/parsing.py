"""Parses requests inside the RPC, so that bytes which are no message are refused with a reason like everything else.

gRPC's own parsing answers UNKNOWN without details and logs a traceback for each: a hostile client could fill the log.

Megabytes pass by protobuf, which would copy each several times: an upload's chunks reach their handler as `ChunkData`,
and the handlers of downloads may answer with bytes that are a message already. `alignfed.chunk_frames` says which.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc

from alignfed.chunk_frames import read_frame
from coordinator.service.rpc.errors import translated
from coordinator.service.rpc.types import Context
from coordinator.service.rpc.wrapping import WrappingInterceptor

if TYPE_CHECKING:  # generic in the stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]

_BEHAVIOURS = ("unary_unary", "unary_stream")
_UPLOAD = "/alignfed.v1.AgentService/SubmitDelta"
_DOWNLOADS = frozenset({"/alignfed.v1.AgentService/DownloadAdapter", "/alignfed.v1.OperatorService/ExportAdapter"})


class RequestParser(WrappingInterceptor):
    """Hands single requests to handlers parsed, or ends the RPC with REQUEST_INVALID; streams are parsed as they come.

    Belongs to one server, innermost: it remembers that server's handlers.
    """

    def __init__(self) -> None:
        super().__init__(_wrap)


def _wrap(handler: Handler, method: str) -> Handler:
    if method == _UPLOAD:
        receive: Any = handler.stream_unary
        read = _frame_or(handler.request_deserializer)
        return grpc.stream_unary_rpc_method_handler(receive, read, handler.response_serializer)
    kind = next((kind for kind in _BEHAVIOURS if getattr(handler, kind)), "")
    behaviour, parse = getattr(handler, kind, None), handler.request_deserializer
    if parse is None or not inspect.iscoroutinefunction(behaviour):  # streams, and what gRPC brings itself
        return handler

    async def parsed(request: bytes, context: Context) -> Any:
        async with translated(context):
            message = parse(request)
        return await behaviour(message, context)

    make = getattr(grpc, f"{kind}_rpc_method_handler")
    write = _bytes_or(handler.response_serializer) if method in _DOWNLOADS else handler.response_serializer
    wrapped: Handler = make(parsed, None, write)
    return wrapped


def _frame_or(parse: Any) -> Callable[[bytes], Any]:
    """Return what reads a frame as its chunk, and whatever else `parse` understands as the message that it makes."""

    def read(message: bytes) -> Any:
        chunk = read_frame(message)
        return parse(message) if chunk is None else chunk

    return read


def _bytes_or(serialize: Any) -> Callable[[Any], bytes]:
    """Return what passes bytes on as they are, and serializes messages."""
    return lambda message: message if isinstance(message, bytes) else serialize(message)
