"""Parses requests inside the RPC, so that bytes which are no message are refused with a reason like everything else.

gRPC's own parsing answers UNKNOWN without details and logs a traceback for each: a hostile client could fill the log.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc

from coordinator.service.rpc.errors import translated
from coordinator.service.rpc.types import Context

if TYPE_CHECKING:  # generic in the stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]

_BEHAVIOURS = ("unary_unary", "unary_stream")


class RequestParser(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Hands single requests to handlers parsed, or ends the RPC with REQUEST_INVALID; streams are parsed as they come.

    Belongs to one server, innermost: it remembers that server's handlers.
    """

    def __init__(self) -> None:
        self._parsed: dict[str, Handler] = {}

    async def intercept_service(  # type: ignore[override]  # an unknown method has no handler, which the stubs deny
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Return the method's handler, which parses for itself; handlers never change, so each is wrapped once."""
        method = handler_call_details.method
        parsed = self._parsed.get(method)
        if parsed is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            parsed = self._parsed[method] = _wrap(handler)
        return parsed


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
