"""Answers calls of methods that nobody serves, whatever bytes they name.

gRPC for Python (1.84.2 to 1.85.3 at least) decodes the path of every such call in its accepting loop: one call of a
path that is no UTF-8, from anybody who can connect, ends the loop and shuts the server down. Methods that are served
are registered, and are accepted without that. So the loop is never given any other call: those are answered here.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # the stubs leave it out

_NOT_FOUND = "Method not found!"  # what gRPC itself says


class GuardedServer(cygrpc.AioServer):  # type: ignore[misc]  # untyped
    """gRPC's server, which answers unknown methods by itself."""

    def _make_request_call_future(self, method: bytes | None) -> Any:
        """Return a task that ends with the next call of a registered method; without one, it serves the others."""
        if method is not None:
            return super()._make_request_call_future(method)
        return asyncio.get_running_loop().create_task(self._answer_unknown())

    async def _answer_unknown(self) -> None:
        answers: set[asyncio.Task[None]] = set()
        while True:  # until the server stops, which ends the wait with the error that gRPC's loop expects
            call = await self._request_call()
            answering = asyncio.get_running_loop().create_task(_refuse(call))
            answers.add(answering)
            answering.add_done_callback(answers.discard)


async def _refuse(call: Any) -> None:
    context = cygrpc._ServicerContext(call, None, None, asyncio.get_running_loop())  # noqa: SLF001 (see the module)
    try:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, _NOT_FOUND)
    except (cygrpc.AbortError, cygrpc.ExecuteBatchError, cygrpc.InternalError):  # it is answered, or its client is gone
        return


def guarded_server(*, interceptors: list[Any], options: list[tuple[str, int]]) -> grpc.aio.Server:
    """Return a `grpc.aio.server` that outlives calls of unknown methods; it serves registered methods alone."""
    server = grpc.aio.server(interceptors=interceptors, options=options)
    # The same arguments as `grpc.aio.Server` gives, whose own server has not opened anything yet.
    inner = GuardedServer(cygrpc.get_working_loop(), None, (), interceptors, tuple(options), None)
    server._server = inner  # type: ignore[attr-defined]  # noqa: SLF001 (there is no public way)
    return server
