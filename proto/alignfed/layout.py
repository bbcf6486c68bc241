"""Where each tensor lies in a payload: canonical safetensors, computed from the manifest and never parsed.

A payload is a valid safetensors file. Its JSON prefix follows from manifest and encoding alone, so a receiver compares
the prefix with the one it computed instead of trusting a parser with hostile bytes. Needs neither torch nor numpy: the
coordinator service uses it to check announced lengths.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence

from alignfed.plan import Encoding, TensorSpec

SCALES_SUFFIX = ".scales"
"""An int8 tensor `name` is accompanied by `name.scales`, fp32, one scale per row."""

_ELEMENT_BYTES = {"F32": 4, "BF16": 2, "I8": 1}
_DTYPES = {Encoding.FP32: "F32", Encoding.BF16: "BF16", Encoding.INT8: "I8"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One stored tensor: `dtype` as safetensors names it, `offset` in bytes from the start of the payload."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The whole payload: `prefix` (length word and JSON), then `entries` without gaps, `total_bytes` in all."""

    encoding: Encoding
    prefix: bytes
    entries: tuple[Entry, ...]
    total_bytes: int


def layout_of(tensors: Sequence[TensorSpec], encoding: Encoding) -> Layout:
    """Compute the layout of `tensors` in `encoding`.

    Entries are in name order, int8 scales before all int8 elements so that every tensor is aligned to its element.

    Args:
        tensors: The manifest, in any order; names must be distinct.
        encoding: How elements are stored.
    """
    ordered = sorted(tensors, key=lambda spec: spec.name)
    stored: list[tuple[str, str, tuple[int, ...]]] = []
    if encoding is Encoding.INT8:
        stored += [(spec.name + SCALES_SUFFIX, "F32", spec.shape[:1]) for spec in ordered]
    stored += [(spec.name, _DTYPES[encoding], spec.shape) for spec in ordered]

    index: dict[str, object] = {}
    position = 0
    for name, dtype, shape in stored:
        nbytes = math.prod(shape) * _ELEMENT_BYTES[dtype]
        index[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, position + nbytes]}
        position += nbytes
    text = json.dumps(index, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    prefix = len(text).to_bytes(8, "little") + text

    entries = []
    offset = len(prefix)
    for name, dtype, shape in stored:
        nbytes = math.prod(shape) * _ELEMENT_BYTES[dtype]
        entries.append(Entry(name=name, dtype=dtype, shape=shape, offset=offset, nbytes=nbytes))
        offset += nbytes
    return Layout(encoding=encoding, prefix=prefix, entries=tuple(entries), total_bytes=offset)
