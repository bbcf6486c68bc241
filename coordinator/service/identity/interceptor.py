"""Runs before every handler of a service: who calls, and whether as often as it may."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc

from alignfed.errors import AlignFedError
from coordinator.service.rpc.errors import translated
from coordinator.service.rpc.types import Context
from coordinator.service.rpc.wrapping import BEHAVIOURS, WrappingInterceptor

if TYPE_CHECKING:  # generic in the stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]

Admit = Callable[[Context, str], None]
"""Raises what ends an RPC before its handler runs, given its method's name."""


class AdmissionInterceptor(WrappingInterceptor):
    """Calls `admit` before every handler of `service`; health and reflection tell nothing of a federation.

    Belongs to one server: it remembers that server's handlers.
    """

    def __init__(self, service: str, admit: Admit) -> None:
        self._service = service
        self._admit = admit
        super().__init__(self._wrap)

    def _wrap(self, handler: Handler, method: str) -> Handler:
        service, _, name = method.lstrip("/").partition("/")
        if service != self._service:
            return handler
        kind = next(kind for kind in BEHAVIOURS if getattr(handler, kind))
        behaviour = getattr(handler, kind)
        assert inspect.iscoroutinefunction(behaviour), f"{name} is no coroutine function"

        async def admitted(request: Any, context: Context) -> Any:
            try:
                self._admit(context, name)
            except AlignFedError:
                async with translated(context):
                    raise
            return await behaviour(request, context)

        make = getattr(grpc, f"{kind}_rpc_method_handler")
        wrapped: Handler = make(admitted, handler.request_deserializer, handler.response_serializer)
        return wrapped
