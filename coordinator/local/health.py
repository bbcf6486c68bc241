"""A client of the standard health service: does a coordinator serve yet?"""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from alignfed.v1 import operator_service_pb2

_OPERATOR_SERVICE = operator_service_pb2.DESCRIPTOR.services_by_name["OperatorService"].full_name
_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_reconnect_backoff_ms", 100),  # the coordinator is expected any moment
)


class OperatorHealth:
    """Owns a channel to a coordinator's operator address on this machine. Use it as a context manager.

    Args:
        address: `host:port`.
    """

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        self._stub = health_pb2_grpc.HealthStub(self._channel)

    def __enter__(self) -> OperatorHealth:
        return self

    def __exit__(self, *_error: object) -> None:
        self._channel.close()

    def is_serving(self, *, wait_seconds: float) -> bool:
        """Return whether the operator service says that it serves, waiting so long for an answer."""
        request = health_pb2.HealthCheckRequest(service=_OPERATOR_SERVICE)
        try:
            answer = self._stub.Check(request, timeout=wait_seconds, wait_for_ready=True)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
