"""gRPC's types that its stubs leave out."""

from __future__ import annotations

from typing import Any, TypeAlias

import grpc

Context = grpc.aio.ServicerContext[Any, Any]
"""One RPC as its handler sees it."""

Interceptor: TypeAlias = "grpc.aio.ServerInterceptor[Any, Any]"  # generic in the stubs only
"""Sees RPCs before and after their handlers."""

EOF: object = grpc.aio.EOF  # type: ignore[attr-defined]
"""What `Context.read` returns once the client has sent everything, or is gone."""
