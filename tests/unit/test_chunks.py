"""Chunks: what arrives is what was sent, in order, once, whole; anything else is a typed error."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignfed.chunks import ChunkData, ChunkReceiver, chunk_count, crc32c_of, cut, sha256_of
from alignfed.errors import (
    ChunkChecksumMismatch,
    ChunkOutOfOrder,
    HeaderInvalid,
    PayloadDigestMismatch,
    PayloadOversized,
    PayloadTruncated,
)

SIZE = 8


def receiver(payload: bytes) -> ChunkReceiver:
    return ChunkReceiver(total_bytes=len(payload), sha256=sha256_of(payload), chunk_bytes=SIZE)


@given(st.binary(max_size=100), st.integers(1, 20))
def test_cut_and_receive_are_inverse(payload: bytes, chunk_bytes: int) -> None:
    target = ChunkReceiver(total_bytes=len(payload), sha256=sha256_of(payload), chunk_bytes=chunk_bytes)
    chunks = list(cut(payload, chunk_bytes=chunk_bytes))
    for chunk in chunks:
        target.receive(chunk)
    target.finish()
    assert b"".join(chunk.data for chunk in chunks) == payload
    assert len(chunks) == chunk_count(len(payload), chunk_bytes)


@given(st.binary(min_size=20, max_size=60), st.integers(0, 7))
def test_a_transfer_resumes_at_any_chunk(payload: bytes, held: int) -> None:
    held = min(held, chunk_count(len(payload), SIZE))
    target = receiver(payload)
    for chunk in list(cut(payload, chunk_bytes=SIZE))[:held]:
        target.count(chunk.data)
    for chunk in cut(payload, chunk_bytes=SIZE, offset=target.received_bytes):
        target.receive(chunk)
    target.finish()


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
def test_every_permutation_but_the_right_one_is_refused(count: int) -> None:
    payload = bytes(range(SIZE * count))
    chunks = list(cut(payload, chunk_bytes=SIZE))
    for order in itertools.permutations(chunks):
        target = receiver(payload)
        if list(order) == chunks:
            for chunk in order:
                target.receive(chunk)
            target.finish()
        else:
            with pytest.raises(ChunkOutOfOrder):
                for chunk in order:
                    target.receive(chunk)


def test_a_repeated_chunk_is_refused_and_names_the_offset_that_is_due() -> None:
    payload = bytes(3 * SIZE)
    first = next(cut(payload, chunk_bytes=SIZE))
    target = receiver(payload)
    target.receive(first)
    with pytest.raises(ChunkOutOfOrder) as caught:
        target.receive(first)
    assert caught.value.metadata == {"expected_offset": str(SIZE)}


def test_a_damaged_chunk_can_be_sent_again() -> None:
    payload = bytes(range(2 * SIZE))
    chunks = list(cut(payload, chunk_bytes=SIZE))
    target = receiver(payload)
    with pytest.raises(ChunkChecksumMismatch):
        target.receive(dataclasses.replace(chunks[0], data=b"x" * SIZE))
    for chunk in chunks:
        target.receive(chunk)
    target.finish()


@pytest.mark.parametrize(("length", "error"), [(SIZE + 1, PayloadOversized), (SIZE - 1, PayloadTruncated)])
def test_a_chunk_of_the_wrong_length_is_refused(length: int, error: type[Exception]) -> None:
    data = bytes(length)
    with pytest.raises(error):
        receiver(bytes(3 * SIZE)).receive(ChunkData(offset=0, data=data, crc32c=crc32c_of(data)))


def test_bytes_past_the_announced_end_are_refused() -> None:
    payload = bytes(SIZE)
    target = receiver(payload)
    target.receive(next(cut(payload, chunk_bytes=SIZE)))
    with pytest.raises(PayloadOversized):
        target.receive(ChunkData(offset=SIZE, data=b"x", crc32c=crc32c_of(b"x")))


def test_a_short_stream_and_a_wrong_digest_are_refused_at_the_end() -> None:
    payload = bytes(2 * SIZE)
    target = receiver(payload)
    target.receive(next(cut(payload, chunk_bytes=SIZE)))
    with pytest.raises(PayloadTruncated):
        target.finish()
    lying = ChunkReceiver(total_bytes=SIZE, sha256="0" * 64, chunk_bytes=SIZE)
    lying.receive(next(cut(payload, chunk_bytes=SIZE)))
    with pytest.raises(PayloadDigestMismatch):
        lying.finish()


@pytest.mark.parametrize("offset", [-8, 3, 24])
def test_a_transfer_starts_only_on_a_chunk_boundary(offset: int) -> None:
    with pytest.raises(HeaderInvalid):
        list(cut(bytes(16), chunk_bytes=SIZE, offset=offset))


def test_checking_and_counting_may_come_one_after_the_other() -> None:
    """So that whoever checks in one thread may have another one count, which takes longer."""
    payload = bytes(range(20))
    target = receiver(payload)
    for chunk in cut(payload, chunk_bytes=SIZE):
        target.check(chunk)
        assert target.received_bytes == chunk.offset
        target.count(chunk.data)
    target.finish()
