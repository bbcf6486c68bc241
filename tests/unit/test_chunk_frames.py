"""Frames: byte for byte protobuf's messages, and read as protobuf reads them or not at all."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from alignfed.chunk_frames import frame, read_frame
from alignfed.chunks import ChunkData
from alignfed.v1 import agent_service_pb2, operator_service_pb2, types_pb2

MESSAGES: tuple[Any, ...] = (
    agent_service_pb2.SubmitDeltaRequest,
    agent_service_pb2.DownloadAdapterResponse,
    operator_service_pb2.ExportAdapterResponse,
)
EDGES = [0, 1, 127, 128, 16_383, 16_384, 2**31, 2**32 - 1]

chunks = st.builds(
    ChunkData,
    offset=st.sampled_from([*EDGES, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1),
    data=st.binary(max_size=300),
    crc32c=st.sampled_from(EDGES) | st.integers(0, 2**32 - 1),
)


def by_protobuf(message: Any, chunk: ChunkData) -> bytes:
    part = types_pb2.Chunk(offset=chunk.offset, data=chunk.data, crc32c=chunk.crc32c)
    data: bytes = message(chunk=part).SerializeToString()
    return data


def check_against_protobuf(data: bytes) -> ChunkData | None:
    """Whatever is read is what protobuf reads, and is written back as it came."""
    chunk = read_frame(data)
    if chunk is not None:
        assert frame(chunk) == data
        for message in MESSAGES:
            parsed = message.FromString(data)
            assert parsed.WhichOneof("part") == "chunk"
            assert (parsed.chunk.offset, parsed.chunk.data, parsed.chunk.crc32c) == (
                chunk.offset,
                chunk.data,
                chunk.crc32c,
            )
    return chunk


@given(chunks)
@example(ChunkData(offset=0, data=b"", crc32c=0))
@example(ChunkData(offset=1 << 20, data=bytes(1 << 20), crc32c=1))
def test_a_frame_is_protobufs_message_and_is_read_back(chunk: ChunkData) -> None:
    data = frame(chunk)
    for message in MESSAGES:
        assert data == by_protobuf(message, chunk)
    assert check_against_protobuf(data) == chunk


@given(chunks, st.data())
def test_a_damaged_frame_is_read_as_protobuf_reads_it_or_not_at_all(chunk: ChunkData, draw: st.DataObject) -> None:
    data = bytearray(frame(chunk))
    for _ in range(draw.draw(st.integers(1, 3))):
        # Most often where the lengths and tags are.
        at = draw.draw(st.integers(0, min(len(data), 24)) | st.integers(0, len(data)))
        cut = draw.draw(st.integers(0, 2))
        data[at : at + cut] = draw.draw(st.binary(max_size=2) | st.sampled_from([b"\x08", b"\x12", b"\x1d", b"\x80"]))
    check_against_protobuf(bytes(data))


@given(st.binary(max_size=40))
def test_arbitrary_bytes_are_read_as_protobuf_reads_them_or_not_at_all(data: bytes) -> None:
    check_against_protobuf(data)
    check_against_protobuf(b"\x12" + bytes([len(data)]) + data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x12",
        b"\x12\x02\x08\x00",  # a zero that is written out
        b"\x12\x02\x12\x00",  # empty data that is written out
        b"\x12\x05\x1d\x00\x00\x00\x00",
        b"\x12\x03\x08\x81\x00",  # 1 as two bytes
        b"\x12\x83\x00\x12\x01x",  # the length as two bytes
        b"\x12\x05\x12\x01x\x08\x01",  # another order
        b"\x12\x05\x08\x01\x08\x02\x12",  # an offset twice
        b"\x12\x05\x12\x01x\x20\x01",  # an unknown field
        b"\x12\x03\x12\x01x\x20\x01",  # an unknown field after the chunk
        b"\x12\x03\x12\x01x\x0a\x00",  # then a header, which replaces the chunk
        b"\x12\x04\x12\x01xy",
        b"\x12\x02\x12\x01x",
        b"\x12\x04\x12\x01x",
        b"\x12\x04\x1d\x01\x02\x03",  # a checksum cut short
        b"\x12\x0b\x08" + b"\xff" * 9 + b"\x02",  # an offset of 65 bits, whose upper bits protobuf drops
        b"\x0a\x00",
        b"\x1a\x03\x12\x01x",  # field 3, where an operator's calibration set comes
    ],
    ids=bytes.hex,
)
def test_what_protobuf_would_not_write_is_no_frame(data: bytes) -> None:
    assert read_frame(data) is None
    try:
        message = MESSAGES[0].FromString(data)
    except DecodeError:
        return
    message.DiscardUnknownFields()
    assert message.SerializeToString() != data or message.WhichOneof("part") != "chunk"


@pytest.mark.parametrize("chunk", [{"offset": 2**64}, {"offset": -1}, {"crc32c": 2**32}], ids=str)
def test_what_has_no_place_in_a_frame_is_refused(chunk: dict[str, int]) -> None:
    with pytest.raises(OverflowError):
        frame(ChunkData(**{"offset": 0, "data": b"x", "crc32c": 0} | chunk))  # type: ignore[arg-type]
