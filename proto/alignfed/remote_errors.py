"""What the status of a failed call says beyond its code: the reason a coordinator gave, and when to try again."""

from __future__ import annotations

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from alignfed.errors import ERROR_DOMAIN


def details_of(error: grpc.RpcError) -> tuple[error_details_pb2.ErrorInfo | None, float | None]:
    """Return AlignFed's reason and the retry hint in seconds, as far as the status carries them.

    What cannot be read is left out: whoever sits between may have written the trailers, and the call has failed anyway.

    Args:
        error: As raised by a stub: also a `grpc.Call`.
    """
    try:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]  # a stub's error is also a call
    except (ValueError, DecodeError):  # the rich status is none, or contradicts the plain one: a proxy has rewritten it
        status = None
    found: error_details_pb2.ErrorInfo | None = None
    hint: float | None = None
    for detail in status.details if status is not None else ():
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        try:
            if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
                found = info
            elif detail.Unpack(retry):
                hint = retry.retry_delay.ToTimedelta().total_seconds()
        except (ValueError, DecodeError, OverflowError):  # damaged, or a delay beyond every calendar
            continue
    return found, hint
