"""Ways to spoil valid inputs: bytes, plain values as JSON has them, protobuf messages. All follows from a seed."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

EDGE_INTEGERS = (
    0, 1, -1, 2, 7, 127, 128, 255, 256, 1023, 1024, 1025, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1, 2**32,
    2**53 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 10**30, -(2**31), -(2**63), 10**400,
)  # fmt: skip
EDGE_FLOATS = (0.0, -0.0, 0.5, 1.0, -1.0, 1e-320, 5e-324, 1e30, 1e308, math.inf, -math.inf, math.nan)
EDGE_TEXTS = (
    "", " ", "\0", "a\nb", "\ud83d", "\udc00x", "\ufeff", "\u2028", "\U0001f600", "e\u0301", "\u0661\u0662", "NaN",
    "null", "-1", "1e999", "../../etc/passwd", "%s%n{0}", "a" * 300, "'\";--", "fp32", "bf16", "demo", "agent-1",
)  # fmt: skip
"""Texts that readers stumble over: lone surrogates, other digits, line separators, paths, numbers as words."""
EDGE_VALUES = (*EDGE_INTEGERS, *EDGE_FLOATS, *EDGE_TEXTS, None, True, False, [], {}, [[]], [None], {"": None}, [1, "a"])
EDGE_TOKENS = (
    b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3", b"\xed\xa0\xbd", b"\0", b"\n", b"\r\n", b"{", b"}", b"[", b"]]", b'"', b",",
    b":", b"=", b"\\ud83d", b"1" * 5000, b"[" * 3000, b'{"a":' * 1500, b"1e999", b"NaN", b"-0", b"1979-05-27", b"'''",
)  # fmt: skip

_INTEGER_WIDTHS = (1, 2, 4, 8)


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Return `data` after one to four changes that know nothing of its structure."""
    spoiled = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        _BYTE_CHANGES[rng.randrange(len(_BYTE_CHANGES))](spoiled, rng)
    return bytes(spoiled)


def _flip_bit(data: bytearray, rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set_byte(data: bytearray, rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.randrange(256)


def _cut_out(data: bytearray, rng: random.Random) -> None:
    start, end = _span(data, rng)
    del data[start:end]


def _cut_off(data: bytearray, rng: random.Random) -> None:
    del data[rng.randint(0, len(data)) :]


def _repeat(data: bytearray, rng: random.Random) -> None:
    start, end = _span(data, rng)
    data[start:start] = data[start:end]


def _insert_token(data: bytearray, rng: random.Random) -> None:
    place = rng.randint(0, len(data))
    data[place:place] = rng.choice(EDGE_TOKENS)


def _insert_noise(data: bytearray, rng: random.Random) -> None:
    place = rng.randint(0, len(data))
    data[place:place] = rng.randbytes(rng.randint(1, 16))


def _set_integer(data: bytearray, rng: random.Random) -> None:
    width = rng.choice(_INTEGER_WIDTHS)
    if len(data) >= width:
        place = rng.randrange(len(data) - width + 1)
        value = rng.choice(EDGE_INTEGERS) % (1 << 8 * width)
        data[place : place + width] = value.to_bytes(width, rng.choice(("little", "big")))


def _span(data: bytearray, rng: random.Random) -> tuple[int, int]:
    start = rng.randint(0, len(data))
    return start, min(len(data), start + rng.choice((1, 2, 8, 64, 512)))


_BYTE_CHANGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip_bit, _flip_bit, _set_byte, _cut_out, _cut_off, _repeat, _insert_token, _insert_noise, _set_integer,
)  # fmt: skip


def mutate_value(value: Any, rng: random.Random) -> Any:
    """Return a plain value with one place in it replaced, removed, repeated, renamed or nested deeper."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        return _mutate_mapping(value, rng)
    if isinstance(value, list) and value and rng.random() < 0.85:
        return _mutate_list(value, rng)
    if isinstance(value, str) and rng.random() < 0.4:
        place = rng.randint(0, len(value))
        return value[:place] + rng.choice(EDGE_TEXTS) + value[place + rng.randint(0, 2) :]
    return rng.choice(EDGE_VALUES) if rng.random() < 0.9 else rng.choice(([value], {"x": value}))


def _mutate_mapping(value: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    key = rng.choice(list(value))
    change = rng.random()
    spoiled = dict(value)
    if change < 0.7:
        spoiled[key] = mutate_value(value[key], rng)
    elif change < 0.8:
        del spoiled[key]
    elif change < 0.9:
        spoiled[rng.choice(EDGE_TEXTS)] = spoiled.pop(key)
    else:
        spoiled[key] = spoiled[rng.choice(list(value))]
    return spoiled


def _mutate_list(value: list[Any], rng: random.Random) -> list[Any]:
    place = rng.randrange(len(value))
    change = rng.random()
    spoiled = list(value)
    if change < 0.7:
        spoiled[place] = mutate_value(value[place], rng)
    elif change < 0.8:
        del spoiled[place]
    elif change < 0.95:
        spoiled.insert(rng.randint(0, len(value)), value[place])
    else:
        spoiled *= rng.choice((2, 50))
    return spoiled


def mutate_json(data: bytes, rng: random.Random) -> bytes:
    """Return a JSON document with its value spoiled, or now and then its text."""
    if rng.random() < 0.25:
        return mutate_bytes(data, rng)
    try:
        return json.dumps(mutate_value(json.loads(data), rng)).encode()
    except (ValueError, RecursionError):  # it was spoiled before
        return mutate_bytes(data, rng)


def mutate_message(kind: type[Message], data: bytes, rng: random.Random) -> bytes:
    """Return a message of `kind` with one to three of its fields spoiled, or now and then its bytes."""
    message = kind()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return mutate_bytes(data, rng)
    for _ in range(rng.choice((1, 1, 2, 3))):
        spoil_message(message, rng)
    encoded = message.SerializeToString()
    return mutate_bytes(encoded, rng) if rng.random() < 0.2 else encoded


def spoil_message(message: Message, rng: random.Random) -> None:
    """Change one field of a message, or of one inside it."""
    field = rng.choice(message.DESCRIPTOR.fields)
    if rng.random() < 0.1:
        message.ClearField(field.name)
    elif field.is_repeated:
        _spoil_repeated(message, field, rng)
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        spoil_message(getattr(message, field.name), rng)
        getattr(message, field.name).SetInParent()
    else:
        _set(message, field, _edge_of(field, rng, getattr(message, field.name)))


def _spoil_repeated(message: Message, field: FieldDescriptor, rng: random.Random) -> None:
    values: Any = getattr(message, field.name)
    change = rng.random()
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        values[rng.choice(EDGE_TEXTS).encode("utf-8", "ignore").decode()] = rng.choice(
            ("", "nan", "1e999", "-1", "x" * 99)
        )
    elif change < 0.15 and values:
        del values[rng.randrange(len(values))]
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        if change < 0.4:
            values.add()
        elif change < 0.5 and values:
            values.add().CopyFrom(values[rng.randrange(len(values) - 1)] if len(values) > 1 else values[0])
        elif values:
            spoil_message(values[rng.randrange(len(values))], rng)
    elif change < 0.6 or not values:
        values.append(_edge_of(field, rng, None))
    else:
        values[rng.randrange(len(values))] = _edge_of(field, rng, None)


def _set(message: Message, field: FieldDescriptor, value: Any) -> None:
    setattr(message, field.name, value)


_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def _edge_of(field: FieldDescriptor, rng: random.Random, now: Any) -> Any:
    kind = field.cpp_type
    if kind in _RANGES:
        low, high = _RANGES[kind]
        value = rng.choice(EDGE_INTEGERS) if now is None or rng.random() < 0.6 else now + rng.choice((-1, 1))
        return min(max(value, low), high)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return rng.choice(EDGE_FLOATS)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return mutate_bytes(now or b"", rng)
    text = rng.choice(EDGE_TEXTS) if not now or rng.random() < 0.5 else now[: rng.randint(0, len(now))] + "0"
    return text.encode("utf-8", "ignore").decode()  # protobuf itself refuses what is no UTF-8


def mutate_one_of(parts: Sequence[bytes], rng: random.Random, change: Callable[[bytes, random.Random], bytes]) -> bytes:
    """Return framed `parts` with one changed, dropped, repeated or moved; see `frame`."""
    spoiled = list(parts) or [b""]
    place = rng.randrange(len(spoiled))
    choice = rng.random()
    if choice < 0.55:
        spoiled[place] = change(spoiled[place], rng)
    elif choice < 0.7:
        del spoiled[place]
    elif choice < 0.85:
        spoiled.insert(rng.randint(0, len(spoiled)), spoiled[place])
    else:
        spoiled.insert(rng.randint(0, len(spoiled) - 1), spoiled.pop(place))
    return frame(spoiled)


def frame(parts: Sequence[bytes]) -> bytes:
    """Return `parts` as one input, each after its length in four bytes."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def unframe(data: bytes, *, most: int = 64) -> list[bytes]:
    """Return the parts of an input, at most `most`; a length that is too long takes the rest."""
    parts: list[bytes] = []
    place = 0
    while place < len(data) and len(parts) < most:
        length = int.from_bytes(data[place : place + 4], "big")
        parts.append(data[place + 4 : place + 4 + length])
        place += 4 + length
    return parts
