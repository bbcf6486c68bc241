"""The residual that an agent kept on its disk: taken up when it is whole and the federation's, else started anew."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import random
import tempfile
from pathlib import Path

import torch

from alignfed.codec import check_finite, check_manifest
from alignfed.plan import BaseModel, Encoding, FederationPlan, Lora, TensorSpec
from edge_agent.outbox.leftovers import Leftovers
from edge_agent.training.feedback import ResidualLabel, pack_residual, read_owed, unpack_residual
from tests.fuzz.mutations import mutate_bytes, mutate_json
from tests.fuzz.target import Target

TENSORS = (TensorSpec(name="q.lora_A.weight", shape=(2, 5)), TensorSpec(name="q.lora_B.weight", shape=(3, 2)))
PLAN = FederationPlan(
    federation="fed",
    base_model=BaseModel(name="m", digest="cd" * 32),
    lora=Lora(rank=2),
    delta_encoding=Encoding.TOPK,
    tensors=TENSORS,
)


def seeds() -> list[bytes]:
    generator = torch.Generator().manual_seed(0)
    factors = {spec.name: torch.randn(spec.shape, generator=generator) for spec in TENSORS}
    return [bytes(pack_residual(factors, PLAN, TENSORS, returned=("7b0c8f0e-2f0a-4c1e-9a54-0d8a3c3f5a11",)).content)]


def mutate(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return mutate_bytes(data, rng)
    line, _, payload = data.partition(b"\n")
    return mutate_json(line, rng) + b"\n" + payload


def check(data: bytes) -> str:
    file = Leftovers(Path(_holder().name))
    file.residual.write_bytes(data)
    log = logging.getLogger("edge_agent.training.feedback")
    log.disabled = True  # it names every damaged residual
    try:
        owed = read_owed(file, PLAN, TENSORS)
    finally:
        log.disabled = False
    if owed.factors is None:
        return "started anew"
    check_manifest(owed.factors, TENSORS)
    check_finite(owed.factors, what="the residual")
    found = unpack_residual(data)
    assert found is not None
    assert dataclasses.replace(found[0], returned=(), sha256="") == ResidualLabel(
        federation="fed", base_model_digest="cd" * 32, tensors=TENSORS, returned=(), sha256=""
    )
    assert json.dumps(found[0].returned)
    return "taken up"


@functools.cache
def _holder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="alignfed-fuzz-")


TARGET = Target(name="residuals", seeds=seeds, mutate=mutate, check=check)
