"""Who answers at an address: a coordinator's agents' or operators' service, an HTTP server, something else, nobody."""

from __future__ import annotations

import enum
import http.client
import socket
import ssl
from collections.abc import Callable
from typing import Any, cast

import grpc

from alignfed.errors import ERROR_DOMAIN
from alignfed.remote_errors import details_of
from alignfed.settings import parse_listen
from alignfed.v1 import agent_service_pb2, agent_service_pb2_grpc, operator_service_pb2, operator_service_pb2_grpc
from coordinator.cli.tls import ClientTls


class Answering(enum.StrEnum):
    """Who answers."""

    OPERATORS = "a coordinator's operator service"
    AGENTS = "a coordinator's agent service"
    OTHER_GRPC = "a gRPC server, but no AlignFed coordinator"
    HTTP = "an HTTP server"
    TLS = "a server that speaks TLS"
    PLAIN = "a server that does not speak TLS"
    BAD_CERTIFICATE = "a server whose certificate does not verify"
    TURNS_AWAY = "a TLS server that turns this program away"
    SILENT = "something that says nothing an AlignFed coordinator would"
    REFUSED = "nothing: the connection is refused"
    UNREACHABLE = "nothing: the machine does not answer"
    UNKNOWN_HOST = "nothing: the name is unknown"


def who_answers(address: str, tls: ClientTls | None, *, seconds: float) -> Answering:
    """Return who answers at an address. Opens a few connections, changes nothing.

    Args:
        address: `host:port`.
        tls: How to connect; None for a plain connection.
        seconds: How long each answer may take.
    """
    nobody = _nobody(address, seconds)
    if nobody is not None:
        return nobody
    if tls is not None:
        try:
            context = tls.context()
        except OSError:
            return Answering.BAD_CERTIFICATE  # the certificate's own check says what is wrong with the file
        failed = _handshake_failure(address, context, seconds)
        if failed is not None:
            return Answering.BAD_CERTIFICATE if isinstance(failed, ssl.SSLCertVerificationError) else Answering.PLAIN
    found = _grpc_service(address, tls, seconds)
    if found is not None:
        return found
    if tls is not None:
        return Answering.TURNS_AWAY
    if _speaks_http(address, seconds):
        return Answering.HTTP
    return Answering.TLS if _speaks_tls(address, seconds) else Answering.SILENT


def _handshake_failure(address: str, context: ssl.SSLContext, seconds: float) -> OSError | None:
    """Return why a TLS handshake fails; None when it succeeds."""
    host, port = parse_listen(address)
    context.set_alpn_protocols(["h2"])
    try:
        with socket.create_connection((host, port), seconds) as plain, context.wrap_socket(plain, server_hostname=host):
            return None
    except OSError as error:  # ssl's errors are OSErrors too
        return error


def _nobody(address: str, seconds: float) -> Answering | None:
    try:
        socket.create_connection(parse_listen(address), seconds).close()
    except socket.gaierror:
        return Answering.UNKNOWN_HOST
    except ConnectionRefusedError:
        return Answering.REFUSED
    except OSError:
        return Answering.UNREACHABLE
    return None


def _grpc_service(address: str, tls: ClientTls | None, seconds: float) -> Answering | None:
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    if tls is None:
        channel = grpc.insecure_channel(address, options)
    else:
        channel = grpc.secure_channel(address, tls.credentials(), options)
    with channel:
        operators = operator_service_pb2_grpc.OperatorServiceStub(channel)  # type: ignore[no-untyped-call]
        code = _code(operators.ListFederations, operator_service_pb2.ListFederationsRequest(), seconds)
        if code is None:
            return Answering.OPERATORS
        if code is not grpc.StatusCode.UNIMPLEMENTED:
            return None
        agents = agent_service_pb2_grpc.AgentServiceStub(channel)  # type: ignore[no-untyped-call]
        code = _code(agents.GetGlobalVersion, agent_service_pb2.GetGlobalVersionRequest(), seconds)
        return Answering.AGENTS if code is None else Answering.OTHER_GRPC


def _code(call: Callable[..., Any], request: object, seconds: float) -> grpc.StatusCode | None:
    """Return the status of a call that no AlignFed service answered; None when one did, if only with a refusal."""
    try:
        call(request, timeout=seconds)
    except grpc.RpcError as error:
        info, _ = details_of(error)
        code: grpc.StatusCode = cast("grpc.Call", error).code()  # every error that a stub raises is its call too
        return None if info is not None and info.domain == ERROR_DOMAIN else code
    return None


def _speaks_http(address: str, seconds: float) -> bool:
    host, port = parse_listen(address)
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("GET", "/")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def _speaks_tls(address: str, seconds: float) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # only whether it speaks TLS, nothing is sent
    return _handshake_failure(address, context, seconds) is None
