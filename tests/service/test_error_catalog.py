"""Every error reaches the client with a stable reason; what nobody foresaw reveals nothing."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest

from alignfed.errors import ERRORS_BY_REASON, AlignFedError, QueueFull, Unavailable
from coordinator.service.rpc.convert import SPREAD
from coordinator.service.rpc.errors import CATALOG, translated
from coordinator.service.rpc.types import Context
from tests.support.raw_client import refused

Raise = Callable[[Exception], Awaitable[Any]]


@pytest.fixture
async def raising() -> AsyncIterator[Raise]:
    """Call a handler that raises the given exception."""
    to_raise: list[Exception] = []

    async def handler(request: bytes, context: Context) -> bytes:
        async with translated(context):
            raise to_raise[-1]

    server = grpc.aio.server()
    methods = {"Raise": grpc.unary_unary_rpc_method_handler(handler)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Errors", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/test.Errors/Raise")

        async def raise_it(error: Exception) -> Any:
            to_raise.append(error)
            return await call(b"", timeout=10)

        yield raise_it
    await server.stop(None)


def test_the_catalog_names_every_leaf_and_nothing_else() -> None:
    assert set(CATALOG) == set(ERRORS_BY_REASON.values())


def test_whatever_is_temporary_says_when_to_come_back_and_nothing_else_does() -> None:
    for kind, public in CATALOG.items():
        assert (public.retry_after_seconds is not None) == issubclass(kind, Unavailable), kind.reason


async def test_every_leaf_travels_with_its_reason(raising: Raise) -> None:
    for reason, kind in ERRORS_BY_REASON.items():
        refusal = await refused(raising(kind("do this next", fact=7)))
        assert (refusal.reason, refusal.domain) == (reason, "alignfed")
        assert refusal.code is CATALOG[kind].code
        hint = CATALOG[kind].retry_after_seconds
        assert (refusal.retry_seconds is None) == (hint is None)
        assert hint is None or SPREAD[0] * hint <= (refusal.retry_seconds or 0) <= SPREAD[1] * hint
        assert refusal.metadata == {"fact": "7"}
        assert refusal.message == "do this next"


async def test_hints_follow_the_load_and_are_spread(raising: Raise) -> None:
    refusals = [await refused(raising(QueueFull("later", retry_after_seconds=100.0, fact=7))) for _ in range(20)]
    hints = {refusal.retry_seconds or 0.0 for refusal in refusals}
    assert len(hints) > 15, "a fleet that was refused together would come back together"
    assert min(hints) >= 100 * SPREAD[0]
    assert max(hints) <= 100 * SPREAD[1]
    assert all(refusal.metadata == {"fact": "7"} for refusal in refusals)


async def test_an_unforeseen_error_reveals_only_a_correlation_id(
    raising: Raise, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        refusal = await refused(raising(RuntimeError("secret of the house")))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INTERNAL, AlignFedError.reason)
    assert "secret" not in refusal.message
    assert refusal.metadata["correlation_id"] in refusal.message
    assert refusal.metadata["correlation_id"] in caplog.text
    assert "secret of the house" in caplog.text


async def test_what_a_client_sent_never_bursts_the_trailers(raising: Raise) -> None:
    hostile = "\U0001f4a3" * 100_000
    refusal = await refused(raising(QueueFull(hostile, echo=hostile)))
    assert refusal.reason == "QUEUE_FULL"
    assert len(refusal.message) <= 1000
