"""Tensors to payload bytes and back: canonical safetensors in every encoding of a plan (needs torch).

The coordinator service never imports this module; agents and workers do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from alignfed.errors import ManifestMismatch, NonFinite, PayloadTruncated
from alignfed.layout import INDICES_SUFFIX, SCALES_SUFFIX, VALUES_SUFFIX, Entry, Layout, layout_of
from alignfed.plan import Encoding, TensorSpec
from alignfed.quantisation import dequantise_groups, dequantise_rows, quantise_groups, quantise_rows
from alignfed.sparsification import largest, scatter

Factors = dict[str, torch.Tensor]
"""Adapter tensors by PEFT name: A `(r, in)`, B `(out, r)`, fp32 on the CPU."""

_TORCH_DTYPES = {"F32": torch.float32, "I32": torch.int32, "BF16": torch.bfloat16, "I8": torch.int8}
_QUANTISE = {Encoding.INT8: quantise_rows, Encoding.INT8_GROUPS: quantise_groups}
_DEQUANTISE = {Encoding.INT8: dequantise_rows, Encoding.INT8_GROUPS: dequantise_groups}


def manifest_of(factors: Mapping[str, torch.Tensor]) -> tuple[TensorSpec, ...]:
    """Return the manifest of `factors`, sorted by name."""
    return tuple(TensorSpec(name=name, shape=tuple(factors[name].shape)) for name in sorted(factors))


def check_manifest(factors: Mapping[str, torch.Tensor], tensors: Sequence[TensorSpec]) -> None:
    """Check that `factors` are exactly the tensors of a manifest.

    Raises:
        ManifestMismatch: A name is missing or unknown, or a shape differs; the message names the first one.
    """
    wanted = {spec.name: spec.shape for spec in tensors}
    for name in sorted(wanted.keys() ^ factors.keys()):
        state = "is missing" if name in wanted else "is not in the plan"
        raise ManifestMismatch(f"tensor {name} {state}: build the adapter from the federation's LoRA configuration")
    for name, shape in wanted.items():
        if tuple(factors[name].shape) != shape:
            raise ManifestMismatch(f"tensor {name} has shape {tuple(factors[name].shape)}, the plan says {shape}")


def check_finite(factors: Mapping[str, torch.Tensor], *, what: str) -> None:
    """Check that no tensor holds NaN or infinity.

    Raises:
        NonFinite: Names the first such tensor.
    """
    for name, tensor in factors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise NonFinite(f"{what} holds NaN or infinity in {name}: lower the learning rate or check the data")


def encode(factors: Mapping[str, torch.Tensor], encoding: Encoding, *, topk_ratio: float | None = None) -> bytearray:
    """Encode `factors` as one safetensors payload.

    Error of the round trip, per element x: fp32 none; bf16 at most |x| * 2**-8; int8 at most half its scale, which is
    max|x| / 127 over its row, or over its group of 256 in `int8-groups` (plus fp32 rounding); topk that of bf16 where
    x is kept, and x itself where it is not, which is then no larger than any element that is.

    Args:
        factors: Floating point tensors of at least one dimension, any device.
        encoding: How elements are stored.
        topk_ratio: The plan's; for `topk` alone.

    Returns:
        The payload in one flat buffer.

    Raises:
        NonFinite: A tensor holds NaN or infinity, which int8 cannot carry and no receiver accepts.
    """
    check_finite(factors, what="the adapter")
    layout = layout_of(manifest_of(factors), encoding, topk_ratio=topk_ratio)
    payload = bytearray(layout.total_bytes)
    payload[: len(layout.prefix)] = layout.prefix
    views = {entry.name: _view(payload, entry) for entry in layout.entries if entry.nbytes}
    for name, tensor in factors.items():
        if not tensor.numel():
            continue
        source = tensor.detach().to("cpu", torch.float32)
        if encoding is Encoding.TOPK:
            indices, values = largest(source, views[name + INDICES_SUFFIX].numel())
            views[name + INDICES_SUFFIX].copy_(indices)
            views[name + VALUES_SUFFIX].copy_(values)
        elif encoding in _QUANTISE:
            elements, scales = _QUANTISE[encoding](source)
            views[name].copy_(elements)
            views[name + SCALES_SUFFIX].copy_(scales)
        else:
            views[name].copy_(source)
    return payload


def decode(
    payload: bytes | bytearray | memoryview,
    tensors: Sequence[TensorSpec],
    encoding: Encoding,
    *,
    topk_ratio: float | None = None,
) -> Factors:
    """Decode a payload that must have exactly the layout of `tensors` in `encoding`.

    Returns:
        New fp32 tensors on the CPU, by name.

    Raises:
        PayloadTruncated: The length is not the layout's.
        ManifestMismatch: The safetensors prefix is not the layout's.
        IndicesInvalid: Places in a `topk` payload are outside their tensor or do not ascend.
        NonFinite: An element or a scale is NaN or infinite.
    """
    layout = layout_of(tensors, encoding, topk_ratio=topk_ratio)
    _check_shell(payload, layout)
    # frombuffer wants a writable buffer; the copy below detaches the result from it
    buffer = payload if isinstance(payload, bytearray) else bytearray(payload)
    stored = {entry.name: _view(buffer, entry) for entry in layout.entries}
    factors: Factors = {}
    for spec in sorted(tensors, key=lambda spec: spec.name):
        factors[spec.name] = _decoded(stored, spec, encoding)
    check_finite(factors, what="the payload")
    return factors


def narrow(factors: Mapping[str, torch.Tensor], tensors: Sequence[TensorSpec]) -> Factors:
    """Return the leading block of every factor that a manifest of a lower rank asks for, as views."""
    return {spec.name: factors[spec.name][_block(spec.shape)] for spec in tensors}


def widen(factors: Mapping[str, torch.Tensor], tensors: Sequence[TensorSpec]) -> Factors:
    """Return new factors of a manifest's shapes, `factors` as their leading blocks and zeros elsewhere."""
    wide = {spec.name: factors[spec.name].new_zeros(spec.shape) for spec in tensors}
    for name, factor in factors.items():
        wide[name][_block(factor.shape)] = factor
    return wide


def _block(shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(size) for size in shape)


def _check_shell(payload: bytes | bytearray | memoryview, layout: Layout) -> None:
    if len(payload) != layout.total_bytes:
        raise PayloadTruncated(f"the payload has {len(payload)} bytes, its layout has {layout.total_bytes}")
    if bytes(payload[: len(layout.prefix)]) != layout.prefix:
        raise ManifestMismatch(
            "the payload's safetensors prefix is not the plan's (names, shapes, dtypes or order differ): "
            "encode it with alignfed.codec.encode from the federation's manifest"
        )


def _view(buffer: bytearray, entry: Entry) -> torch.Tensor:
    """Return `buffer`'s bytes of one entry as a tensor that shares its memory."""
    if not entry.nbytes:
        return torch.empty(entry.shape, dtype=_TORCH_DTYPES[entry.dtype])
    count = entry.nbytes // _TORCH_DTYPES[entry.dtype].itemsize
    flat = torch.frombuffer(buffer, dtype=_TORCH_DTYPES[entry.dtype], count=count, offset=entry.offset)
    return flat.reshape(entry.shape)


def _decoded(stored: Mapping[str, torch.Tensor], spec: TensorSpec, encoding: Encoding) -> torch.Tensor:
    """Return a tensor in fp32 that shares no memory with what is stored."""
    name = spec.name
    if encoding is Encoding.TOPK:
        return scatter(stored[name + INDICES_SUFFIX], stored[name + VALUES_SUFFIX], spec.shape, name=name)
    if encoding in _DEQUANTISE:
        return _DEQUANTISE[encoding](stored[name], stored[name + SCALES_SUFFIX])
    return stored[name].to(torch.float32, copy=True)
