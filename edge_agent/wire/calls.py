"""A channel to a coordinator, and its calls in progress: deadlines, cancellation from any thread, typed errors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from alignfed.addresses import is_loopback
from alignfed.errors import CoordinatorUnreachable, RequestInvalid
from alignfed.settings import parse_listen
from alignfed.tracing.context import TRACEPARENT
from alignfed.tracing.spans import current_traceparent
from edge_agent.domain import TlsFiles
from edge_agent.wire.errors import error_of

CALL_SECONDS = 20.0
"""Deadline of a call that moves a few kilobytes; the coordinator answers in milliseconds unless its store hangs."""
_STOPPING = "the call was broken off because the agent stops"
SLOWEST_BYTES_PER_SECOND = 16 * 1024
"""A transfer slower than this is given up, and resumed where it was."""
_CHANNEL_OPTIONS = (
    ("grpc.enable_retries", 0),  # the agent retries by itself, with resumption
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),  # a restarted coordinator is found again within seconds
    # Notices a peer that vanished without a word. Servers tolerate pings that are at least five minutes apart.
    ("grpc.keepalive_time_ms", 330_000),
    ("grpc.keepalive_timeout_ms", 60_000),
)

logger = logging.getLogger(__name__)


def transfer_seconds(nbytes: int) -> float:
    """Return the deadline of a call that moves `nbytes`."""
    return CALL_SECONDS + nbytes / SLOWEST_BYTES_PER_SECOND


class Calls:
    """Owns one channel and knows which calls run on it; safe for several threads.

    Args:
        address: `host:port`.
        tls: For an encrypted connection; None for plain text.

    Raises:
        RequestInvalid: The address is malformed, or a file cannot be read.
    """

    def __init__(self, address: str, tls: TlsFiles | None) -> None:
        self.address = address
        self.channel = _open_channel(address, tls)
        self._lock = threading.Lock()
        self._active: set[Any] = set()
        self._cancelled = False

    def unary(self, method: Any, request: Any, *, timeout: float = CALL_SECONDS) -> Any:
        """Make a call that has one response (its request may be a stream) and return the response."""
        self._refuse_when_cancelled()
        call = method.future(request, timeout=timeout, metadata=_trace_metadata())
        with self._tracked(call):
            return call.result()

    def stream(self, method: Any, request: Any, *, timeout: float) -> Generator[Any]:
        """Make a call and yield its responses; abandoning the iterator cancels the call."""
        self._refuse_when_cancelled()
        call = method(request, timeout=timeout, metadata=_trace_metadata())
        with self._tracked(call):
            yield from call

    def cancel(self) -> None:
        """Break off calls in progress and refuse new ones: they raise `CoordinatorUnreachable`. Idempotent."""
        with self._lock:
            self._cancelled = True
            active = list(self._active)
        for call in active:
            call.cancel()

    def close(self) -> None:
        """Cancel calls and close the channel. Idempotent."""
        self.cancel()
        self.channel.close()

    def _refuse_when_cancelled(self) -> None:
        """Refuse before the call begins: one that is answered at once could not be cancelled any more."""
        with self._lock:
            if self._cancelled:
                raise CoordinatorUnreachable(_STOPPING)

    @contextmanager
    def _tracked(self, call: Any) -> Iterator[None]:
        with self._lock:
            self._active.add(call)
            cancelled = self._cancelled
        if cancelled:
            call.cancel()
        try:
            yield
        except grpc.FutureCancelledError as error:
            raise CoordinatorUnreachable(_STOPPING) from error
        except grpc.RpcError as error:
            raise error_of(error, address=self.address) from error
        finally:
            call.cancel()  # a no-op on a call that is over
            with self._lock:
                self._active.discard(call)


def _trace_metadata() -> tuple[tuple[str, str], ...] | None:
    """Return the metadata that makes the coordinator's spans part of the span that runs here, if any."""
    context = current_traceparent()
    return ((TRACEPARENT, context),) if context else None


def _open_channel(address: str, tls: TlsFiles | None) -> grpc.Channel:
    host, _port = parse_listen(address)
    options: list[tuple[str, Any]] = list(_CHANNEL_OPTIONS)
    local = is_loopback(host)
    if local:
        options.append(("grpc.enable_http_proxy", 0))  # a proxy cannot reach this machine's own loopback
    if tls is not None:
        key, certificate = (_read(file) if file is not None else None for file in (tls.key, tls.certificate))
        credentials = grpc.ssl_channel_credentials(_read(tls.ca), key, certificate)
        return grpc.secure_channel(address, credentials, options=options)
    if not local:
        logger.warning("the connection to %s is not encrypted: deltas can be read on the way; see --tls-ca", address)
    return grpc.insecure_channel(address, options=options)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise RequestInvalid(f"the TLS file {file} cannot be read ({error.strerror}): correct the setting") from error
