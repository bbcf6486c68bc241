"""Times every RPC, whatever service it belongs to."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc

from coordinator.service.metrics import ServiceMetrics
from coordinator.service.rpc.types import Context
from coordinator.service.rpc.wrapping import BEHAVIOURS, WrappingInterceptor

if TYPE_CHECKING:  # generic in the stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]


class RpcTimer(WrappingInterceptor):
    """Observes each RPC's duration under its method and final code. Only methods that exist become labels.

    Belongs to one server: it remembers that server's handlers.
    """

    def __init__(self, metrics: ServiceMetrics) -> None:
        self._histogram = metrics.rpc_duration_seconds
        super().__init__(lambda handler, method: self._wrap(handler, method.rpartition("/")[2]))

    def _wrap(self, handler: Handler, method: str) -> Handler:
        kind = next(kind for kind in BEHAVIOURS if getattr(handler, kind))
        behaviour = getattr(handler, kind)
        timed: Callable[..., Any]

        if inspect.isasyncgenfunction(behaviour):

            async def timed_generator(request: Any, context: Context) -> AsyncIterator[Any]:
                with self._timing(method, context):
                    async for response in behaviour(request, context):
                        yield response

            timed = timed_generator
        else:

            async def timed_coroutine(request: Any, context: Context) -> Any:
                with self._timing(method, context):
                    return await behaviour(request, context)

            timed = timed_coroutine
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        wrapped: Handler = make(timed, handler.request_deserializer, handler.response_serializer)
        return wrapped

    @contextmanager
    def _timing(self, method: str, context: Context) -> Iterator[None]:
        started = time.perf_counter()
        code = "OK"
        try:
            yield
        except asyncio.CancelledError:
            code = "CANCELLED"
            raise
        except BaseException:
            code = "UNKNOWN"
            raise
        finally:
            set_by_handler: grpc.StatusCode | None = context.code()
            name = code if set_by_handler is None else set_by_handler.name
            self._histogram.labels(method, name).observe(time.perf_counter() - started)
