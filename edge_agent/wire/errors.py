"""gRPC failures as the errors of `alignfed.errors`: by `ErrorInfo.reason`, never by message text."""

from __future__ import annotations

import grpc

from alignfed.errors import ERRORS_BY_REASON, AlignFedError, CoordinatorUnreachable, RequestInvalid
from alignfed.remote_errors import details_of
from edge_agent.wire.backoff import RETRY_AFTER

_TEMPORARY = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNKNOWN,  # a handler that crashed, or a proxy's own failure
        grpc.StatusCode.INTERNAL,
    }
)


def error_of(error: grpc.RpcError, *, address: str) -> AlignFedError:
    """Return the error that a failed call stands for.

    Args:
        error: As raised by a stub: also a `grpc.Call`.
        address: Who was called, for the message.

    Returns:
        The leaf that the coordinator named, with its metadata and its `retry_after_seconds` if it gave a hint.
        Without a known reason: `CoordinatorUnreachable` when trying again can help, else `RequestInvalid`.
    """
    info, hint = details_of(error)
    metadata: dict[str, object] = dict(info.metadata) if info is not None else {}
    if hint is not None:
        metadata[RETRY_AFTER] = hint
    code, text = error.code(), error.details() or ""
    if info is not None and info.reason in ERRORS_BY_REASON:
        return ERRORS_BY_REASON[info.reason](text, **metadata)
    if code in _TEMPORARY:
        return CoordinatorUnreachable(f"no answer from the coordinator at {address} ({code.name}: {text})", **metadata)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return RequestInvalid(
            f"{address} answers, but not as an agent service: name the coordinator's agent address (port 7300 unless "
            "set otherwise) with --coordinator"
        )
    return RequestInvalid(f"the coordinator at {address} refuses the call ({code.name}: {text}): update this agent")
