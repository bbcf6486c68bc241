"""Payload bytes to factors, in every encoding: what is decoded has the manifest's shapes and is finite."""

from __future__ import annotations

import random

import torch

from alignfed.codec import check_finite, check_manifest, decode, encode
from alignfed.layout import layout_of
from alignfed.plan import Encoding, TensorSpec
from tests.fuzz.mutations import EDGE_FLOATS, mutate_bytes
from tests.fuzz.target import Target

ENCODINGS = tuple(Encoding)
TENSORS = (TensorSpec(name="q.lora_A.weight", shape=(2, 5)), TensorSpec(name="q.lora_B.weight", shape=(3, 2)))

TOPK_RATIO = 0.5


def seeds() -> list[bytes]:
    generator = torch.Generator().manual_seed(0)
    factors = {spec.name: torch.randn(spec.shape, generator=generator) for spec in TENSORS}
    return [
        bytes((index,)) + bytes(encode(factors, encoding, topk_ratio=TOPK_RATIO))
        for index, encoding in enumerate(ENCODINGS)
    ]


def mutate(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.4 or not data:
        return mutate_bytes(data, rng)
    layout = layout_of(TENSORS, ENCODINGS[data[0] % len(ENCODINGS)], topk_ratio=TOPK_RATIO)
    spoiled = bytearray(data)
    for _ in range(rng.randint(1, 4)):  # in the elements and scales, of which every bit pattern is a number
        place = min(1 + rng.randrange(len(layout.prefix), layout.total_bytes), max(len(spoiled) - 1, 0))
        spoiled[place : place + 4] = _pattern(rng)[: len(spoiled) - place]
    return bytes(spoiled)


def _pattern(rng: random.Random) -> bytes:
    value = torch.tensor([rng.choice(EDGE_FLOATS)])
    return bytes(value.view(torch.uint8).tolist()) if rng.random() < 0.5 else rng.randbytes(4)


def check(data: bytes) -> str:
    encoding = ENCODINGS[data[0] % len(ENCODINGS)] if data else Encoding.FP32
    factors = decode(data[1:], TENSORS, encoding, topk_ratio=TOPK_RATIO)
    check_manifest(factors, TENSORS)
    check_finite(factors, what="what was decoded")
    assert all(tensor.dtype == torch.float32 for tensor in factors.values())
    again = decode(encode(factors, Encoding.FP32), TENSORS, Encoding.FP32)
    assert all(torch.equal(again[name], factors[name]) for name in factors)
    return f"decoded {encoding}"


TARGET = Target(name="codec", seeds=seeds, mutate=mutate, check=check)
