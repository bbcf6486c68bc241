"""What it costs to know who sends a delta and whether it has the federation's form, against sending it."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import cast

from alignfed.layout import delta_layout
from alignfed.plan import FederationPlan
from alignfed.v1 import types_pb2
from bench.flower.payloads import MANY_TENSORS
from bench.speed.deltas import Delta, prepare
from bench.speed.goals import CHECKS, Row
from bench.speed.identities import Identities
from bench.speed.moving import upload
from bench.speed.rounds import compare
from bench.speed.started import FEDERATION, forgetful_coordinator
from coordinator.backends.memory import MemoryStore
from coordinator.clock import SystemClock
from coordinator.local.processes import Supervisor
from coordinator.service import admission
from coordinator.service.caches.plans import Plans
from coordinator.service.config import ServiceConfig
from coordinator.service.identity.certificates import CertificateReader
from coordinator.service.identity.gate import Gate
from coordinator.service.identity.open_calls import OpenCalls
from coordinator.service.identity.rates import Rates
from coordinator.service.identity.revocations import Revocations
from coordinator.service.rpc import convert
from coordinator.service.rpc.types import Context
from edge_agent.domain import Capabilities
from edge_agent.wire.client import CoordinatorClient
from edge_agent.wire.messages import header_to_proto

AGENT = "agent-1"
MILLISECONDS = 1000.0
TIMES = 200
UPLOADS = 20


class _Shown:
    """The part of an RPC that says who calls: the certificate, as gRPC hands it over."""

    def __init__(self, certificate: bytes) -> None:
        self._certificate = certificate

    def auth_context(self) -> dict[str, list[bytes]]:
        """Return the peer's properties; gRPC's own copying of them, 20 microseconds, is not in this."""
        return {"x509_pem_cert": [self._certificate]}


def measure_checks(folder: Path, *, rounds: int, say: Callable[[str], None]) -> Row:
    """Check the header of a delta of 120 tensors and 1.8 MB, and send such deltas over mutual TLS."""
    plan = MANY_TENSORS.plan(FEDERATION, merged_at_once=0)
    delta = prepare(folder, plan)
    identities = Identities(folder / "checks-identities", FEDERATION)
    tls = identities.agent(AGENT)
    assert tls.certificate is not None
    with ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor())
        server = stack.enter_context(forgetful_coordinator(supervisor, folder, plan, identities))
        client = stack.enter_context(CoordinatorClient(server.address, federation=FEDERATION, agent_id=AGENT, tls=tls))
        client.register(Capabilities())
        head = client.global_version().head
        checks = functools.partial(_checks, plan, delta, tls.certificate.read_bytes())

        def uploads() -> float:
            began = time.perf_counter()
            for _ in range(UPLOADS):
                upload(client, delta, head, plan)
            return (time.perf_counter() - began) / UPLOADS * MILLISECONDS

        return compare(CHECKS, checks, uploads, rounds=rounds, say=say)


def _checks(plan: FederationPlan, delta: Delta, certificate: bytes) -> float:
    """Return the milliseconds that the checks of one upload take, all but the first reading of the certificate."""
    gate, rates = _gate()
    context = cast("Context", _Shown(certificate))
    meta = delta.as_another(delta.meta.base)
    sent = header_to_proto(meta, federation=FEDERATION, agent_id=AGENT).SerializeToString()
    layout = delta_layout(plan, plan.lora.rank)
    gate.admit_agent(context)
    began = time.perf_counter()
    for _ in range(TIMES):
        gate.admit_agent(context)
        for counted in ("requests", "deltas", "bytes"):
            rates.take(f"agent:{AGENT}", counted)
        header = convert.header_from_proto(types_pb2.DeltaHeader.FromString(sent))
        gate.check_claim(header.federation, header.agent_id)
        admission.check_ref(header.ref)
        admission.check_against_plan(header, plan, tensors=plan.tensors, payload_bytes=layout.total_bytes)
    return (time.perf_counter() - began) / TIMES * MILLISECONDS


def _gate() -> tuple[Gate, Rates]:
    calls, clock, store = OpenCalls(), SystemClock(), MemoryStore()
    revocations = Revocations(store, clock, calls, Plans(store.federations, clock), reread_seconds=1.0)
    unbounded = ServiceConfig(max_agent_requests_per_second=1e9, max_agent_deltas_per_hour=1e9)
    return Gate(CertificateReader(), revocations, calls, clock), Rates(unbounded, clock)
