"""The catalog: what a client sees of every error, and the one place where exceptions become gRPC statuses.

Clients branch on `google.rpc.ErrorInfo.reason`; the status code tells proxies and generic clients what kind of failure
it is. Retry hints travel as `google.rpc.RetryInfo`: from the error where whoever raised it knew the load, else from the
catalog, and spread in both cases, so that a fleet that was refused together does not come back together.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from alignfed import errors
from alignfed.errors import ERROR_DOMAIN, AlignFedError, InvariantBroken
from alignfed.tracing.spans import fail_current
from coordinator.service.bounds import store_silent, within
from coordinator.service.rpc.convert import spread_duration
from coordinator.service.rpc.types import Context

logger = logging.getLogger(__name__)

# Trailers are limited to 8 KiB and carry the message twice (plain and inside the status).
MAX_MESSAGE_CHARS = 800
MAX_METADATA_CHARS = 120

RETRY_AFTER = "retry_after_seconds"
"""Fact of an error that says when to come back; it travels as RetryInfo and not among the others."""


@dataclasses.dataclass(frozen=True, slots=True)
class PublicStatus:
    """How one kind of error looks from outside; `retry_after_seconds`, not spread yet, is set where waiting helps."""

    code: grpc.StatusCode
    retry_after_seconds: float | None = None


_INVALID = PublicStatus(grpc.StatusCode.INVALID_ARGUMENT)
_NOT_FOUND = PublicStatus(grpc.StatusCode.NOT_FOUND)
_EXISTS = PublicStatus(grpc.StatusCode.ALREADY_EXISTS)
_PRECONDITION = PublicStatus(grpc.StatusCode.FAILED_PRECONDITION)
_OUT_OF_RANGE = PublicStatus(grpc.StatusCode.OUT_OF_RANGE)
_DAMAGED = PublicStatus(grpc.StatusCode.DATA_LOSS)
_ABORTED = PublicStatus(grpc.StatusCode.ABORTED)

CATALOG: dict[type[AlignFedError], PublicStatus] = {
    errors.UnknownFederation: _NOT_FOUND,
    errors.FederationExists: _EXISTS,
    errors.PlanInvalid: _INVALID,
    errors.UnknownAgent: _NOT_FOUND,
    errors.AgentRevoked: PublicStatus(grpc.StatusCode.PERMISSION_DENIED),
    errors.IdentityMissing: PublicStatus(grpc.StatusCode.UNAUTHENTICATED),
    errors.IdentityMismatch: PublicStatus(grpc.StatusCode.PERMISSION_DENIED),
    errors.IdentityRevoked: PublicStatus(grpc.StatusCode.PERMISSION_DENIED),
    errors.RoleInsufficient: PublicStatus(grpc.StatusCode.PERMISSION_DENIED),
    errors.JoinTokenInvalid: PublicStatus(grpc.StatusCode.PERMISSION_DENIED),
    errors.AgentIdTaken: _EXISTS,
    errors.BaseVersionUnknown: _PRECONDITION,
    errors.BaseVersionOtherBranch: _PRECONDITION,
    errors.BaseVersionTooOld: _PRECONDITION,
    errors.BaseVersionInFuture: _PRECONDITION,
    errors.VersionNotFound: _NOT_FOUND,
    errors.DeltaNotFound: _NOT_FOUND,
    errors.DeadLetterNotFound: _NOT_FOUND,
    errors.WrongBaseModel: _PRECONDITION,
    errors.ManifestMismatch: _INVALID,
    errors.RankMismatch: _INVALID,
    errors.FrozenFactorChanged: _INVALID,
    errors.EncodingNotAllowed: _INVALID,
    errors.NonFinite: _INVALID,
    errors.IndicesInvalid: _INVALID,
    errors.HeaderMissing: _INVALID,
    errors.HeaderRepeated: _INVALID,
    errors.HeaderInvalid: _INVALID,
    errors.ChunkOutOfOrder: _OUT_OF_RANGE,
    errors.ChunkChecksumMismatch: _DAMAGED,
    errors.PayloadTruncated: _OUT_OF_RANGE,
    errors.PayloadOversized: _OUT_OF_RANGE,
    errors.PayloadDigestMismatch: _DAMAGED,
    errors.DeltaIdConflict: _EXISTS,
    errors.DeliveryExhausted: _PRECONDITION,
    errors.DeltaNormTooLarge: _PRECONDITION,
    errors.DeltaNearZero: _PRECONDITION,
    errors.DeltaDuplicated: _PRECONDITION,
    errors.DeltaAgainstCalibration: _PRECONDITION,
    errors.CandidateGated: _PRECONDITION,
    errors.DroppedByOperator: _PRECONDITION,
    errors.DeadLetterExpired: _PRECONDITION,
    errors.VersionUnsigned: _PRECONDITION,
    errors.SignatureInvalid: _DAMAGED,
    errors.ManifestForeign: _DAMAGED,
    errors.ManifestChainBroken: _DAMAGED,
    errors.VersionReplayed: _DAMAGED,
    errors.PrivacyBudgetSpent: _PRECONDITION,
    errors.ParticipatedTooSoon: _PRECONDITION,
    errors.RequestInvalid: _INVALID,
    errors.DataUnusable: _INVALID,
    errors.CalibrationMissing: _PRECONDITION,
    errors.StoreUnsafe: _PRECONDITION,
    errors.BackupForeign: _INVALID,
    errors.BackupTooNew: _INVALID,
    errors.BackupTruncated: _DAMAGED,
    errors.BackupCorrupt: _DAMAGED,
    errors.StoreUnreachable: PublicStatus(grpc.StatusCode.UNAVAILABLE, 2.0),
    errors.StoreFull: PublicStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, 15.0),
    errors.QueueFull: PublicStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, 15.0),
    errors.AgentOverQuota: PublicStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, 15.0),
    errors.UploadsBusy: PublicStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, 5.0),
    errors.RateExceeded: PublicStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, 2.0),
    errors.UploadStalled: PublicStatus(grpc.StatusCode.DEADLINE_EXCEEDED, 1.0),
    errors.Draining: PublicStatus(grpc.StatusCode.UNAVAILABLE, 1.0),
    errors.CoordinatorUnreachable: PublicStatus(grpc.StatusCode.UNAVAILABLE, 2.0),
    errors.DiskFull: PublicStatus(grpc.StatusCode.UNAVAILABLE, 2.0),
    errors.LocalProcessFailed: PublicStatus(grpc.StatusCode.UNAVAILABLE, 2.0),
    errors.BackupOvertaken: PublicStatus(grpc.StatusCode.UNAVAILABLE, 60.0),
    errors.Fenced: _ABORTED,
    errors.HeadMoved: _ABORTED,
    errors.StoreCorrupt: _DAMAGED,
    errors.AggregationInvalid: PublicStatus(grpc.StatusCode.INTERNAL),
}
"""Every leaf of `alignfed.errors` and how it looks from outside; a test proves that none is missing."""


def status_of(error: AlignFedError) -> grpc.Status:
    """Return the gRPC status of `error`, with its reason, metadata and retry hint as details."""
    public = CATALOG[type(error)]
    details: list[Any] = [
        error_details_pb2.ErrorInfo(
            reason=error.reason,
            domain=ERROR_DOMAIN,
            metadata={
                key: _plain(value, MAX_METADATA_CHARS) for key, value in error.metadata.items() if key != RETRY_AFTER
            },
        )
    ]
    if public.retry_after_seconds is not None:
        delay = spread_duration(float(error.metadata.get(RETRY_AFTER, public.retry_after_seconds)))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return _status(public.code, _plain(error.message, MAX_MESSAGE_CHARS), details)


@asynccontextmanager
async def translated(context: Context, *, seconds: float | None = None) -> AsyncIterator[None]:
    """Run a handler's body; whatever it raises ends the RPC with the status of the catalog.

    Errors that nobody foresaw are logged with their traceback under a correlation id; the client sees only the id.

    Args:
        context: The RPC.
        seconds: Bound of the body, for handlers that wait for nothing but the store; None for no bound.

    Raises:
        asyncio.CancelledError: The client went away or the server stops; never turned into a status.
        grpc.aio.AbortError: The RPC was ended with a status.
    """
    try:
        if seconds is None:
            yield
        else:
            async with within(seconds, lambda: store_silent(seconds)):
                yield
    except (asyncio.CancelledError, grpc.aio.BaseError):
        raise  # BaseError: gRPC's own, such as a peer that vanished in mid-write
    except AlignFedError as error:
        fail_current(error)
        if isinstance(error, InvariantBroken):
            logger.exception("invariant broken reason=%s", error.reason)
        await _end(context, status_of(error))
    except DecodeError:
        await _end(context, status_of(errors.RequestInvalid("the message is not of the RPC's type: update the client")))
    except Exception as error:
        fail_current(error)
        correlation_id = uuid.uuid4().hex[:12]
        logger.exception("unexpected error correlation_id=%s", correlation_id)
        await _end(context, _internal(correlation_id))


def _internal(correlation_id: str) -> grpc.Status:
    info = error_details_pb2.ErrorInfo(
        reason=AlignFedError.reason, domain=ERROR_DOMAIN, metadata={"correlation_id": correlation_id}
    )
    message = f"the coordinator failed unexpectedly: give the operator correlation id {correlation_id}"
    return _status(grpc.StatusCode.INTERNAL, message, [info])


def _status(code: grpc.StatusCode, message: str, details: list[Any]) -> grpc.Status:
    packed = []
    for detail in details:
        holder = AnyMessage()
        holder.Pack(detail)
        packed.append(holder)
    number: int = code.value[0]
    return rpc_status.to_status(status_pb2.Status(code=number, message=message, details=packed))


async def _end(context: Context, status: grpc.Status) -> NoReturn:
    try:
        await context.abort(status.code, status.details, status.trailing_metadata)
    except grpc.aio.AbortError:
        raise
    except grpc.aio.BaseError as error:  # the client is gone and cannot be told
        raise asyncio.CancelledError from error


def _plain(text: str, limit: int) -> str:
    """Return `text` in ASCII and bounded: it may quote what a client sent."""
    return text.encode("ascii", "backslashreplace").decode()[:limit]
