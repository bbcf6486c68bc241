"""A delta in the worker's memory: what it holds between a delta's arrival and the end of its merge.

It is used several times: its norm, the sum, its agreement with the merge, alignment and calibration where a recipe has
them. Decoding it at each use costs several times what the use does, keeping it decoded takes four bytes an element:

    fits `decoded` memory   decoded once and kept; the payload is let go of
    fp32                    the same: a decoded delta is as large as its payload
    bf16                    as it was sent, read in place and widened block by block by who uses it
    int8, topk              as it was sent, decoded at each use
"""

from __future__ import annotations

import functools
import math

import torch

from alignfed.codec import Factors, check_finite, decode, widen
from alignfed.errors import FrozenFactorChanged, ManifestMismatch, PayloadTruncated
from alignfed.layout import LORA_A_SUFFIX, layout_of, tensors_at_rank
from alignfed.plan import Encoding, FederationPlan
from coordinator.algo.factors import norm
from coordinator.algo.values import Load
from coordinator.domain import DeltaRecord


def hold(payload: bytearray, plan: FederationPlan, delta: DeltaRecord, *, keep_decoded: bool) -> tuple[Load, float]:
    """Check a delta and return how it is loaded, in the adapter's full shapes, and its Frobenius norm.

    The norm is infinite when it overflows; every element is finite in any case. Takes seconds for a large delta.

    Args:
        payload: Its bytes; belong to the delta from now on, and are emptied where it is kept decoded.
        plan: The federation's.
        delta: What the payload is.
        keep_decoded: Whether there is memory to keep it decoded.

    Raises:
        FrozenFactorChanged: It changes an A that the plan freezes.
        IndicesInvalid: Places of a `topk` payload are outside their tensor or do not ascend.
        ManifestMismatch: The payload is not laid out as the plan says.
        NonFinite: An element is NaN or infinite.
        PayloadTruncated: The payload's length is not the layout's.
        RankMismatch: The plan knows no such rank.
    """
    load = _load_of(payload, plan, delta, keep_decoded=keep_decoded)
    factors = load()
    size = norm(factors)
    if not math.isfinite(size):
        check_finite(factors, what="the payload")
    if plan.lora.freeze_a:
        for name, factor in factors.items():
            if name.endswith(LORA_A_SUFFIX) and bool(factor.any()):
                raise FrozenFactorChanged(f"the delta changes {name}, which the plan freezes (lora.freeze_a)")
    return load, size


def _load_of(payload: bytearray, plan: FederationPlan, delta: DeltaRecord, *, keep_decoded: bool) -> Load:
    if keep_decoded or delta.encoding is Encoding.FP32:
        factors = _decoded(payload, plan, delta)
        payload.clear()
        return lambda: factors
    if delta.encoding is not Encoding.BF16:
        return functools.partial(_decoded, payload, plan, delta)
    sent = _in_place(payload, plan, delta)
    return (lambda: sent) if delta.rank == plan.lora.rank else (lambda: widen(sent, plan.tensors))


def _decoded(payload: bytearray, plan: FederationPlan, delta: DeltaRecord) -> Factors:
    """Return a delta's factors in fp32: zero where its agent trained nothing."""
    factors = decode(payload, tensors_at_rank(plan, delta.rank), delta.encoding, topk_ratio=plan.topk_ratio)
    return factors if delta.rank == plan.lora.rank else widen(factors, plan.tensors)


def _in_place(payload: bytearray, plan: FederationPlan, delta: DeltaRecord) -> Factors:
    """Return a bf16 payload's own elements, unchecked, as tensors that share its memory."""
    layout = layout_of(tensors_at_rank(plan, delta.rank), Encoding.BF16)
    if len(payload) != layout.total_bytes:
        raise PayloadTruncated(f"the payload has {len(payload)} bytes, its layout has {layout.total_bytes}")
    if bytes(payload[: len(layout.prefix)]) != layout.prefix:
        raise ManifestMismatch("the payload's safetensors prefix is not the plan's: encode it from the plan's manifest")
    whole = torch.frombuffer(payload, dtype=torch.uint8)
    return {
        entry.name: whole[entry.offset : entry.offset + entry.nbytes].view(torch.bfloat16).reshape(entry.shape)
        for entry in sorted(layout.entries, key=lambda entry: entry.name)
    }
