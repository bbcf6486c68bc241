"""Failures of calls: every reason comes back as its own error with what it carried; anything else is sorted by code."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from alignfed.errors import ERRORS_BY_REASON, CoordinatorUnreachable, Rejected, RequestInvalid, Unavailable
from coordinator.service.rpc.convert import SPREAD
from coordinator.service.rpc.errors import CATALOG, status_of
from edge_agent.wire.backoff import RETRY_AFTER
from edge_agent.wire.errors import error_of


class FailedCall(grpc.RpcError):
    """What a stub raises: an error that knows the call's status."""

    def __init__(self, code: grpc.StatusCode, details: str, trailers: Any = ()) -> None:
        super().__init__()
        self._code, self._details, self._trailers = code, details, trailers

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Any:
        return self._trailers


def failed_as(status: grpc.Status) -> FailedCall:
    return FailedCall(status.code, status.details, status.trailing_metadata)


@pytest.mark.parametrize("reason", sorted(ERRORS_BY_REASON))
def test_every_error_survives_the_wire(reason: str) -> None:
    kind = ERRORS_BY_REASON[reason]
    rebuilt = error_of(failed_as(status_of(kind("what happened", expected_offset=7))), address="here:1")
    assert type(rebuilt) is kind
    assert rebuilt.message == "what happened"
    hint = CATALOG[kind].retry_after_seconds
    told = rebuilt.metadata.pop(RETRY_AFTER, None)
    assert (told is None) == (hint is None)
    assert hint is None or SPREAD[0] * hint <= float(told or 0) <= SPREAD[1] * hint
    assert rebuilt.metadata == {"expected_offset": "7"}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, CoordinatorUnreachable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, CoordinatorUnreachable),
        (grpc.StatusCode.CANCELLED, CoordinatorUnreachable),
        (grpc.StatusCode.UNKNOWN, CoordinatorUnreachable),
        (grpc.StatusCode.UNIMPLEMENTED, RequestInvalid),
        (grpc.StatusCode.UNAUTHENTICATED, RequestInvalid),
    ],
)
def test_without_a_reason_the_code_decides_and_the_address_is_named(
    code: grpc.StatusCode, kind: type[Exception]
) -> None:
    error = error_of(FailedCall(code, "some words"), address="here:1")
    assert type(error) is kind
    assert "here:1" in error.message


def with_reason(code: int, reason: str, domain: str) -> FailedCall:
    holder = AnyMessage()
    holder.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain))
    return failed_as(rpc_status.to_status(status_pb2.Status(code=code, message="m", details=[holder])))


def test_a_reason_of_another_domain_or_a_newer_version_is_not_trusted() -> None:
    foreign = error_of(with_reason(code_pb2.UNAVAILABLE, "AGENT_REVOKED", "example.com"), address="a:1")
    assert isinstance(foreign, Unavailable)
    newer = error_of(with_reason(code_pb2.FAILED_PRECONDITION, "NOT_INVENTED_YET", "alignfed"), address="a:1")
    assert isinstance(newer, Rejected)
    failed = error_of(with_reason(code_pb2.INTERNAL, "INTERNAL", "alignfed"), address="a:1")
    assert isinstance(failed, Unavailable)


def test_a_rich_status_that_contradicts_the_plain_one_is_ignored() -> None:
    rich = with_reason(code_pb2.PERMISSION_DENIED, "AGENT_REVOKED", "alignfed")
    rewritten = FailedCall(grpc.StatusCode.UNAVAILABLE, "bad gateway", rich.trailing_metadata())
    assert isinstance(error_of(rewritten, address="a:1"), CoordinatorUnreachable)
