"""Names that are paths, commands or lines of a log: refused, and kept out of store and log."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import grpc
import pytest

from alignfed.logs.formats import JsonFormatter
from alignfed.v1 import agent_service_pb2 as pb
from alignfed.v1 import operator_service_pb2 as op
from coordinator.backends.memory import MemoryStore
from tests.service.conftest import Running
from tests.support.raw_client import RawClient, WireDelta, refusal_of
from tests.support.watched_store import WatchedStore

NAMES = [
    "../../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "a/../b",
    "a\\..\\b",
    "a\x00b",
    "fed\n2026-01-01 INFO all is well",
    "fed\r\nX: y",
    "\x1b[2J\x1b[1;31mowned",
    "{fed}:federation",
    "fed}{other",
    "*",
    "fed\u202egnp.exe",
    "$(reboot)",
    "'; FLUSHALL; --",
    "%s%n%d",
    "a" * 5000,
]

Named = Callable[[RawClient, WireDelta, str], Awaitable[Any]]


def _poll(client: RawClient, _delta: WireDelta, name: str) -> Awaitable[Any]:
    request = pb.GetGlobalVersionRequest(federation=name, agent_id="agent-1")
    return client.agents.GetGlobalVersion(request, timeout=10)  # type: ignore[no-any-return]


def _register(client: RawClient, _delta: WireDelta, name: str) -> Awaitable[Any]:
    return client.agents.RegisterAgent(  # type: ignore[no-any-return]
        pb.RegisterAgentRequest(federation="fed", agent_id=name), timeout=10
    )


def _tier(client: RawClient, _delta: WireDelta, name: str) -> Awaitable[Any]:
    request = pb.RegisterAgentRequest(federation="fed", agent_id="agent-9")
    request.capabilities.tier = name
    return client.agents.RegisterAgent(request, timeout=10)  # type: ignore[no-any-return]


def _download(client: RawClient, _delta: WireDelta, name: str) -> Awaitable[Any]:
    request = pb.DownloadAdapterRequest(federation=name, number=0)
    return anext(aiter(client.agents.DownloadAdapter(request, timeout=10)))


def _revoke(client: RawClient, _delta: WireDelta, name: str) -> Awaitable[Any]:
    return client.operators.RevokeAgent(  # type: ignore[no-any-return]
        op.RevokeAgentRequest(federation="fed", agent_id=name), timeout=10
    )


def _pause(client: RawClient, _delta: WireDelta, name: str) -> Awaitable[Any]:
    return client.operators.PauseFederation(  # type: ignore[no-any-return]
        op.PauseFederationRequest(federation=name), timeout=10
    )


CALLS: dict[str, Named] = {
    "the federation of a poll": _poll,
    "an agent's id": _register,
    "an agent's tier": _tier,
    "the federation of a download": _download,
    "a delta's id": lambda client, delta, name: client.submit([delta.header(delta_id=name), *delta.chunks()]),
    "the digest of a delta": lambda client, delta, name: client.query(delta, sha256=name),
    "the agent of an upload": lambda client, delta, name: client.submit([delta.header(agent_id=name), *delta.chunks()]),
    "the agent of a revocation": _revoke,
    "the federation of a pause": _pause,
}


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The process's log as production writes it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize("what", CALLS)
async def test_a_hostile_name_is_refused_and_reaches_neither_store_nor_log(
    what: str, coordinator: Running, delta: WireDelta, store: WatchedStore, log: io.StringIO
) -> None:
    before = _everything(store)
    for name in NAMES:
        if what == "an agent's tier" and name in ("..", "."):
            continue  # a label may be so; it names nothing
        with pytest.raises(grpc.RpcError) as raised:
            await CALLS[what](coordinator.client, delta, name)
        refusal = refusal_of(raised.value)
        assert refusal.code in {
            grpc.StatusCode.INVALID_ARGUMENT,
            grpc.StatusCode.NOT_FOUND,
        }, (name, refusal)
        assert len(refusal.message) <= 800
        assert refusal.message.isascii()
        assert refusal.message.isprintable(), refusal.message
    assert _everything(store) == before
    for line in log.getvalue().splitlines():
        assert json.loads(line)["message"].isprintable()


def _everything(store: WatchedStore) -> str:
    inner = store._inner
    assert isinstance(inner, MemoryStore)
    state = inner._state
    return repr(
        (sorted(state.federations), sorted(state.parts), [sorted(it.agents) for it in state.federations.values()])
    )


async def test_headers_beyond_what_agents_send_are_refused(coordinator: Running, delta: WireDelta) -> None:
    request = pb.GetGlobalVersionRequest(federation="fed", agent_id="agent-1")
    with pytest.raises(grpc.RpcError) as raised:
        await coordinator.client.agents.GetGlobalVersion(request, timeout=10, metadata=[("x-much", "a" * 40_000)])
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await coordinator.client.agents.GetGlobalVersion(request, timeout=10)
    assert (await coordinator.client.submit(delta.messages())).receipt.delta_id
