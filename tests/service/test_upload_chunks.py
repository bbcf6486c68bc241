"""Payloads that arrive damaged: nothing but the announced bytes, whole and in order, ever becomes a delta."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from alignfed.chunks import crc32c_of, sha256_of
from alignfed.v1 import agent_service_pb2 as agent_pb
from alignfed.v1 import types_pb2 as pb
from alignfed.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.service.conftest import Running
from tests.support.raw_client import CHUNK_BYTES, WireDelta, payload_of, refused, wire_plan
from tests.support.stores import seed_federation
from tests.support.watched_store import WatchedStore

Messages = list[agent_pb.SubmitDeltaRequest]

INVALID = grpc.StatusCode.INVALID_ARGUMENT
DAMAGED = grpc.StatusCode.DATA_LOSS
OUT_OF_RANGE = grpc.StatusCode.OUT_OF_RANGE


def chunk(offset: int, data: bytes, crc32c: int | None = None) -> agent_pb.SubmitDeltaRequest:
    crc32c = crc32c_of(data) if crc32c is None else crc32c
    return agent_pb.SubmitDeltaRequest(chunk=pb.Chunk(offset=offset, data=data, crc32c=crc32c))


def spoilt_crc(delta: WireDelta) -> Messages:
    messages = delta.messages()
    messages[3].chunk.crc32c ^= 1
    return messages


def flipped_bit(delta: WireDelta) -> Messages:
    messages = delta.messages()
    data = bytearray(messages[3].chunk.data)
    data[5] ^= 1
    messages[3].chunk.data = bytes(data)
    return messages


def swapped(delta: WireDelta) -> Messages:
    header, first, second, *rest = delta.messages()
    return [header, second, first, *rest]


def repeated(delta: WireDelta) -> Messages:
    header, first, *rest = delta.messages()
    return [header, first, first, *rest]


def last_repeated(delta: WireDelta) -> Messages:
    return [*delta.messages(), delta.messages()[-1]]


def skipped(delta: WireDelta) -> Messages:
    header, first, _, *rest = delta.messages()
    return [header, first, *rest]


def overlapping(delta: WireDelta) -> Messages:
    header, first, *_ = delta.messages()
    return [header, first, chunk(CHUNK_BYTES // 2, delta.payload[CHUNK_BYTES // 2 :][:CHUNK_BYTES])]


def cut_short(delta: WireDelta) -> Messages:
    return delta.messages()[:-1]


def header_only(delta: WireDelta) -> Messages:
    return [delta.header()]


def short_chunk(delta: WireDelta) -> Messages:
    return [delta.header(), chunk(0, delta.payload[: CHUNK_BYTES - 1])]


def empty_chunk(delta: WireDelta) -> Messages:
    return [delta.header(), chunk(0, b"")]


def long_chunk(delta: WireDelta) -> Messages:
    return [delta.header(), chunk(0, delta.payload[: CHUNK_BYTES + 1])]


def too_many_bytes(delta: WireDelta) -> Messages:
    return [*delta.messages(), chunk(len(delta.payload), b"more")]


def empty_chunk_at_the_end(delta: WireDelta) -> Messages:
    return [*delta.messages(), chunk(len(delta.payload), b"")]


def foreign_prefix(delta: WireDelta) -> Messages:
    """A payload of the right length whose safetensors header names other tensors."""
    payload = delta.payload.replace(b"q_proj", b"k_proj")
    pieces = [chunk(at, payload[at : at + CHUNK_BYTES]) for at in range(0, len(payload), CHUNK_BYTES)]
    return [delta.header(sha256=sha256_of(payload)), *pieces]


def header_twice(delta: WireDelta) -> Messages:
    header, *chunks = delta.messages()
    return [header, chunks[0], header, *chunks[1:]]


def header_twice_at_once(delta: WireDelta) -> Messages:
    return [delta.header(), *delta.messages()]


def header_missing(delta: WireDelta) -> Messages:
    return delta.chunks()


def nothing(delta: WireDelta) -> Messages:
    return []


def neither(delta: WireDelta) -> Messages:
    return [delta.header(), agent_pb.SubmitDeltaRequest()]


@pytest.mark.parametrize(
    ("spoil", "code", "reason"),
    [
        (spoilt_crc, DAMAGED, "CHUNK_CHECKSUM_MISMATCH"),
        (flipped_bit, DAMAGED, "CHUNK_CHECKSUM_MISMATCH"),
        (swapped, OUT_OF_RANGE, "CHUNK_OUT_OF_ORDER"),
        (repeated, OUT_OF_RANGE, "CHUNK_OUT_OF_ORDER"),
        (last_repeated, OUT_OF_RANGE, "CHUNK_OUT_OF_ORDER"),
        (skipped, OUT_OF_RANGE, "CHUNK_OUT_OF_ORDER"),
        (overlapping, OUT_OF_RANGE, "CHUNK_OUT_OF_ORDER"),
        (cut_short, OUT_OF_RANGE, "PAYLOAD_TRUNCATED"),
        (header_only, OUT_OF_RANGE, "PAYLOAD_TRUNCATED"),
        (short_chunk, OUT_OF_RANGE, "PAYLOAD_TRUNCATED"),
        (empty_chunk, OUT_OF_RANGE, "PAYLOAD_TRUNCATED"),
        (long_chunk, OUT_OF_RANGE, "PAYLOAD_OVERSIZED"),
        (too_many_bytes, OUT_OF_RANGE, "PAYLOAD_OVERSIZED"),
        (empty_chunk_at_the_end, OUT_OF_RANGE, "PAYLOAD_OVERSIZED"),
        (foreign_prefix, INVALID, "MANIFEST_MISMATCH"),
        (header_twice, INVALID, "HEADER_REPEATED"),
        (header_twice_at_once, INVALID, "HEADER_REPEATED"),
        (header_missing, INVALID, "HEADER_MISSING"),
        (nothing, INVALID, "HEADER_MISSING"),
        (neither, INVALID, "REQUEST_INVALID"),
    ],
)
async def test_a_damaged_upload_is_refused_and_the_honest_one_still_gets_through(
    spoil: Callable[[WireDelta], Messages],
    code: grpc.StatusCode,
    reason: str,
    coordinator: Running,
    store: WatchedStore,
    delta: WireDelta,
) -> None:
    refusal = await refused(coordinator.client.submit(spoil(delta)))
    assert (refusal.code, refusal.reason, refusal.domain) == (code, reason, "alignfed")
    assert (await store.deltas.depth("fed")).queued == 0

    progress = await coordinator.client.query(delta)
    response = await coordinator.client.submit(delta.messages(progress.resume_offset))
    assert response.receipt.state == pb.DELTA_STATE_QUEUED
    assert (await store.deltas.depth("fed")).queued == 1


async def test_a_refused_chunk_says_where_to_go_on(coordinator: Running, delta: WireDelta) -> None:
    for messages in (skipped(delta), header_only(delta)):
        refusal = await refused(coordinator.client.submit(messages))
        assert refusal.metadata["expected_offset"] == str(CHUNK_BYTES)


async def test_a_payload_of_another_digest_is_dropped_so_that_it_can_be_sent_again(
    coordinator: Running, store: WatchedStore, delta: WireDelta
) -> None:
    other = payload_of(delta.plan, delta.plan.delta_encoding, seed=99)
    pieces = [chunk(at, other[at : at + CHUNK_BYTES]) for at in range(0, len(other), CHUNK_BYTES)]
    refusal = await refused(coordinator.client.submit([delta.header(), *pieces]))
    assert (refusal.code, refusal.reason) == (DAMAGED, "PAYLOAD_DIGEST_MISMATCH")
    assert (await coordinator.client.query(delta)).resume_offset == 0
    response = await coordinator.client.submit(delta.messages())
    assert response.receipt.state == pb.DELTA_STATE_QUEUED


async def test_bytes_that_are_no_message_are_refused(coordinator: Running) -> None:
    call = coordinator.client.channel.stream_unary("/alignfed.v1.AgentService/SubmitDelta")
    refusal = await refused(call(iter([b"\xff\xff\xff\xff"]), timeout=20))
    assert (refusal.code, refusal.reason) == (INVALID, "REQUEST_INVALID")


async def test_a_message_above_the_limit_is_refused(coordinator: Running, delta: WireDelta) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        await coordinator.client.submit([delta.header(), chunk(0, bytes(5 << 20))])
    assert code_of(raised.value) is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_compressed_messages_are_refused(coordinator: Running, delta: WireDelta) -> None:
    address = f"127.0.0.1:{coordinator.server.agent_port}"
    with grpc.insecure_channel(address, compression=grpc.Compression.Gzip) as channel:
        submit = AgentServiceStub(channel).SubmitDelta
        with pytest.raises(grpc.RpcError) as raised:
            await asyncio.to_thread(submit, iter(delta.messages()), timeout=20)
    assert code_of(raised.value) is grpc.StatusCode.UNIMPLEMENTED


def code_of(error: Any) -> grpc.StatusCode:
    """Return the code of an error that gRPC itself made, without details."""
    code: grpc.StatusCode = error.code()
    return code


@pytest.mark.parametrize("bad", [{"rank": 9}, {"federation": "nowhere"}])
async def test_a_refusal_reaches_a_client_that_is_still_sending(
    bad: dict[str, Any], coordinator: Running, store: WatchedStore
) -> None:
    """Far more than any window holds: the client is in the middle of its payload when the answer comes."""
    plan = await seed_federation(store, wire_plan("big", columns=1 << 20, chunk_bytes=1 << 20))
    delta = WireDelta.of(plan, (await store.versions.head("big")).id)
    refusal = await refused(coordinator.client.submit([delta.header(**bad), *delta.chunks()]))
    assert refusal.reason in {"RANK_MISMATCH", "FEDERATION_UNKNOWN"}
