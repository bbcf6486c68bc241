"""Every way in which the chunks of one payload may arrive, right and wrong, and what must come of it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

from alignfed.chunks import ChunkData, crc32c_of, cut

MAX_CHUNKS = 6


def right(payload: bytes, chunk_bytes: int) -> list[ChunkData]:
    """Return the payload's chunks in order."""
    return list(cut(payload, chunk_bytes=chunk_bytes))


def arrangements(chunks: Sequence[ChunkData]) -> Iterator[tuple[ChunkData, ...]]:
    """Yield every permutation of every selection of the chunks: orders, gaps and truncations at once."""
    for length in range(len(chunks) + 1):
        yield from itertools.permutations(chunks, length)


def intruded(chunks: Sequence[ChunkData], chunk_bytes: int) -> Iterator[tuple[ChunkData, ...]]:
    """Yield the chunks in order with one intruder at each place, and with it in place of the chunk there."""
    for place in range(len(chunks) + 1):
        for intruder in _intruders(chunks, place, chunk_bytes):
            yield (*chunks[:place], intruder, *chunks[place:])
            yield (*chunks[:place], intruder, *chunks[place + 1 :])


def _intruders(chunks: Sequence[ChunkData], place: int, chunk_bytes: int) -> Iterator[ChunkData]:
    """Yield chunks that do not belong at `place`: repeated, overlapping, damaged, misplaced, too short, too long."""
    payload = b"".join(chunk.data for chunk in chunks)
    yield from (chunk for index, chunk in enumerate(chunks) if index != place)
    half = place * chunk_bytes - chunk_bytes // 2
    if half > 0:
        yield _chunk(half, payload[half : half + chunk_bytes])
    due = chunks[min(place, len(chunks) - 1)]
    yield dataclasses.replace(due, crc32c=due.crc32c ^ 1)
    yield dataclasses.replace(due, data=bytes([due.data[0] ^ 1]) + due.data[1:])
    for offset in (due.offset + 1, due.offset + chunk_bytes, max(due.offset - 1, 0), 2**40):
        if offset != due.offset:
            yield dataclasses.replace(due, offset=offset)
    yield _chunk(due.offset, due.data[:-1])
    yield _chunk(due.offset, due.data + b"x")
    yield _chunk(due.offset, b"")


def forged(due: ChunkData) -> ChunkData:
    """Return other bytes in the place of a chunk, consistent in themselves: only the payload's digest can tell."""
    return _chunk(due.offset, bytes(byte ^ 1 for byte in due.data))


def is_forged(chunk: ChunkData, payload: bytes) -> bool:
    """Whether a chunk is consistent in itself but not the payload's."""
    there = payload[chunk.offset : chunk.offset + len(chunk.data)]
    return chunk.crc32c == crc32c_of(chunk.data) and chunk.data != there


def _chunk(offset: int, data: bytes) -> ChunkData:
    return ChunkData(offset=offset, data=data, crc32c=crc32c_of(data))


def agreeing(sent: Sequence[ChunkData], due: Sequence[ChunkData]) -> int:
    """Return how many of the chunks sent are the due ones: all that may be kept of a transfer."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(sent, due, strict=False)))
