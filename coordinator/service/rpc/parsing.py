"""Parses requests inside the RPC, so that bytes which are no message are refused with a reason like everything else.

gRPC's own parsing answers UNKNOWN without details and logs a traceback for each: a hostile client could fill the log.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import grpc

from coordinator.service.rpc.errors import translated
from coordinator.service.rpc.types import Context
from coordinator.service.rpc.wrapping import WrappingInterceptor

if TYPE_CHECKING:  # generic in the stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]

_BEHAVIOURS = ("unary_unary", "unary_stream")


class RequestParser(WrappingInterceptor):
    """Hands single requests to handlers parsed, or ends the RPC with REQUEST_INVALID; streams are parsed as they come.

    Belongs to one server, innermost: it remembers that server's handlers.
    """

    def __init__(self) -> None:
        super().__init__(lambda handler, _method: _wrap(handler))


def _wrap(handler: Handler) -> Handler:
    kind = next((kind for kind in _BEHAVIOURS if getattr(handler, kind)), "")
    behaviour, parse = getattr(handler, kind, None), handler.request_deserializer
    if parse is None or not inspect.iscoroutinefunction(behaviour):  # streams, and what gRPC brings itself
        return handler

    async def parsed(request: bytes, context: Context) -> Any:
        async with translated(context):
            message = parse(request)
        return await behaviour(message, context)

    make = getattr(grpc, f"{kind}_rpc_method_handler")
    wrapped: Handler = make(parsed, None, handler.response_serializer)
    return wrapped
