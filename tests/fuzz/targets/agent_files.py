"""What an agent kept on its disk: a damaged state is refused with a reason, a damaged delta is discarded."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import random
import shutil
import tempfile
from pathlib import Path

from alignfed.plan import Encoding, TensorSpec
from edge_agent.domain import DeltaMeta, GlobalVersion
from edge_agent.outbox.outbox import Outbox
from edge_agent.state import STATE_NAME, AgentState, StateDirectory
from tests.fuzz.mutations import frame, mutate_json, mutate_one_of, unframe
from tests.fuzz.target import Target

PAYLOAD = b"0123456789"
META = DeltaMeta(
    delta_id="7b0c8f0e-2f0a-4c1e-9a54-0d8a3c3f5a11",
    sequence=3,
    base=GlobalVersion(epoch=1, number=2, digest="ab" * 32),
    base_model_digest="cd" * 32,
    examples=8,
    local_steps=4,
    encoding=Encoding.BF16,
    rank=2,
    tensors=(TensorSpec(name="a.lora_A.weight", shape=(2, 8)),),
    total_bytes=len(PAYLOAD),
    sha256="ef" * 32,
)


def seeds() -> list[bytes]:
    state = json.dumps(dataclasses.asdict(AgentState(federation="fed", agent_id="agent-1", next_sequence=5)))
    return [
        frame([state.encode(), json.dumps(META.to_dict()).encode(), b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"])
    ]


def mutate(data: bytes, rng: random.Random) -> bytes:
    return mutate_one_of(unframe(data, most=3), rng, mutate_json)


def check(data: bytes) -> str:
    state, meta, trace = (*unframe(data, most=3), b"", b"", b"")[:3]
    folder = Path(_holder().name)
    shutil.rmtree(folder / "outbox", ignore_errors=True)
    delta = folder / "outbox" / "pending" / "delta"
    delta.mkdir(parents=True)
    (delta / "meta.json").write_bytes(meta)
    (delta / "payload.safetensors").write_bytes(PAYLOAD)
    (delta / "traceparent").write_bytes(trace)
    log = logging.getLogger("edge_agent.outbox.outbox")
    log.disabled = True  # it names every damaged delta
    try:
        kept = Outbox(folder / "outbox").pending
    finally:
        log.disabled = False
    for entry in kept:
        assert entry.meta.total_bytes == len(PAYLOAD)
        assert len(entry.trace_context) in (0, 55)
    assert kept or not delta.exists(), "a damaged delta was left among whole ones"
    (folder / STATE_NAME).write_bytes(state)
    with StateDirectory(folder, federation="fed") as directory:
        assert directory.state.federation == "fed"
    return f"accepted, {len(kept)} deltas"


@functools.cache
def _holder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="alignfed-fuzz-")


TARGET = Target(name="agent_files", seeds=seeds, mutate=mutate, check=check)
