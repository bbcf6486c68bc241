"""Failed calls as AlignFed's errors: by `ErrorInfo.reason`, never by message text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import grpc

from alignfed.errors import (
    ERRORS_BY_REASON,
    AlignFedError,
    CoordinatorUnreachable,
    RequestInvalid,
)
from alignfed.remote_errors import details_of


@contextmanager
def errors_translated(address: str) -> Iterator[None]:
    """Turn a gRPC error into the error that the service named, or into `CoordinatorUnreachable`."""
    try:
        yield
    except grpc.RpcError as error:
        raise error_of(error, address) from error


def error_of(error: grpc.RpcError, address: str) -> AlignFedError:
    """Return the AlignFed error that a failed call stands for.

    Args:
        error: As raised by a stub.
        address: Who was called, for the message.
    """
    call = cast("grpc.Call", error)  # every error that a stub raises also describes its call
    info, _ = details_of(error)
    if info is not None and info.reason in ERRORS_BY_REASON:
        return ERRORS_BY_REASON[info.reason](call.details() or "", **dict(info.metadata))
    code = call.code()
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return RequestInvalid(
            f"{address} answers, but not as an operator service that knows this command: name the coordinator's "
            "operator address (port 7301 unless set otherwise) with --operator, or update a coordinator that is older"
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return CoordinatorUnreachable(
            f"the coordinator at {address} did not answer in time: see its log, and whether its store answers"
        )
    if code is grpc.StatusCode.UNAVAILABLE:
        return CoordinatorUnreachable(
            f"no coordinator answers at {address} ({call.details()}): start one with `alignfed coordinator`, or name "
            "its operator address with --operator or ALIGNFED_OPERATOR"
        )
    return AlignFedError(f"the coordinator at {address} failed ({code.name}: {call.details()}): see its log")
