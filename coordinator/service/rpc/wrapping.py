"""What interceptors share: a method's handler is wrapped at its first call, and kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:  # generic in the stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]

BEHAVIOURS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class WrappingInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Puts `wrap(handler, method)` in the place of every handler, `method` being its whole path.

    Belongs to one server: it remembers that server's handlers, which never change.
    """

    def __init__(self, wrap: Callable[[Handler, str], Handler]) -> None:
        self._wrap_handler = wrap
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(  # type: ignore[override]  # an unknown method has no handler, which the stubs deny
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Return the method's wrapped handler, or nothing for a method that does not exist."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            wrapped = self._wrapped[method] = self._wrap_handler(handler, method)
        return wrapped
