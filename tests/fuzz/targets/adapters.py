"""Files of models and adapters: a PEFT adapter that is imported, weights that are digested, a stored server state."""

from __future__ import annotations

import functools
import json
import random
import tempfile
from pathlib import Path

import safetensors.torch
import torch

from alignfed.base_model import digest_of
from alignfed.codec import check_finite, encode, manifest_of
from alignfed.errors import AlignFedError
from alignfed.plan import BaseModel, Encoding, FederationPlan
from coordinator.worker.adapter import adapter_from_peft, peft_config, write_peft
from coordinator.worker.server_state import DTYPES, decode_state
from tests.fuzz.mutations import frame, mutate_bytes, mutate_json, mutate_value, unframe
from tests.fuzz.target import Target

NAME = "base_model.model.layers.0.q_proj"


def seeds() -> list[bytes]:
    factors = {f"{NAME}.lora_A.weight": torch.randn(2, 6), f"{NAME}.lora_B.weight": torch.randn(4, 2)}
    from alignfed.plan import Lora

    lora = Lora(rank=2, alpha=4.0, target_modules=("q_proj",))
    write_peft(_folder(), factors, lora, base_model_name="tiny")
    config = (_folder() / "adapter_config.json").read_bytes()
    state = safetensors.torch.save({"moment": torch.zeros(3), "steps": torch.tensor([4])})
    assert peft_config(lora, dropout=0.0)
    return [frame([config, (_folder() / "adapter_model.safetensors").read_bytes()]), frame([config, state])]


def mutate(data: bytes, rng: random.Random) -> bytes:
    config, weights = (*unframe(data, most=2), b"", b"")[:2]
    if rng.random() < 0.4:
        return frame([mutate_json(config, rng), weights])
    return frame([config, _spoil_weights(weights, rng)])


def _spoil_weights(weights: bytes, rng: random.Random) -> bytes:
    length = int.from_bytes(weights[:8], "little")
    try:
        index = json.loads(weights[8 : 8 + length])
    except (ValueError, RecursionError):
        return mutate_bytes(weights, rng)
    if rng.random() < 0.3:
        return mutate_bytes(weights, rng)
    text = json.dumps(mutate_value(index, rng)).encode()
    return len(text).to_bytes(8, "little") + text + weights[8 + length :]


def check(data: bytes) -> str:
    config, weights = (*unframe(data, most=2), b"", b"")[:2]
    folder = _folder()
    (folder / "adapter_config.json").write_bytes(config)
    (folder / "adapter_model.safetensors").write_bytes(weights)
    outcomes = []
    for read in (_digested, _state, _imported):
        try:
            outcomes.append(read(folder))
        except AlignFedError as error:
            outcomes.append(error.reason)
    return ", ".join(outcomes)


def _imported(folder: Path) -> str:
    factors, lora = adapter_from_peft(folder)
    check_finite(factors, what="what was imported")
    FederationPlan(
        federation="f", base_model=BaseModel(name="tiny"), lora=lora, tensors=manifest_of(factors)
    ).validate()
    assert encode(factors, Encoding.FP32)
    return "imported"


def _digested(folder: Path) -> str:
    assert len(digest_of(folder)) == 64
    return "digested"


def _state(folder: Path) -> str:
    state = decode_state((folder / "adapter_model.safetensors").read_bytes())
    assert all(tensor.dtype in DTYPES for tensor in state.values())
    return "state"


@functools.cache
def _holder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="alignfed-fuzz-")


def _folder() -> Path:
    return Path(_holder().name)


TARGET = Target(name="adapters", seeds=seeds, mutate=mutate, check=check, seconds=2.0)
