"""What an operator is warned by: slow polls, a store that is away or full, a certificate that runs out."""

from __future__ import annotations

import asyncio
import datetime
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.duration_pb2 import Duration
from prometheus_client import CollectorRegistry

from alignfed.errors import RequestInvalid
from alignfed.plan import FederationPlan
from alignfed.v1 import agent_service_pb2 as pb
from coordinator.clock import SystemClock
from coordinator.service.metrics import ServiceMetrics
from coordinator.service.tls_expiry import certificate_expiry
from coordinator.store_metrics import LOOK_SECONDS, StoreMetrics, look_at_store, store_watched
from tests.service.conftest import Running
from tests.support.stores import publish, store_blob
from tests.support.waiting import eventually
from tests.support.watched_store import WatchedStore

POLL = "alignfed_poll_overhead_seconds"


async def poll(coordinator: Running, *, after: int, wait_seconds: float) -> pb.GetGlobalVersionResponse:
    request = pb.GetGlobalVersionRequest(federation="fed", agent_id="agent-1", after_number=after)
    request.max_wait.CopyFrom(Duration(nanos=int(wait_seconds * 1e9)))
    response: pb.GetGlobalVersionResponse = await coordinator.client.agents.GetGlobalVersion(request, timeout=20)
    return response


async def test_the_wait_that_a_poll_asks_for_is_not_its_overhead(coordinator: Running, plan: FederationPlan) -> None:
    started = time.monotonic()
    await poll(coordinator, after=0, wait_seconds=0.9)
    assert time.monotonic() - started >= 0.9
    assert coordinator.metric(f"{POLL}_count", federation="fed") == 1
    assert 0 < coordinator.metric(f"{POLL}_sum", federation="fed") < 0.6


async def test_a_poll_that_waits_for_the_store_shows_it(
    coordinator: Running, store: WatchedStore, plan: FederationPlan
) -> None:
    release = store.hold("versions.head")
    asked = asyncio.create_task(poll(coordinator, after=0, wait_seconds=0.0))

    async def held() -> bool:
        return store.calls["versions.head"] >= 1

    await eventually(held, what="the poll reads the head")
    asyncio.get_running_loop().call_later(0.3, release.set)
    await asked
    assert coordinator.metric(f"{POLL}_sum", federation="fed") >= 0.3


async def test_the_lag_of_a_long_poll_is_the_one_it_came_with(
    coordinator: Running, store: WatchedStore, plan: FederationPlan
) -> None:
    lag = "alignfed_agent_version_lag_versions"
    asked = asyncio.create_task(poll(coordinator, after=0, wait_seconds=0.99))

    async def waiting() -> bool:
        return coordinator.metric(f"{lag}_count", federation="fed") == 1

    await eventually(waiting, what="the poll waits")
    await publish(store, "fed")
    assert (await asked).status.head.number == 1
    assert coordinator.metric(f"{lag}_sum", federation="fed") == 0, "it held the head when it asked"


class Shown:
    """Store metrics on a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = StoreMetrics(self.registry)

    def value(self, name: str) -> float:
        value = self.registry.get_sample_value(f"alignfed_store_{name}")
        assert value is not None
        return value


async def test_a_store_that_is_away_shows_and_breaks_nothing(store: WatchedStore, plan: FederationPlan) -> None:
    shown = Shown()
    assert shown.value("connected") == 0, "nobody has asked yet"
    await store_blob(store, "fed", bytes(3000))  # type: ignore[arg-type]
    await look_at_store(store, shown.metrics)  # type: ignore[arg-type]
    used = shown.value("memory_used_bytes")
    assert (shown.value("connected"), used >= 3000) == (1, True)
    store.go_away()
    await look_at_store(store, shown.metrics)  # type: ignore[arg-type]
    assert (shown.value("connected"), shown.value("memory_used_bytes")) == (0, used)
    store.come_back()
    store.failures["memory"] = RuntimeError("not an error of ours")
    await look_at_store(store, shown.metrics)  # type: ignore[arg-type]
    assert shown.value("connected") == 0
    store.failures.clear()
    await look_at_store(store, shown.metrics)  # type: ignore[arg-type]
    assert shown.value("connected") == 1


class SteppedClock(SystemClock):
    """The real clock, whose sleeps end when the test says."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.step = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self.step.wait()
        self.step.clear()


async def test_the_store_is_looked_at_every_ten_seconds_until_the_process_ends(store: WatchedStore) -> None:
    shown, clock = Shown(), SteppedClock()
    async with store_watched(store, shown.metrics, clock):  # type: ignore[arg-type]
        for looks in (1, 2, 3):

            async def asleep(looks: int = looks) -> bool:
                return len(clock.slept) == looks

            await eventually(asleep, what=f"look {looks} is over")
            assert store.calls["memory"] == looks
            clock.step.set()
    assert set(clock.slept) == {LOOK_SECONDS}
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "store-metrics"]


def write_chain(path: Path, *days: float) -> list[datetime.datetime]:
    """Write a chain of self-signed certificates that expire in so many days, and return when."""
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "coordinator")])
    ends, pem = [], b""
    for number, left in enumerate(days, start=1):
        ends.append(now + datetime.timedelta(days=left))
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        builder = builder.serial_number(number).not_valid_before(now - datetime.timedelta(days=99))
        pem += builder.not_valid_after(ends[-1]).sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    path.write_bytes(pem)
    return ends


def test_the_first_certificate_of_the_chain_to_expire_counts(tmp_path: Path) -> None:
    chain = tmp_path / "chain.pem"
    _, intermediate = write_chain(chain, 90, 20)
    registry = CollectorRegistry()
    metrics = ServiceMetrics(registry)
    name = "alignfed_tls_certificate_expiry_timestamp_seconds"
    assert registry.get_sample_value(name) is None, "without TLS nothing expires"
    metrics.show_certificate_expiry(certificate_expiry(chain))
    assert registry.get_sample_value(name) == intermediate.timestamp()


@pytest.mark.parametrize("content", [b"", b"not a certificate", None], ids=["empty", "no-pem", "missing"])
def test_a_certificate_that_cannot_be_read_is_refused_with_its_name(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "broken.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RequestInvalid) as caught:
        certificate_expiry(file)
    assert str(file) in caught.value.message
