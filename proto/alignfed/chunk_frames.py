"""Messages that hold one chunk, written and read without protobuf, which would copy the megabyte three times each way.

A *frame* is what protobuf's serialiser makes of a `SubmitDeltaRequest`, `DownloadAdapterResponse` or
`ExportAdapterResponse` with the field `chunk`, byte for byte:

    12 LENGTH            field 2: the chunk, as long as what follows
      08 OFFSET          field 1, a varint; left out when 0
      12 LENGTH DATA     field 2; left out when empty
      1d CRC             field 3, four bytes, little-endian; left out when 0

Anything else that protobuf would also understand (other order, unknown fields, long varints) is no frame: who reads
one asks protobuf then. A test holds the two together.
"""

from __future__ import annotations

from alignfed.chunks import ChunkData

_MESSAGE, _OFFSET, _DATA, _CRC = b"\x12", b"\x08", b"\x12", b"\x1d"
_CRC_BYTES = 4
_LONGEST_VARINT = 10
_OFFSETS = 1 << 64


def frame(chunk: ChunkData) -> bytes:
    """Return the message that holds `chunk`; its bytes are copied once.

    Raises:
        OverflowError: The offset is not within 64 bits, or the checksum not within 32.
    """
    head, tail = _around(chunk)
    return b"".join((head, chunk.data, tail))


def read_frame(message: bytes) -> ChunkData | None:
    """Return the chunk of a frame, its bytes copied once; None for everything that `frame` never returns."""
    chunk = _parsed(message)
    if chunk is None:
        return None
    head, tail = _around(chunk)
    same = len(message) == len(head) + len(chunk.data) + len(tail)
    return chunk if same and message.startswith(head) and message.endswith(tail) else None


def _around(chunk: ChunkData) -> tuple[bytes, bytes]:
    """Return what comes before and after the data."""
    head = _OFFSET + _varint(chunk.offset) if chunk.offset else b""
    if chunk.data:
        head += _DATA + _varint(len(chunk.data))
    tail = _CRC + chunk.crc32c.to_bytes(_CRC_BYTES, "little") if chunk.crc32c else b""
    return _MESSAGE + _varint(len(head) + len(chunk.data) + len(tail)) + head, tail


def _parsed(message: bytes) -> ChunkData | None:
    """Return the chunk of a message that may be a frame, read leniently; None where that fails."""
    if not message.startswith(_MESSAGE):
        return None
    try:
        _, at = _read_varint(message, 1)
        offset, length = 0, 0
        if message.startswith(_OFFSET, at):
            offset, at = _read_varint(message, at + 1)
        if message.startswith(_DATA, at):
            length, at = _read_varint(message, at + 1)
    except ValueError:
        return None
    end = at + length
    if end > len(message) or offset >= _OFFSETS:
        return None
    crc = message[end + 1 : end + 1 + _CRC_BYTES] if message.startswith(_CRC, end) else b""
    return ChunkData(offset=offset, data=message[at:end], crc32c=int.from_bytes(crc, "little"))


def _varint(number: int) -> bytes:
    if not 0 <= number < _OFFSETS:
        raise OverflowError(f"{number} does not fit into 64 bits")
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """Return a varint and where it ends."""
    number = 0
    for index, byte in enumerate(message[at : at + _LONGEST_VARINT]):
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return number, at + index + 1
    raise ValueError
