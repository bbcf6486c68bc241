"""The coordinator server: both services over one store, started, drained and stopped as one."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from pathlib import Path

from prometheus_client import CollectorRegistry

from alignfed.tracing.spans import NoOpTracer, Tracer
from alignfed.v1 import agent_service_pb2, join_service_pb2, operator_service_pb2
from alignfed.v1.agent_service_pb2_grpc import add_AgentServiceServicer_to_server
from alignfed.v1.join_service_pb2_grpc import add_JoinServiceServicer_to_server
from alignfed.v1.operator_service_pb2_grpc import add_OperatorServiceServicer_to_server
from coordinator.clock import SystemClock
from coordinator.ports import Clock, Store
from coordinator.service.agent_service import AgentServicer
from coordinator.service.assembly import assemble
from coordinator.service.caches.listening import listen_forever
from coordinator.service.config import ServiceConfig
from coordinator.service.identity.gate import current_caller
from coordinator.service.identity.interceptor import AdmissionInterceptor, Admit
from coordinator.service.identity.join_service import JoinServicer, JoinTries
from coordinator.service.metrics import ServiceMetrics
from coordinator.service.operator_service import OperatorServicer
from coordinator.service.rpc.interceptor import RpcTimer
from coordinator.service.rpc.parsing import RequestParser
from coordinator.service.rpc.servers import Endpoint, Listening, endpoint, mark_serving
from coordinator.service.rpc.tracing import RpcTracer
from coordinator.service.rpc.types import Context, Interceptor
from coordinator.service.tls_expiry import certificate_expiry

logger = logging.getLogger(__name__)

_CANCEL_AGAIN_SECONDS = 0.5
_MOST_JOIN_BYTES = 32_768  # a signing request has a few hundred

AGENT_SERVICE: str = agent_service_pb2.DESCRIPTOR.services_by_name["AgentService"].full_name
JOIN_SERVICE: str = join_service_pb2.DESCRIPTOR.services_by_name["JoinService"].full_name
OPERATOR_SERVICE: str = operator_service_pb2.DESCRIPTOR.services_by_name["OperatorService"].full_name

__all__ = ["AGENT_SERVICE", "JOIN_SERVICE", "OPERATOR_SERVICE", "CoordinatorServer", "ServiceConfig"]


class CoordinatorServer:
    """Serves agents and operators.

    Args:
        store: Any backend; stays open when the server stops.
        config: Addresses and limits.
        metrics: What this process counts; its own unless given.
        clock: Time; the real one unless a test brings its own.
        tracer: Makes spans; None for none.

    Raises:
        RequestInvalid: Settings do not agree, or a file of an authority cannot be used.
    """

    def __init__(
        self,
        store: Store,
        *,
        config: ServiceConfig | None = None,
        metrics: ServiceMetrics | None = None,
        clock: Clock | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._config = config or ServiceConfig()
        self._config.check()
        metrics = metrics or ServiceMetrics(CollectorRegistry())
        self._assembly = assemble(
            config=self._config,
            store=store,
            clock=clock or SystemClock(),
            metrics=metrics,
            tracer=tracer or NoOpTracer(),
        )
        self._background: list[asyncio.Task[None]] = []
        self._agents: Endpoint | None = None
        self._operators: Endpoint | None = None
        self._door: Endpoint | None = None
        self._serving = False

    @property
    def agent_port(self) -> int:
        """Port that agents reach; known once started."""
        return _started(self._agents).port

    @property
    def operator_port(self) -> int:
        """Port that operators reach; known once started."""
        return _started(self._operators).port

    @property
    def join_port(self) -> int:
        """Port at which machines join; known once started with `join_listen`."""
        return _started(self._door).port

    @property
    def serving(self) -> bool:
        """Whether new work is welcome here: both ports answer, and the process does not drain."""
        return self._serving and not self._assembly.drain.draining

    async def start(self) -> None:
        """Listen on both addresses.

        Raises:
            RequestInvalid: An address or a TLS file cannot be used.
        """
        a = self._assembly
        self._agents = endpoint(
            config=self._config,
            listening=Listening(
                address=self._config.agent_listen, service=AGENT_SERVICE, client_ca=self._config.agent_ca_file
            ),
            interceptors=self._interceptors(AGENT_SERVICE, self._admit_agent),
            add=lambda server: add_AgentServiceServicer_to_server(AgentServicer(a), server),  # type: ignore[no-untyped-call]
            on_certificate=self._on_certificate,
        )
        self._operators = endpoint(
            config=self._config,
            listening=Listening(
                address=self._config.operator_listen, service=OPERATOR_SERVICE, client_ca=self._config.operator_ca_file
            ),
            interceptors=self._interceptors(OPERATOR_SERVICE, a.gate.admit_operator),
            add=lambda server: add_OperatorServiceServicer_to_server(OperatorServicer(a), server),  # type: ignore[no-untyped-call]
            on_certificate=self._on_certificate,
        )
        if self._config.secure and self._config.join_listen:
            self._door = endpoint(
                config=dataclasses.replace(self._config, max_message_bytes=_MOST_JOIN_BYTES),
                listening=Listening(address=self._config.join_listen, service=JOIN_SERVICE, client_ca=""),
                interceptors=self._interceptors(JOIN_SERVICE, lambda _context, _method: None),
                add=lambda server: add_JoinServiceServicer_to_server(self._join_servicer(), server),  # type: ignore[no-untyped-call]
                on_certificate=self._on_certificate,
            )
        self._background = [
            asyncio.create_task(listen_forever(a.store.feed, a.clock, [a.heads, a.revocations]), name="listen"),
            asyncio.create_task(a.heads.reread(), name="heads-reread"),
            asyncio.create_task(a.revocations.reread(), name="revocations-reread"),
            asyncio.create_task(a.levels.reread(), name="levels-reread"),
            asyncio.create_task(a.store_room.reread(), name="store-room-reread"),
            asyncio.create_task(a.liveness.run(), name="liveness"),
        ]
        for ready in self._endpoints():
            await ready.server.start()
            await mark_serving(ready)
        self._serving = True
        logger.info("serving agents_port=%d operators_port=%d", self.agent_port, self.operator_port)
        if not self._config.secure:
            logger.warning("no identities: whoever reaches these ports can be any agent, and any operator")

    async def drain(self) -> None:
        """Turn unhealthy, refuse new work, let running work end within `drain_seconds`, then stop. Idempotent.

        Long polls and watches end at once, new uploads and downloads are sent elsewhere; short calls are answered until
        `drain_notice_seconds` are over. Uploads that are cut off stay resumable.
        """
        if self._assembly.drain.draining:
            return
        logger.info("draining seconds=%g", self._config.drain_seconds)
        self._assembly.drain.turn()
        for ready in self._endpoints():
            await ready.health.enter_graceful_shutdown()
        self._assembly.heads.release()
        await asyncio.sleep(self._config.drain_notice_seconds)
        await self._stop_servers(grace_seconds=self._config.drain_seconds)
        await self.stop()

    async def stop(self) -> None:
        """Cut what still runs and release everything but the store. Idempotent."""
        self._assembly.drain.turn()
        await self._stop_servers(grace_seconds=None)
        for task in self._background:
            await _end(task)
        if self._background:
            await self._assembly.liveness.flush()
        self._background = []

    async def _stop_servers(self, *, grace_seconds: float | None) -> None:
        await asyncio.gather(*(ready.server.stop(grace_seconds) for ready in self._endpoints()))

    def _interceptors(self, service: str, admit: Admit) -> list[Interceptor]:
        return [
            RpcTracer(self._assembly.tracer),
            RpcTimer(self._assembly.metrics),
            AdmissionInterceptor(service, admit),
            RequestParser(),
        ]

    def _admit_agent(self, context: Context, _method: str) -> None:
        self._assembly.gate.admit_agent(context)
        caller = current_caller()
        if caller is not None:
            self._assembly.rates.take(caller.identity.principal, "requests")

    def _join_servicer(self) -> JoinServicer:
        a = self._assembly
        return JoinServicer(a.joining, tries=JoinTries(a.clock), seconds=self._config.unary_timeout_seconds)

    def _on_certificate(self) -> None:
        self._assembly.metrics.show_certificate_expiry(certificate_expiry(Path(self._config.tls_certificate_file)))

    def _endpoints(self) -> list[Endpoint]:
        return [ready for ready in (self._agents, self._operators, self._door) if ready is not None]


async def _end(task: asyncio.Task[None]) -> None:
    """End a task for certain: a store's client library may swallow a cancellation while it connects."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=_CANCEL_AGAIN_SECONDS)


def _started(ready: Endpoint | None) -> Endpoint:
    if ready is None:
        raise RuntimeError("the server was not started: await start() first")
    return ready
