"""Safetensors files of strangers: their JSON prefix, whatever it claims of lengths, shapes and offsets."""

from __future__ import annotations

import functools
import json
import random
import tempfile
from pathlib import Path

import safetensors.torch
import torch

from alignfed.base_model import digest_of
from alignfed.errors import AlignFedError
from coordinator.worker.server_state import DTYPES, decode_state, encode_state
from tests.fuzz.mutations import EDGE_INTEGERS, mutate_bytes, mutate_value
from tests.fuzz.target import Target


def seeds() -> list[bytes]:
    weights = {"w": torch.arange(6, dtype=torch.float32).reshape(2, 3), "half": torch.zeros(4, dtype=torch.bfloat16)}
    return [
        safetensors.torch.save(weights, metadata={"format": "pt"}),
        safetensors.torch.save({"empty": torch.zeros(0, 3), "scalar": torch.tensor(1.0)}),
        encode_state({"moment": torch.zeros(3), "exact": torch.zeros(2, dtype=torch.float64), "n": torch.tensor([4])}),
    ]


def mutate(data: bytes, rng: random.Random) -> bytes:
    length = int.from_bytes(data[:8], "little")
    change = rng.random()
    if change < 0.2:
        return mutate_bytes(data, rng)
    if change < 0.3:  # a length that lies
        return (rng.choice(EDGE_INTEGERS) % 2**64).to_bytes(8, "little") + data[8:]
    try:
        index = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError):
        return mutate_bytes(data, rng)
    text = json.dumps(mutate_value(index, rng)).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def check(data: bytes) -> str:
    path = Path(_holder().name) / "model.safetensors"
    path.write_bytes(data)
    return ", ".join(_outcome(read) for read in (lambda: _digested(path.parent), lambda: _state(data)))


def _outcome(read: object) -> str:
    try:
        return str(read())  # type: ignore[operator]
    except AlignFedError as error:
        return error.reason


def _digested(folder: Path) -> str:
    digest = digest_of(folder)
    assert len(digest) == 64
    assert digest == digest_of(folder)
    return "digested"


def _state(data: bytes) -> str:
    state = decode_state(data)
    assert all(tensor.dtype in DTYPES for tensor in state.values())
    assert sum(tensor.nbytes for tensor in state.values()) <= len(data), "tensors have more bytes than the file"
    return "state"


@functools.cache
def _holder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="alignfed-fuzz-")


TARGET = Target(name="weights", seeds=seeds, mutate=mutate, check=check)
