"""Cutting payloads into chunks and checking them on arrival. Knows nothing of gRPC, tensors or stores."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator

import google_crc32c

from alignfed.errors import (
    ChunkChecksumMismatch,
    ChunkOutOfOrder,
    HeaderInvalid,
    PayloadDigestMismatch,
    PayloadOversized,
    PayloadTruncated,
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ChunkData:
    """A slice of a payload with its position in bytes and its CRC-32C."""

    offset: int
    data: bytes
    crc32c: int


def crc32c_of(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of `data`."""
    return int(google_crc32c.value(data))


def sha256_of(data: bytes | bytearray | memoryview) -> str:
    """Return the lowercase hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def cut(payload: bytes | bytearray | memoryview, *, chunk_bytes: int, offset: int = 0) -> Iterator[ChunkData]:
    """Yield `payload` from `offset` on, in chunks of exactly `chunk_bytes`; only the last may be shorter.

    Raises:
        HeaderInvalid: `offset` is neither a multiple of `chunk_bytes` nor the payload's end.
    """
    check_offset(offset, total_bytes=len(payload), chunk_bytes=chunk_bytes)
    view = memoryview(payload)
    for start in range(offset, len(view), chunk_bytes):
        data = bytes(view[start : start + chunk_bytes])
        yield ChunkData(offset=start, data=data, crc32c=crc32c_of(data))


def check_offset(offset: int, *, total_bytes: int, chunk_bytes: int) -> None:
    """Check that a transfer may start at `offset`.

    Raises:
        HeaderInvalid: It is neither a multiple of `chunk_bytes` nor the payload's end.
    """
    if offset != total_bytes and (offset % chunk_bytes or not 0 <= offset < total_bytes):
        raise HeaderInvalid(
            f"offset {offset} must be a multiple of {chunk_bytes} within the payload's {total_bytes} bytes, or its end"
        )


def chunk_count(total_bytes: int, chunk_bytes: int) -> int:
    """Return how many chunks a payload of `total_bytes` is cut into."""
    return -(-total_bytes // chunk_bytes)


class ChunkReceiver:
    """Checks the chunks of one payload as they arrive, in constant memory.

    A resumed transfer starts by feeding `count` the parts already held, so that the digest covers the whole payload.

    Args:
        total_bytes: Announced length.
        sha256: Announced digest, lowercase hex.
        chunk_bytes: Required length of every chunk but the last.
    """

    def __init__(self, *, total_bytes: int, sha256: str, chunk_bytes: int) -> None:
        self._total_bytes = total_bytes
        self._sha256 = sha256
        self._chunk_bytes = chunk_bytes
        self._hash = hashlib.sha256()
        self.received_bytes = 0

    @property
    def complete(self) -> bool:
        """Whether every announced byte has arrived."""
        return self.received_bytes == self._total_bytes

    @property
    def next_index(self) -> int:
        """Index of the part that the next chunk becomes."""
        return self.received_bytes // self._chunk_bytes

    def receive(self, chunk: ChunkData) -> None:
        """Check the next chunk and count it: `check`, then `count`.

        Raises: As `check`.
        """
        self.check(chunk)
        self.count(chunk.data)

    def check(self, chunk: ChunkData) -> None:
        """Check the next chunk without counting it.

        Raises:
            ChunkOutOfOrder: It is not the next one, whether repeated, skipped ahead or overlapping.
            PayloadOversized: It is longer than a chunk may be, or reaches past the announced length.
            PayloadTruncated: It is shorter than it must be.
            ChunkChecksumMismatch: Its CRC-32C does not match; nothing was counted, resume from here.
        """
        if chunk.offset != self.received_bytes:
            raise ChunkOutOfOrder(
                f"chunk at offset {chunk.offset} arrived where {self.received_bytes} was due: "
                "ask QueryUpload for the offset and send chunks in order",
                expected_offset=self.received_bytes,
            )
        due = min(self._chunk_bytes, self._total_bytes - self.received_bytes)
        if len(chunk.data) > due:
            raise PayloadOversized(
                f"chunk at offset {chunk.offset} has {len(chunk.data)} bytes where {due} were due: "
                f"cut the payload into chunks of {self._chunk_bytes} bytes and announce its true length"
            )
        if len(chunk.data) < due:
            raise PayloadTruncated(
                f"chunk at offset {chunk.offset} has {len(chunk.data)} bytes where {due} were due: "
                "only the last chunk may be shorter"
            )
        if crc32c_of(chunk.data) != chunk.crc32c:
            raise ChunkChecksumMismatch(
                f"chunk at offset {chunk.offset} was damaged on the way (CRC-32C differs): send it again",
                expected_offset=self.received_bytes,
            )

    def count(self, data: bytes) -> None:
        """Count the bytes of a chunk that was checked, or a part that an earlier transfer left behind and checked then.

        It takes about a millisecond for a megabyte, nearly all of it without the interpreter's lock.
        """
        self._hash.update(data)
        self.received_bytes += len(data)

    def finish(self) -> None:
        """Check that the payload is whole.

        Raises:
            PayloadTruncated: Bytes are missing.
            PayloadDigestMismatch: The SHA-256 is not the announced one.
        """
        if not self.complete:
            raise PayloadTruncated(
                f"the stream ended after {self.received_bytes} of {self._total_bytes} bytes: "
                "ask QueryUpload for the offset and resume",
                expected_offset=self.received_bytes,
            )
        if self._hash.hexdigest() != self._sha256:
            raise PayloadDigestMismatch(
                "the payload's SHA-256 is not the announced one: it was dropped; build the payload again and resend it"
            )
