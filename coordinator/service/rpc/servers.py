"""One grpc.aio server per address: options, credentials, health and reflection around a servicer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from alignfed.errors import RequestInvalid
from coordinator.service.config import ServiceConfig
from coordinator.service.identity.credentials import ServerTls
from coordinator.service.rpc.types import Interceptor
from coordinator.service.rpc.unknown_methods import guarded_server

_LOOKAHEAD_BYTES = 256 * 1024  # per stream; the default grows with bandwidth until uploads no longer fit into memory
_KEEPALIVE_MS = 60_000  # long polls and watches are silent: find dead peers before NAT entries expire
_KEEPALIVE_TIMEOUT_MS = 20_000
_MIN_PING_INTERVAL_MS = 10_000  # agents may ping this often
_WAITING_REQUESTS = 20_000
"""How many requests may wait until the process takes them up, before some of those above, then all of them, are dropped
with a bare CANCELLED. gRPC's own 1,000 and 3,000 are fewer than the agents that ask again after every version."""
_METADATA_BYTES = 8192  # of a request's headers: an agent's have a few hundred
_IDENTITY_ONLY = 1  # bit 0: a compressed message could unfold to more than its length allows


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A listening server: stop it with `server`, tell its state with `health`; `port` is the actual one."""

    service: str
    server: grpc.aio.Server
    health: Any  # health.aio.HealthServicer, which the stubs leave out
    port: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where a service is reached, and by whom.

    Attributes:
        address: Such as `127.0.0.1:7300`; port 0 picks a free one.
        service: Full name of the service.
        client_ca: PEM authority that must have signed clients' certificates; empty to ask for none.
    """

    address: str
    service: str
    client_ca: str


def options_of(config: ServiceConfig) -> list[tuple[str, int]]:
    """Return gRPC's channel arguments."""
    options = [
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", _LOOKAHEAD_BYTES),
        ("grpc.so_reuseport", int(config.share_port)),
        ("grpc.max_receive_message_length", config.max_message_bytes),
        ("grpc.max_metadata_size", _METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", 2 * _METADATA_BYTES),
        ("grpc.server.max_pending_requests", _WAITING_REQUESTS),
        ("grpc.server.max_pending_requests_hard_limit", 2 * _WAITING_REQUESTS),
        ("grpc.compression_enabled_algorithms_bitset", _IDENTITY_ONLY),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _MIN_PING_INTERVAL_MS),
    ]
    if config.max_connection_age_seconds > 0:
        options.append(("grpc.max_connection_age_ms", round(config.max_connection_age_seconds * 1000)))
        options.append(("grpc.max_connection_age_grace_ms", round(config.drain_seconds * 1000)))
    return options


def endpoint(
    *,
    config: ServiceConfig,
    listening: Listening,
    interceptors: Sequence[Interceptor],
    add: Callable[[grpc.aio.Server], None],
    on_certificate: Callable[[], None],
) -> Endpoint:
    """Make one server; it does not accept connections before it is started.

    Args:
        config: Options and credentials.
        listening: Where, for which service.
        interceptors: See every RPC, the first one outermost; for this server alone.
        add: Adds the servicer to the server.
        on_certificate: Told whenever the certificate was read.

    Raises:
        RequestInvalid: The address cannot be listened on, or a TLS file cannot be read.
    """
    server = guarded_server(interceptors=list(interceptors), options=options_of(config))
    add(server)
    servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    names = (listening.service, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    port = _listen(server, listening.address, _credentials(config, listening, on_certificate))
    return Endpoint(service=listening.service, server=server, health=servicer, port=port)


async def mark_serving(ready: Endpoint) -> None:
    """Tell health checks that the service, and the server as a whole, answers."""
    for name in ("", ready.service):
        await ready.health.set(name, health_pb2.HealthCheckResponse.SERVING)


def _listen(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise RequestInvalid(
            f"cannot listen on {address}: another process may hold the port; choose another address"
        ) from error


def _credentials(
    config: ServiceConfig, listening: Listening, on_certificate: Callable[[], None]
) -> grpc.ServerCredentials | None:
    if not config.secure:
        return None
    return ServerTls(
        certificate=Path(config.tls_certificate_file),
        key=Path(config.tls_key_file),
        client_authority=Path(listening.client_ca) if listening.client_ca else None,
        on_change=on_certificate,
    ).credentials()
