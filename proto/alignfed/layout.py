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

from alignfed.errors import PlanInvalid, RankMismatch
from alignfed.plan import Encoding, FederationPlan, TensorSpec

LORA_A_SUFFIX, LORA_B_SUFFIX = ".lora_A.weight", ".lora_B.weight"
"""Ends of the names of A `(r, in)` and B `(out, r)`, as PEFT saves them."""

SCALES_SUFFIX = ".scales"
"""An int8 tensor `name` is accompanied by `name.scales`, fp32: one scale per row, or per group in `int8-groups`."""
INDICES_SUFFIX, VALUES_SUFFIX = ".indices", ".values"
"""In `topk` a tensor `name` travels as `name.indices`, int32, and `name.values`, bf16, both `(kept,)`."""

GROUP_ELEMENTS = 256
"""Elements that share a scale in `int8-groups`: the scales then add a sixty-fourth to the elements' bytes."""

_ELEMENT_BYTES = {"F32": 4, "I32": 4, "BF16": 2, "I8": 1}
_DENSE = {Encoding.FP32: "F32", Encoding.BF16: "BF16", Encoding.INT8: "I8", Encoding.INT8_GROUPS: "I8"}

_Stored = tuple[str, str, tuple[int, ...]]
"""Name, dtype and shape of one entry."""


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


def tensors_at_rank(plan: FederationPlan, rank: int) -> tuple[TensorSpec, ...]:
    """Return the manifest of a delta that holds the leading `rank` components of the adapter.

    These are the first `rank` rows of A and columns of B: shapes `(rank, in)` and `(out, rank)`.

    Args:
        plan: Its manifest and rank r.
        rank: 1 to r; r gives the plan's own manifest.

    Raises:
        RankMismatch: `rank` is out of this range, or lower than r while a tensor is neither A nor B.
    """
    full = plan.lora.rank
    if rank == full:
        return plan.tensors
    if not 1 <= rank < full:
        raise RankMismatch(f"a delta has LoRA rank {rank}, the plan takes 1 to {full}: train that many components")
    return tuple(TensorSpec(name=spec.name, shape=_shape_at_rank(spec, rank)) for spec in plan.tensors)


def _shape_at_rank(spec: TensorSpec, rank: int) -> tuple[int, ...]:
    if len(spec.shape) == 2 and spec.name.endswith(LORA_A_SUFFIX):
        return (rank, spec.shape[1])
    if len(spec.shape) == 2 and spec.name.endswith(LORA_B_SUFFIX):
        return (spec.shape[0], rank)
    raise RankMismatch(f"tensor {spec.name} is no LoRA factor, so it has no part of rank {rank}: train at full rank")


def delta_layout(plan: FederationPlan, rank: int) -> Layout:
    """Compute the layout of every delta of that rank under a plan.

    Raises:
        RankMismatch: The plan takes no deltas of that rank.
    """
    return layout_of(tensors_at_rank(plan, rank), plan.delta_encoding, topk_ratio=plan.topk_ratio)


def layout_of(tensors: Sequence[TensorSpec], encoding: Encoding, *, topk_ratio: float | None = None) -> Layout:
    """Compute the layout of `tensors` in `encoding`.

    Entries are in name order, scales before all int8 elements and indices before all values, so that every tensor is
    aligned to its element.

    Args:
        tensors: The manifest, in any order; names must be distinct.
        encoding: How elements are stored.
        topk_ratio: Share of each tensor's elements that `topk` keeps, in (0, 1]; the other encodings do without.

    Raises:
        PlanInvalid: `encoding` is `topk` and there is no ratio.
    """
    stored = _entries(sorted(tensors, key=lambda spec: spec.name), encoding, topk_ratio)
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


def kept_of(elements: int, ratio: float) -> int:
    """Return how many of a tensor's elements `topk` keeps: `ratio` of them rounded up, one at least."""
    return min(elements, max(1, math.ceil(elements * ratio)))


def groups_of(elements: int) -> int:
    """Return how many groups, and scales, a tensor has in `int8-groups`."""
    return -(-elements // GROUP_ELEMENTS)


def _entries(ordered: Sequence[TensorSpec], encoding: Encoding, topk_ratio: float | None) -> list[_Stored]:
    """Return what is stored of tensors, in the order in which it is."""
    if encoding is Encoding.TOPK:
        if topk_ratio is None:
            raise PlanInvalid("what topk keeps of a tensor follows from the plan's topk_ratio: give it")
        kept = [(spec.name, (kept_of(math.prod(spec.shape), topk_ratio),)) for spec in ordered]
        return [
            *((name + INDICES_SUFFIX, "I32", shape) for name, shape in kept),
            *((name + VALUES_SUFFIX, "BF16", shape) for name, shape in kept),
        ]
    scales: list[_Stored] = []
    if encoding is Encoding.INT8:
        scales = [(spec.name + SCALES_SUFFIX, "F32", spec.shape[:1]) for spec in ordered]
    elif encoding is Encoding.INT8_GROUPS:
        scales = [(spec.name + SCALES_SUFFIX, "F32", (groups_of(math.prod(spec.shape)),)) for spec in ordered]
    return [*scales, *((spec.name, _DENSE[encoding], spec.shape) for spec in ordered)]
