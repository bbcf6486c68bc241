"""The door's only RPC: a thin handler."""

from __future__ import annotations

from alignfed.errors import RateExceeded
from alignfed.v1 import join_service_pb2 as pb
from alignfed.v1 import join_service_pb2_grpc as rpc
from coordinator.ports import Clock
from coordinator.service.identity.joining import Joining
from coordinator.service.identity.rates import Bucket
from coordinator.service.rpc.errors import translated
from coordinator.service.rpc.types import Context

TRIES_AT_ONCE = 50.0
TRIES_PER_SECOND = 10.0
"""Of all callers together: whoever joins has no name yet. A fleet of a thousand joins within two minutes."""


class JoinTries:
    """Bounds how often the door is tried.

    Args:
        clock: Time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._bucket = Bucket(burst=TRIES_AT_ONCE, per_second=TRIES_PER_SECOND, at=clock.monotonic())

    def take(self) -> None:
        """Count a try.

        Raises:
            RateExceeded: There were too many lately.
        """
        wait_seconds = self._bucket.take(1.0, now=self._clock.monotonic())
        if wait_seconds > 0:
            raise RateExceeded(
                "many machines try to join at once: try again soon", retry_after_seconds=wait_seconds + 1
            )


class JoinServicer(rpc.JoinServiceServicer):
    """Implements `alignfed.v1.JoinService`.

    Args:
        joining: Signs.
        tries: Counts calls of everybody.
        seconds: Bound of a call.
    """

    def __init__(self, joining: Joining, *, tries: JoinTries, seconds: float) -> None:
        self._joining = joining
        self._tries = tries
        self._seconds = seconds

    async def Join(self, request: pb.JoinRequest, context: Context) -> pb.JoinResponse:
        """Exchange a join token for a certificate."""
        async with translated(context, seconds=self._seconds):
            self._tries.take()
            certificate = await self._joining.join(
                token_id=request.token_id,
                secret=request.secret,
                agent_id=request.agent_id,
                request=request.signing_request,
            )
            return pb.JoinResponse(certificate=certificate)
