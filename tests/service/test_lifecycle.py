"""Starting, being looked at, draining and stopping."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from alignfed.errors import RequestInvalid, StoreUnreachable
from alignfed.plan import FederationPlan
from alignfed.v1 import agent_service_pb2 as pb
from alignfed.v1 import operator_service_pb2 as op
from alignfed.v1 import types_pb2
from coordinator.domain import VersionId
from coordinator.service.config import ServiceConfig
from coordinator.service.process import run
from coordinator.service.server import AGENT_SERVICE, OPERATOR_SERVICE, CoordinatorServer
from tests.service.conftest import CONFIG, Running, Start
from tests.service.test_upload_bounds import finish, open_upload
from tests.support.identities import Deployment
from tests.support.raw_client import WireDelta, refused
from tests.support.waiting import eventually
from tests.support.watched_store import WatchedStore

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def health(channel: grpc.aio.Channel, service: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
    status: int = answer.status
    return status


async def test_health_is_told_on_both_ports(coordinator: Running) -> None:
    client = coordinator.client
    for channel, service in ((client.channel, AGENT_SERVICE), (client.operator_channel, OPERATOR_SERVICE)):
        assert await health(channel) == SERVING
        assert await health(channel, service) == SERVING


async def test_reflection_names_the_services(coordinator: Running) -> None:
    client = coordinator.client
    for channel, service in ((client.channel, AGENT_SERVICE), (client.operator_channel, OPERATOR_SERVICE)):
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)

        async def ask() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
            yield reflection_pb2.ServerReflectionRequest(list_services="")

        answers = [answer async for answer in stub.ServerReflectionInfo(ask(), timeout=10)]
        names = {it.name for it in answers[0].list_services_response.service}
        assert {service, "grpc.health.v1.Health"} <= names


async def test_a_drain_releases_those_who_wait_and_lets_running_uploads_end(
    start: Start, store: WatchedStore, plan: FederationPlan, base: VersionId, delta: WireDelta
) -> None:
    running = await start(drain_notice_seconds=0.5)
    agents = running.client.agents
    upload = await open_upload(running, delta, chunks=2)
    poll = asyncio.ensure_future(
        refused(
            agents.GetGlobalVersion(
                pb.GetGlobalVersionRequest(
                    federation="fed", agent_id="agent-1", after_number=0, max_wait=Duration(seconds=30)
                ),
                timeout=60,
            )
        )
    )
    watch = agents.WatchGlobalVersions(pb.WatchGlobalVersionsRequest(federation="fed", agent_id="agent-1"))
    await watch.read()

    async def both_wait() -> bool:
        return running.server._assembly.heads.waiting == 2

    await eventually(both_wait, what="poll and watch wait")
    draining = asyncio.create_task(running.server.drain())

    assert (await poll).reason == "DRAINING"
    refusal = await refused(watch.read())
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    assert await health(running.client.channel) == NOT_SERVING
    assert await health(running.client.operator_channel, OPERATOR_SERVICE) == NOT_SERVING
    late = WireDelta.of(plan, base, seed=3)
    assert (await refused(running.client.submit(late.messages()))).reason == "DRAINING"
    download = agents.DownloadAdapter(pb.DownloadAdapterRequest(federation="fed"), timeout=10)
    assert (await refused(download.read())).reason == "DRAINING"
    short = await agents.GetGlobalVersion(pb.GetGlobalVersionRequest(federation="fed", agent_id="agent-1"))
    assert short.status.head.number == 0

    await finish(upload, delta, sent_chunks=2)
    await draining
    assert (await store.deltas.depth("fed")).queued == 1
    with pytest.raises(grpc.RpcError):
        await running.client.submit(late.messages(), timeout=2)


async def test_a_drain_cuts_what_does_not_end_and_it_resumes_elsewhere(
    start: Start, store: WatchedStore, delta: WireDelta
) -> None:
    running, other = await start(drain_seconds=0.2), await start()
    upload = await open_upload(running, delta, chunks=2)
    await running.server.drain()
    with pytest.raises(grpc.aio.AioRpcError):
        await upload
    progress = await other.client.query(delta)
    assert progress.resume_offset == 2 * 1024
    response = await other.client.submit(delta.messages(progress.resume_offset))
    assert response.receipt.state == types_pb2.DELTA_STATE_QUEUED


async def test_a_stopped_server_leaves_no_task_behind_and_writes_last_seen_times(
    store: WatchedStore, plan: FederationPlan
) -> None:
    before = asyncio.all_tasks()
    server = CoordinatorServer(store, config=CONFIG)
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.agent_port}")
    poll = channel.unary_unary(
        "/alignfed.v1.AgentService/GetGlobalVersion",
        request_serializer=pb.GetGlobalVersionRequest.SerializeToString,
        response_deserializer=pb.GetGlobalVersionResponse.FromString,
    )
    await poll(pb.GetGlobalVersionRequest(federation="fed", agent_id="agent-1"), timeout=10)
    await channel.close()
    await server.stop()
    await server.stop()
    assert store.calls["agents.seen"] == 1
    assert store.open_feeds == 0

    await asyncio.sleep(0)  # lets what was cancelled end
    left = asyncio.all_tasks() - before
    assert not {repr(task) for task in left if "cygrpc" not in repr(task)}


async def test_a_taken_address_is_a_clear_error(coordinator: Running, store: WatchedStore) -> None:
    taken = ServiceConfig(agent_listen=f"127.0.0.1:{coordinator.server.agent_port}", operator_listen="127.0.0.1:0")
    server = CoordinatorServer(store, config=taken)
    with pytest.raises(RequestInvalid, match="cannot listen on"):
        await server.start()
    await server.stop()


async def test_a_store_that_never_answers_is_a_clear_error_without_the_password() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"redis://user:hunter2@127.0.0.1:{closed.getsockname()[1]}"
        config = ServiceConfig(agent_listen="127.0.0.1:0", operator_listen="127.0.0.1:0", store_patience_seconds=0.2)
        with pytest.raises(StoreUnreachable) as raised:
            await run(config, url, "")
    assert "127.0.0.1" in raised.value.message
    assert "hunter2" not in raised.value.message


PROCESS = """
import asyncio, logging, sys
from coordinator.service.config import ServiceConfig
from coordinator.service.process import run
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
config = ServiceConfig(agent_listen="127.0.0.1:0", operator_listen="127.0.0.1:0")
asyncio.run(run(config, "memory://", "127.0.0.1:0"))
"""


async def test_sigterm_drains_a_real_process_which_then_ends_well() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROCESS, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None
    try:
        lines = []
        async with asyncio.timeout(30):
            async for line in process.stdout:
                lines.append(line.decode())
                if "agents_port=" in lines[-1]:
                    break
        port = int(lines[-1].split("agents_port=")[1].split()[0])
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert await health(channel, AGENT_SERVICE) == SERVING
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(15):
                rest = (await process.stdout.read()).decode()
                assert await process.wait() == 0, "".join(lines) + rest
        assert "draining" in rest
        assert "Traceback" not in rest
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_tls_serves_health_to_whoever_is_known_and_nothing_to_plaintext(
    start: Start, plan: FederationPlan, tmp_path: Path
) -> None:
    del plan
    deployment = Deployment(tmp_path / "identities")
    running = await start(**deployment.settings())
    target = f"localhost:{running.server.agent_port}"
    async with grpc.aio.secure_channel(target, deployment.credentials(deployment.agent())) as channel:
        assert await health(channel) == SERVING
    async with grpc.aio.secure_channel(target, deployment.credentials(None)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await health(channel)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    with pytest.raises(grpc.aio.AioRpcError):
        await running.client.operators.ListFederations(op.ListFederationsRequest(), timeout=2)


async def test_a_missing_tls_file_is_a_clear_error(store: WatchedStore, tmp_path: Path) -> None:
    settings = Deployment(tmp_path / "identities").settings(tls_certificate_file=str(tmp_path / "none.pem"))
    with pytest.raises(RequestInvalid, match=r"none\.pem"):
        await CoordinatorServer(store, config=dataclasses.replace(CONFIG, **settings)).start()
