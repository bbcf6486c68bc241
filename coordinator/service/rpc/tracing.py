"""Traces RPCs: a transfer always, any other call when its client names a span that it belongs to."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import grpc

from alignfed.tracing.context import TRACEPARENT, sound_traceparent
from alignfed.tracing.spans import Around, SpanKind, Tracer, span
from coordinator.service.rpc.types import Context
from coordinator.service.rpc.wrapping import BEHAVIOURS, WrappingInterceptor

if TYPE_CHECKING:  # generic in the stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]

ALWAYS = frozenset({"SubmitDelta", "DownloadAdapter"})
"""Polls and health checks would be most of a trace store, and tell nothing."""


class RpcTracer(WrappingInterceptor):
    """Runs handlers in a span whose parent is the client's; a malformed parent counts as none.

    Belongs to one server: it remembers that server's handlers.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        super().__init__(lambda handler, method: self._wrap(handler, method.lstrip("/")))

    def _wrap(self, handler: Handler, method: str) -> Handler:
        kind = next(kind for kind in BEHAVIOURS if getattr(handler, kind))
        behaviour = getattr(handler, kind)
        if not inspect.iscoroutinefunction(behaviour):  # reflection, which nobody needs traced
            return handler
        service, _, name = method.partition("/")

        async def traced(request: Any, context: Context) -> Any:
            parent = _parent_of(context)
            if not parent and name not in ALWAYS:
                return await behaviour(request, context)
            with span(self._tracer, method, Around(parent=parent, kind=SpanKind.SERVER)) as made:
                made.set_attributes({"rpc.system": "grpc", "rpc.service": service, "rpc.method": name})
                return await behaviour(request, context)

        make = getattr(grpc, f"{kind}_rpc_method_handler")
        wrapped: Handler = make(traced, handler.request_deserializer, handler.response_serializer)
        return wrapped


def _parent_of(context: Context) -> str:
    """Return the `traceparent` that a call carries, or nothing when it carries none or a malformed one."""
    return sound_traceparent(dict(context.invocation_metadata() or ()).get(TRACEPARENT))
